"""Streaming: latency of the first sound, and distance of a stream from the whole.

    python -m benchmarks.streaming pocket
    python -m benchmarks.streaming pocket --sizes --word-errors
    python -m benchmarks.streaming FOLDER --tokens 100

Times are of one sentence, spoken once before. Distances are between waveforms of the same tokens,
the same noise and the same vocoder, so that only the windows of the flow differ; beside them stands
the distance between two wholes that differ in their random draws alone. Fabricated weights show
time and memory, and no distances worth a look.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import mlx_chatterbox  # noqa: F401  (before mlx.core)

# isort: split
import mlx.core as mx
import numpy as np

from mlx_chatterbox.api.tts import open_model
from mlx_chatterbox.audio.mel import s3gen_mel
from mlx_chatterbox.commands.cli import add_verbose
from mlx_chatterbox.models.s3gen.f0_predictor import LAYERS
from mlx_chatterbox.models.s3gen.flow_windows import FadeIn, FlowWindows
from mlx_chatterbox.models.s3gen.hift_stream import HiFTStream, context_frames
from mlx_chatterbox.models.s3gen.token_stream import CROSS_FADE_FRAMES, ChunkTokens, TokenStream
from mlx_chatterbox.recognition.held_out import HELD_OUT
from mlx_chatterbox.recognition.recogniser import Recogniser
from mlx_chatterbox.recognition.word_errors import count_word_errors
from mlx_chatterbox.runtime.number_options import real
from mlx_chatterbox.runtime.number_options import whole as whole_number
from mlx_chatterbox.runtime.program import run_program
from mlx_chatterbox.synthesis.streaming import Chunks
from parity.inputs.synthetic_voice import synthetic_voice

from .worker import peak_resident

# About eight seconds by pocket.
SENTENCE = (
    "The ferry leaves the island at seven in the morning, and the last bus of the evening waits "
    "for it by the old harbour wall."
)
SIZES = [
    *[Chunks(lookahead=ahead) for ahead in (0.12, 0.32, 0.6, 1.0)],
    *[Chunks(context=seconds) for seconds in (0.0, 1.0, 4.0, 8.0)],
    *[Chunks(largest=largest) for largest in (1.0, 2.0, 4.0)],
    *[Chunks(first=first) for first in (0.2, 0.6, 1.0)],
    *[Chunks(first_reference=seconds) for seconds in (1.0, 2.0, 10.0)],
]


def timing(tts, text: str, chunks: Chunks, settings: dict, warm: bool = True) -> dict:
    """Times of a whole and of a stream, and of each chunk (seconds until then, of sound)."""
    for _ in range(1 + warm):
        started = time.perf_counter()
        waveform = tts.generate(text, **settings)
        whole = time.perf_counter() - started
    timed = []
    started = time.perf_counter()
    for chunk in tts.stream(text, chunks=chunks, **settings):
        timed.append((time.perf_counter() - started, len(chunk) / tts.sr))
    moments = [0.0, *(moment for moment, _ in timed)]
    real_time = [
        (after - before) / seconds
        for (before, after), (_, seconds) in zip(pairwise(moments), timed, strict=True)
    ]
    return {
        "whole": whole,
        "first": timed[0][0],
        "first_share": timed[0][0] / whole,
        "all": timed[-1][0],
        "sound": len(waveform) / tts.sr,
        "same_length": len(waveform) == round(sum(seconds for _, seconds in timed) * tts.sr),
        "chunks": timed,
        "real_time_factors": real_time,
        "stalls": _stalls(timed),
        "peak_memory": peak_resident(),
    }


def _stalls(chunks: list[tuple[float, float]]) -> float:
    """Return the seconds of silence when the chunks are played as they come."""
    played = chunks[0][0]
    waited = 0.0
    for moment, seconds in chunks:
        waited += max(0.0, moment - played)
        played = max(played, moment) + seconds
    return waited


def whole(s3gen, tokens: list[int], reference, key: mx.array, steps: int) -> np.ndarray:
    """Waveform of a stream whose first chunk is everything, with a stream's noise."""
    flow_key, source_key = mx.random.split(key)
    windows = FlowWindows(s3gen, reference, flow_key, steps, CROSS_FADE_FRAMES)
    mel = windows.mel(mx.array(tokens), 0, s3gen.config.token_mel_ratio * len(tokens))
    waveform = HiFTStream(s3gen.mel2wav, source_key).push(mel, last=True)
    return np.array(FadeIn(s3gen.config.sampling_rate)(waveform))


def streamed(
    s3gen, tokens: list[int], reference, key: mx.array, steps: int, sizes: ChunkTokens
) -> tuple[np.ndarray, list[int]]:
    """The waveform of a stream, and the samples where its windows or chunks meet."""
    stream = TokenStream(s3gen, reference, key, sizes, steps)
    hop = s3gen.mel2wav.samples_per_frame
    delay = (context_frames(s3gen.config.hift) + LAYERS) * hop
    parts, seams = [], []
    for token in tokens:
        chunk = stream.push(token)
        if chunk is not None:
            parts.append(np.array(chunk))
            seams += [stream.samples, stream.samples + delay]
    parts.append(np.array(stream.finish()))
    return np.concatenate(parts), seams


def compare(waveform: np.ndarray, other: np.ndarray) -> dict:
    """Distances of two waveforms of one length: log-mel RMS in dB, relative RMS, correlation."""
    mels = [np.array(s3gen_mel(mx.array(side))) for side in (waveform, other)]
    difference = (mels[0] - mels[1]) * 20.0 / np.log(10.0)
    return {
        "mel_db": float(np.sqrt(np.mean(difference**2))),
        "relative": float(np.sqrt(np.mean((waveform - other) ** 2) / np.mean(other**2))),
        "correlation": float(np.corrcoef(waveform, other)[0, 1]),
    }


def step_at_seams(
    waveform: np.ndarray, seams: Sequence[int], whole: np.ndarray, around: int = 480
) -> float:
    """The largest step from sample to sample near a seam, over the largest of the whole."""
    steps = np.abs(np.diff(waveform))
    near = [steps[max(0, seam - around) : seam + around].max(initial=0.0) for seam in seams]
    return float(max(near) / np.abs(np.diff(whole)).max())


@dataclass
class WholeSpeech:
    """A sentence's tokens, and its waveform as a whole with two random draws."""

    tokens: list[int]
    key: mx.array
    whole: np.ndarray
    other: np.ndarray


def speak_whole(tts, texts: Sequence[str], settings: dict) -> list[WholeSpeech]:
    """Speak texts without streaming, for `distances`."""
    s3gen, reference, steps = tts.networks.s3gen, tts.conds.reference, tts.defaults.cfm_steps
    speeches = []
    for number, text in enumerate(texts):
        stream = tts.stream(text, **{**settings, "seed": number, "watermark": False})
        list(stream)
        tokens = stream.result.tokens
        keys = [mx.random.key(number), mx.random.key(1000 + number)]
        speeches.append(
            WholeSpeech(
                tokens, keys[0], *(whole(s3gen, tokens, reference, key, steps) for key in keys)
            )
        )
    return speeches


def distances(tts, spoken: Sequence[WholeSpeech], chunks: Chunks) -> dict:
    """Means over sentences of `compare`, and the worst seam against its signal."""
    to_whole, to_other, seams = [], [], []
    for sentence in spoken:
        waveform, places = streamed(
            tts.networks.s3gen,
            sentence.tokens,
            tts.conds.reference,
            sentence.key,
            tts.defaults.cfm_steps,
            chunks.in_tokens(),
        )
        if not places:
            continue
        to_whole.append(compare(waveform, sentence.whole))
        to_other.append(compare(sentence.other, sentence.whole))
        seams.append(step_at_seams(waveform, places, sentence.whole))
    return {
        "chunks": asdict(chunks),
        "texts": len(to_whole),
        "to_whole": _means(to_whole),
        "other_draws": _means(to_other),
        "worst_seam": max(seams, default=0.0),
    }


def _means(rows: list[dict]) -> dict:
    return {name: statistics.fmean(row[name] for row in rows) for name in rows[0]} if rows else {}


def compare_word_errors(tts, texts: Sequence[str], chunks: Chunks, voices: Sequence[Path]) -> dict:
    """Measure the word error rates of `generate` and of a stream, same sentences and seeds."""
    recogniser = Recogniser()
    voices = [tts.voice_of(path) for path in voices] or [tts.conds]

    def by(speak) -> dict:
        results = [
            count_word_errors(texts, lambda text, voice=voice: speak(text, voice), recogniser)
            for voice in voices
        ]
        words = sum(errors.words for errors in results)
        return {"words": words, "rate": sum(errors.errors for errors in results) / words}

    settings = {"seed": 1, "watermark": False}
    return {
        "whole": by(lambda text, voice: tts.generate(text, voice=voice, **settings)),
        "stream": by(
            lambda text, voice: np.concatenate(
                list(tts.stream(text, voice=voice, chunks=chunks, **settings))
            )
        ),
    }


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.streaming", description=__doc__.split("\n")[0]
    )
    parser.add_argument("model", help="a folder, or a name such as pocket")
    parser.add_argument("--text", default=SENTENCE)
    parser.add_argument(
        "--tokens", type=whole_number(1, 1_000_000), metavar="N", help="of 40 ms, at most"
    )
    parser.add_argument("--once", action="store_true", help="measure at once, without warming up")
    parser.add_argument("--voice", type=Path, action="append", default=[], metavar="FILE")
    parser.add_argument("--distances", action="store_true", help="how far from the whole")
    parser.add_argument("--sizes", action="store_true", help="that, for other sizes too")
    parser.add_argument(
        "--sentences", type=whole_number(1, 10_000), default=20, help="compared (%(default)s)"
    )
    parser.add_argument(
        "--word-errors", action="store_true", help="measure them too (needs pocketsphinx)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    add_verbose(parser)
    for name, value in asdict(Chunks()).items():
        parser.add_argument(f"--{name}", type=real(0, 3600), default=value, metavar="SECONDS")
    return parser


def _row(*cells) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def _show_timing(timed: dict) -> None:
    print(
        f"{timed['sound']:.2f} s of speech: whole after {timed['whole']:.2f} s, first sound of a "
        f"stream after {timed['first']:.2f} s ({timed['first_share']:.0%}), its last after "
        f"{timed['all']:.2f} s; equal lengths: {timed['same_length']}; waited for while playing: "
        f"{timed['stalls']:.2f} s; {timed['peak_memory'] / 1e9:.2f} GB"
    )
    _row("chunk, s of sound", "after, s", "real-time factor")
    _row("---", "---", "---")
    for (moment, seconds), factor in zip(timed["chunks"], timed["real_time_factors"], strict=True):
        _row(f"{seconds:.2f}", f"{moment:.2f}", f"{factor:.2f}")


def _show_distances(rows: Iterable[dict]) -> list[dict]:
    """Print the distances as they come; returns them."""
    shown = []
    measured = "log-mel, dB", "relative", "r", "worst seam"
    _row("first", "largest", "context", "lookahead", "first reference", *measured)
    _row(*["---"] * 9)
    for row in rows:
        shown.append(row)
        distance = row["to_whole"]
        _row(
            *row["chunks"].values(),
            f"{distance['mel_db']:.2f}",
            f"{distance['relative']:.2f}",
            f"{distance['correlation']:.3f}",
            f"{row['worst_seam']:.2f}",
        )
    other = shown[0]["other_draws"]
    print(
        f"two wholes with other random draws: {other['mel_db']:.2f} dB, relative "
        f"{other['relative']:.2f}, r {other['correlation']:.3f}; {shown[0]['texts']} sentences"
    )
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    return run_program(build_parser(), argv, _work, name="")


def _work(arguments: argparse.Namespace) -> int:
    chunks = Chunks(**{name: getattr(arguments, name) for name in asdict(Chunks())})
    tts = open_model(arguments.model)
    if arguments.voice:
        tts.conds = tts.voice_of(arguments.voice[0])
    elif tts.conds is None:
        tts.conds = tts.voice_of(synthetic_voice(10.0, 0))
    multilingual = tts.checkpoint.config.text.tokenizer == "multilingual"
    settings = {"seed": 1, "max_new_tokens": arguments.tokens}
    settings |= {"language_id": "en"} if multilingual else {}
    figures = {"model": arguments.model}
    figures["timing"] = timing(tts, arguments.text, chunks, settings, not arguments.once)
    _show_timing(figures["timing"])
    if arguments.distances or arguments.sizes:
        wanted = [chunks, *(SIZES if arguments.sizes else [])]
        # Long enough for several chunks.
        texts = sorted(HELD_OUT, key=len)[-arguments.sentences :]
        spoken = speak_whole(tts, texts, settings)
        figures["distances"] = _show_distances(distances(tts, spoken, sizes) for sizes in wanted)
    if arguments.word_errors:
        figures["word_errors"] = rates = compare_word_errors(tts, HELD_OUT, chunks, arguments.voice)
        print(
            f"word errors: whole {rates['whole']['rate']:.1%}, stream {rates['stream']['rate']:.1%}"
            f" of {rates['whole']['words']} words"
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
