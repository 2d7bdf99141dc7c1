"""The program that `benchmarks.unchanged` runs in each of two trees, by public names only.

    python - MODELS WORK < benchmarks/unchanged_probe.py > results.json

MODELS holds a converted folder for each variant, WORK is an empty folder for files. The output is
an object: for each case what came of it, waveforms as SHA-256. A name that `mlx_chatterbox` does
not promise to its users has no place here, or two trees with other insides could not be compared.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from mlx_chatterbox import (
    ChatterboxMultilingualTTS,
    ChatterboxTTS,
    ChatterboxTurboTTS,
    ChatterboxVC,
    Chunks,
    Voice,
)

TEXT = "Open the window."
SENTENCES = ["Good morning.", TEXT, "Yes.", "Nobody knows where the books are.", "Thank you."]
LONG = (
    "Open the window. [pause 0.3s] Nobody knows where the books are, and the red hat is old. "
    "Good morning, my friend, and thank you for the letter of last week."
)
BOOK = f"# One\n\n{LONG}\n\nThe red hat is old.\n\n# Two\n\n{' '.join(SENTENCES)}\n"
FAST = {"n_cfm_timesteps": 2, "seed": 7}
# A small model's tokens are noise, which has no end: without a limit each takes 10 s of speech.
SMALL = {**FAST, "max_new_tokens": 24}
# So hot that some attempts have no end; at twice that all of them.
HOT = {**FAST, "temperature": 4.0, "watermark": False}
RATE = 24000

models, work = Path(sys.argv[1]), Path(sys.argv[2])


def digest(samples: np.ndarray) -> list:
    """Length and hash of a waveform."""
    whole = np.ascontiguousarray(samples, dtype="<f4")
    return [len(whole), hashlib.sha256(whole.tobytes()).hexdigest()]


def per_call_results(tts) -> dict:
    """Attributes that a model keeps of its latest call."""
    return {
        "tokens": [int(token) for token in tts.last_tokens],
        "limit": int(tts.limit),
        "stopped": bool(tts.stopped),
        "outcomes": [
            [list(map(int, o.tokens)), o.verdict, o.tries, str(o.seed), o.stopped, list(o.unread)]
            for o in tts.outcomes
        ],
    }


def spoken(tts, text, *arguments, **settings) -> dict:
    waveform = tts.generate(text, *arguments, **settings)
    return {
        "waveform": digest(waveform),
        **per_call_results(tts),
        "spans": [list(s) for s in tts.spans],
    }


def together(tts, texts, *arguments, **settings) -> dict:
    finished: dict[int, list] = {}

    def take(number, waveform, outcomes):
        finished[number] = [digest(waveform), [[o.verdict, o.tries] for o in outcomes]]

    waveforms = tts.generate_batch(texts, *arguments, finished=take, **settings)
    return {
        "waveforms": [digest(one) for one in waveforms],
        "finished": [finished[number] for number in sorted(finished)],
        **per_call_results(tts),
        "spans": [list(span) for span in tts.spans],
    }


def streamed(tts, text, *arguments, **settings) -> dict:
    return {"chunks": chunks(tts.stream(text, *arguments, **settings)), **per_call_results(tts)}


def chunks(pieces: Iterable[np.ndarray]) -> list:
    return [digest(piece) for piece in pieces]


def problem(call: Callable) -> list:
    """The error of a call that cannot be done."""
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return []


def program(module: str, *words) -> list:
    """A command's exit code and what it prints; times and folders are left out."""
    command = [sys.executable, "-m", module, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{module} failed: {done.stderr}")
    return [done.returncode, *(line for line in done.stderr.splitlines() if "guard" in line)]


def pocket(tts) -> dict:
    hot = {
        f"{temperature}, {seed}": spoken(
            tts, TEXT, **{**HOT, "temperature": temperature, "seed": seed}
        )
        for temperature in (4.0, 8.0)
        for seed in range(2)
    }
    if not any(outcome[2] > 1 for one in hot.values() for outcome in one["outcomes"]):
        raise RuntimeError("no second attempt was provoked: the probe is too tame")
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        unread = spoken(tts, "Hello мир, 12 [laugh].", **FAST)
    return {
        "speak": spoken(tts, TEXT, seed=1),
        "speak, without watermark": spoken(tts, TEXT, **FAST, watermark=False),
        "speak, settings": spoken(
            tts, TEXT, 1.3, 0.04, 0.9, None, 0.7, 0.3, 0.7, **FAST, normalize=True
        ),
        "speak, no guidance": spoken(tts, TEXT, cfg_weight=0.0, **FAST),
        "speak, faster": spoken(tts, LONG, speed=1.25, **FAST),
        "speak, limited": spoken(tts, TEXT, max_new_tokens=9, **FAST),
        "speak, unguarded": spoken(tts, TEXT, guard=False, **FAST),
        "speak, words": spoken(tts, "It costs 12 kopeks.", lexicon={"kopeks": "copecks"}, **FAST),
        "speak, unread": [unread, sorted(str(one.message) for one in noted)],
        "pieces": spoken(tts, LONG, **FAST),
        "pieces, one by one": spoken(tts, LONG, batch_size=1, **FAST),
        "retries": hot,
        "retries, batch": together(tts, SENTENCES, **HOT),
        "batch": together(tts, SENTENCES, **FAST),
        "batch, two at a time": together(tts, [*SENTENCES, LONG], batch_size=2, **FAST),
        "batch, seeds": together(
            tts, SENTENCES, n_cfm_timesteps=2, seeds=[5, 5, 1, 2**63, 0], guard=False, speed=0.9
        ),
        "batch, decoded only": together(tts, SENTENCES, unneeded={0, 3}, **FAST),
        "stream": streamed(tts, LONG, **FAST),
        "stream, one piece": streamed(tts, TEXT, seed=1, watermark=False),
        "stream, chunks": streamed(tts, LONG, chunks=Chunks(0.2, 1.0, 0.5), speed=1.1, **FAST),
        "stream, hot": streamed(tts, LONG, **HOT),
        "threads": in_threads(tts),
    }


def in_threads(tts) -> list:
    """Two threads at a time, each with what its own calls left."""
    results: list = [None, None]

    def speak(number: int) -> None:
        settings = {**FAST, "seed": 20 + number}
        results[number] = [spoken(tts, text, **settings) for text in SENTENCES[:3]]

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [*results, per_call_results(tts)["limit"]]


def mistakes(tts) -> dict:
    calls = {
        "text": lambda: tts.generate(3),
        "empty": lambda: tts.generate(" "),
        "no letter": lambda: tts.generate("?!"),
        "temperature": lambda: tts.generate(TEXT, temperature=-1.0),
        "guidance": lambda: tts.generate(TEXT, cfg_weight="much"),
        "seed": lambda: tts.generate(TEXT, seed=-1),
        "seed of another kind": lambda: tts.generate(TEXT, seed="x"),
        "limit": lambda: tts.generate(TEXT, max_new_tokens=0),
        "steps": lambda: tts.generate(TEXT, n_cfm_timesteps=0),
        "rows": lambda: tts.generate(TEXT, batch_size=0),
        "guard": lambda: tts.generate(TEXT, guard="yes"),
        "speed": lambda: tts.generate(TEXT, speed=9),
        "voice": lambda: tts.generate(TEXT, voice="me.wav"),
        "progress": lambda: tts.generate(TEXT, progress=1),
        "noise": lambda: tts.generate(LONG, noise=np.zeros((1, 2, 80))),
        "batch of none": lambda: tts.generate_batch([]),
        "batch of a string": lambda: tts.generate_batch(TEXT),
        "seeds": lambda: tts.generate_batch([TEXT], seeds=[1, 2]),
        "chunks": lambda: tts.stream(TEXT, chunks=Chunks(first=99.0)),
        "stream with noise": lambda: tts.stream(TEXT, noise=np.zeros((1, 2, 80))),
        "stream without a letter": lambda: tts.stream("..."),
    }
    return {name: problem(call) for name, call in calls.items()}


def conversion(recording: np.ndarray) -> dict:
    vc = ChatterboxVC.from_pretrained("pocket")
    folder = vc.checkpoint.folder / "voices"
    rms = Voice.load(folder / "rms.safetensors")
    results = {
        "vc": digest(vc.generate(recording, voice=rms, seed=1)),
        "vc, faster": digest(vc.generate(recording, seed=2, speed=1.3, watermark=False)),
        "vc, stream": chunks(vc.stream(recording, voice=rms, seed=1)),
    }
    vc.set_target_voice(np.tile(recording, 3))
    return {**results, "vc, target": digest(vc.generate(recording, seed=1, n_cfm_timesteps=2))}


def voices(tts, recording: np.ndarray) -> dict:
    folder = tts.checkpoint.folder / "voices"
    awb = Voice.load(folder / "awb.safetensors")
    results = {
        "voice": spoken(tts, TEXT, voice=awb, **FAST),
        "voice, its own stays": spoken(tts, TEXT, **FAST),
        "voice of a recording": spoken(tts, TEXT, audio_prompt_path=recording, **FAST),
        "voice of a recording, kept": spoken(tts, TEXT, exaggeration=0.8, **FAST),
    }
    tts.prepare_conditionals(recording[: 5 * RATE])
    return {**results, "voice, prepared": streamed(tts, TEXT, **FAST)}


def commands() -> dict:
    book, wav, marked = work / "book.md", work / "book.wav", work / "marked.wav"
    book.write_text(BOOK, encoding="utf-8")
    plain = ("--model", "pocket", "--seed", 3, "--cfm-steps", 2)
    speak = "mlx_chatterbox.generate"
    results = {
        "book": program(speak, *plain, "--file", book, "--output", wav),
        "book, subtitles": program(
            speak, *plain, "--file", book, "--output", work / "two.wav", "--subtitles", "srt"
        ),
        "text": program(speak, *plain, "--text", LONG, "--output", work / "text.wav"),
        "live": program(speak, *plain, "--text", LONG, "--stream", "--output", work / "live.wav"),
        "unmarked": program(
            speak, *plain, "--text", TEXT, "--no-watermark", "--output", work / "plain.wav"
        ),
        "mark": program("mlx_chatterbox.watermark", "apply", work / "plain.wav", marked),
        "marked": program("mlx_chatterbox.watermark", "detect", marked, wav),
        "not marked": program("mlx_chatterbox.watermark", "detect", work / "plain.wav"),
    }
    files = sorted(path for path in work.iterdir() if path.is_file())
    return {
        **results,
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "job": job_records(wav.with_name("book.wav.job") / "manifest.json"),
    }


def job_records(manifest: Path) -> list:
    """The part of a job's manifest that is about the speech of its pieces."""
    pieces = json.loads(manifest.read_text(encoding="utf-8"))["pieces"]
    kept = ("text", "seed", "tries", "outcome", "samples", "loudness")
    return [{name: piece.get(name) for name in kept} for piece in pieces]


def small(kind: type, variant: str, recording: np.ndarray) -> dict:
    tts = kind.from_local(models / variant)
    tts.prepare_conditionals(recording)
    language = ("fr",) if kind is ChatterboxMultilingualTTS else ()
    return {
        "speak": spoken(tts, TEXT, *language, **SMALL),
        "own end": spoken(tts, "Yes.", *language, **{**FAST, "n_cfm_timesteps": 1}),
        "pieces": spoken(tts, " ".join([LONG] * 3), *language, **SMALL),
        "batch": together(tts, SENTENCES, *language, **SMALL),
        "stream": streamed(tts, LONG, *language, **SMALL),
        "greedy": spoken(tts, TEXT, *language, **SMALL, temperature=0.0, guard=False),
    }


def main() -> None:
    tts = ChatterboxTTS.from_pretrained("pocket")
    recording = np.concatenate([tts.generate(text, seed=50) for text in (LONG, LONG)])
    kinds = {
        "english": ChatterboxTTS,
        "multilingual": ChatterboxMultilingualTTS,
        "turbo": ChatterboxTurboTTS,
        "nano": ChatterboxTurboTTS,
    }
    results = {"pocket": pocket(tts), "mistakes": mistakes(tts)}
    results |= {"conversion": conversion(recording[: 4 * RATE]), "voices": voices(tts, recording)}
    results |= {name: small(kind, name, recording) for name, kind in kinds.items()}
    results |= {"commands": commands()}
    json.dump(results, sys.stdout)


main()
