"""Pieces reach the disk one by one, and after a crash only what is missing is spoken."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from threading import Lock

import numpy as np
import pytest

from mlx_chatterbox import ChatterboxTTS
from mlx_chatterbox.longform.batch import speak_batch
from mlx_chatterbox.longform.book import job_folder, speak_document
from mlx_chatterbox.longform.local import local
from mlx_chatterbox.longform.store import PieceStore, encode, write_json
from mlx_chatterbox.synthesis import retries
from mlx_chatterbox.synthesis.monitor import Finding
from mlx_chatterbox.weights.hub import POCKET_FOLDER
from tests.longform.job_stub import RATE, SENTENCES, StubTTS, document

TEXTS = ["Good morning.", "Open the window.", "Thank you.", "The red hat is old.", "Yes.", "No."]
JOB = {"seed": 1, "batch_size": 6, "settings": {"n_cfm_timesteps": 1}}


@pytest.fixture(scope="module")
def tts() -> ChatterboxTTS:
    return ChatterboxTTS.from_pretrained("pocket")


class Crash(Exception):
    pass


def crash_after(tts, last: int):
    """An executor that dies as soon as `last` pieces are on disk."""

    def execute(pieces, batch_size, store):
        stored, one_at_a_time = [], Lock()

        def deadly(spoken):
            with one_at_a_time:
                if len(stored) >= last:
                    raise Crash
                store(spoken)
                stored.append(spoken.key)

        local(tts)(pieces, batch_size, deadly)

    return execute


def records(folder: Path) -> dict[str, dict]:
    """Stored records of a job's finished pieces, by text."""
    found = (folder / "pieces").glob("*.json")
    read = [json.loads(path.read_text(encoding="utf-8")) for path in found]
    return {record["text"]: record for record in read}


# --- The pocket voice ----------------------------------------------------------------------------


KILLED = """
import os, signal
from pathlib import Path
from mlx_chatterbox import ChatterboxTTS
from mlx_chatterbox.longform.book import speak_document
from mlx_chatterbox.longform.local import local
from tests.longform.job_stub import document
from tests.longform.test_job_pieces import JOB, TEXTS

# A shell that starts programs in the background has them ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
tts = ChatterboxTTS.from_pretrained("pocket")

def execute(pieces, batch_size, store):
    stored = []
    def deadly(spoken):
        store(spoken)
        stored.append(spoken.key)
        if len(stored) == 2:
            os.kill(os.getpid(), signal.{signal})
    local(tts)(pieces, batch_size, deadly)

speak_document(tts, document(TEXTS), Path({output!r}), executor=execute, **JOB)
"""


@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT"])
def test_killed_within_a_call_its_finished_pieces_stay(tts, tmp_path, sounded, end):
    whole, output = tmp_path / "whole.wav", tmp_path / "out.wav"
    speak_document(tts, document(TEXTS), whole, **JOB)
    code = KILLED.format(output=str(output), signal=end)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == -signal.Signals[end]
    kept = len(records(job_folder(output)))
    # The other core's piece may be finished, too.
    assert 2 <= kept <= (3 if end == "SIGKILL" else 4)
    sounded.clear()
    done = speak_document(tts, document(TEXTS), output, **JOB)
    assert done.kept == kept
    assert len(sounded) == len(TEXTS) - kept
    assert output.read_bytes() == whole.read_bytes()


def test_a_piece_is_on_disk_before_others_are_begun(tts, tmp_path, sounded):
    output, begun, one_at_a_time = tmp_path / "out.wav", [], Lock()

    def execute(pieces, batch_size, store):
        assert (len(pieces), batch_size) == (len(TEXTS), JOB["batch_size"])

        def counted(spoken):
            store(spoken)
            with one_at_a_time:  # otherwise what was counted first might be noted last
                begun.append((len(records(job_folder(output))), len(sounded)))

        local(tts)(pieces, batch_size, counted)

    speak_document(tts, document(TEXTS), output, executor=execute, **JOB)
    assert begun[0][0] >= 1
    assert begun[0][1] <= 3
    assert begun[-1] == (6, 6)


def reject_short(tts, folder, monkeypatch, texts) -> None:
    """Have the guards reject these texts' first attempts."""
    judge, output = retries.judge_audio, folder / "first.wav"
    speak_document(tts, document(TEXTS), output, **JOB)
    spoken = records(job_folder(output))
    lengths = [spoken[text]["samples"] for text in texts]

    def fussy(waveform, sample_rate):
        if len(waveform) in lengths:
            return Finding("too short", 2.0)
        return judge(waveform, sample_rate)

    monkeypatch.setattr(retries, "judge_audio", fussy)


def test_a_resumed_job_with_retries_is_the_same(tts, tmp_path, sounded, monkeypatch):
    reject_short(tts, tmp_path, monkeypatch, ("Open the window.", "Thank you."))
    whole = tmp_path / "whole.wav"
    speak_document(tts, document(TEXTS), whole, **JOB)
    tries = {text: record["tries"] for text, record in records(job_folder(whole)).items()}
    assert sum(count > 1 for count in tries.values()) >= 2
    for last in (2, 5):
        output = tmp_path / f"{last}.wav"
        with pytest.raises(Crash):
            speak_document(tts, document(TEXTS), output, executor=crash_after(tts, last), **JOB)
        kept = records(job_folder(output))
        assert len(kept) == last
        sounded.clear()
        speak_document(tts, document(TEXTS), output, **JOB)
        assert len(sounded) <= sum(tries[text] for text in tries.keys() - kept.keys())
        assert output.read_bytes() == whole.read_bytes()


# Two voices in turn, two speeds, long and short, more than one call's worth for a batch size of 1;
# one of which the model knows no letter.
ROWS = """\
text,voice,speed,output
Good morning.,{slt},,0.wav
Open the window and let the morning in.,{rms},,1.wav
Thank you.,{slt},1.25,2.wav
The red hat is old. It was never new. Who made it?,{rms},,3.wav
Yes.,{rms},0.8,4.wav
Nobody knew whose it was.,{slt},,5.wav
No.,,,6.wav
мир,{slt},,7.wav
"""
# Of the pieces in order of their keys: those that are missing, and the batch size then.
MISSING = [
    ({0}, 1),
    ({6}, 6),
    ({1, 4}, 2),
    ({0, 2, 3}, 8),
    ({1, 2, 3, 4, 5, 6}, 3),
    ({0, 1, 2, 3, 4, 5}, 1),
    ({0, 1, 2, 3, 4, 5, 6}, 2),
]


def test_whatever_is_missing_the_rest_comes_out_the_same(tts, tmp_path, monkeypatch):
    reject_short(tts, tmp_path, monkeypatch, ("Thank you.", "Yes."))
    voices = {name: POCKET_FOLDER / "voices" / f"{name}.safetensors" for name in ("slt", "rms")}
    table, out = tmp_path / "rows.csv", tmp_path / "out"
    table.write_text(ROWS.format(**voices), encoding="utf-8")

    def speak(batch_size: int) -> dict[str, bytes]:
        lines = speak_batch(
            tts,
            table,
            out,
            longest=40,
            seed=1,
            batch_size=batch_size,
            settings={"n_cfm_timesteps": 1},
        )
        *good, bad = [(line.status, line.message) for line in lines]
        assert good == [("spoken", "")] * 7
        assert bad == ("failed", "the model knows none of the letters in 'мир.'")
        pieces = (out / "batch.job" / "pieces").iterdir()
        return {path.name: path.read_bytes() for path in [*pieces, *out.glob("*.wav")]}

    whole = speak(6)
    keys = sorted(path.stem for path in (out / "batch.job" / "pieces").glob("*.json"))
    assert len(keys) > len(whole) - 2 * len(keys) == 7  # the outputs, as one has several pieces
    for missing, batch_size in MISSING:
        for path in out.glob("*.wav"):
            path.unlink()
        for number in missing:
            (out / "batch.job" / "pieces" / f"{keys[number]}.flac").unlink()
        assert speak(batch_size) == whole, (missing, batch_size)
    shutil.rmtree(out)
    assert speak(1) == whole


# --- Without a voice -----------------------------------------------------------------------------


@pytest.fixture
def speak(tmp_path):
    """Function that speaks sentences by the stub, two at a time; crashes after `crash` pieces."""

    def run(sentences, output="out.wav", crash=None):
        tts = StubTTS(tmp_path / "model")
        executor = None if crash is None else crash_after(tts, crash)
        settings = {"seed": 1, "batch_size": 2, "executor": executor}
        tts.done = speak_document(tts, document(sentences), tmp_path / output, **settings)
        return tts

    run.folder = tmp_path
    return run


def same(folder) -> bool:
    ours, whole = ((folder / f"{name}.wav").read_bytes() for name in ("out", "whole"))
    return ours == whole


@pytest.mark.parametrize("last", range(1, 12))
def test_only_missing_pieces_are_spoken(speak, last):
    assert [len(texts) for texts in speak(SENTENCES, "whole.wav").said] == [6, 6]
    with pytest.raises(Crash):
        speak(SENTENCES, crash=last)
    resumed = speak(SENTENCES)
    assert resumed.texts == resumed.sounded == SENTENCES[last:]
    assert same(speak.folder)


@pytest.mark.parametrize("bad", ["An unspeakable word.", "A silent one.", "A damaged one."])
@pytest.mark.parametrize("last", [1, 2, 3, 4, 5])
def test_finished_pieces_of_a_call_that_fails_are_kept(speak, last, bad):
    sentences = [*SENTENCES[:2], bad, *SENTENCES[3:8]]
    speak(sentences, "whole.wav")
    with pytest.raises(Crash):
        speak(sentences, crash=last)
    # The failure that the crashed run reported is not a piece on disk.
    kept = records(job_folder(speak.folder / "out.wav"))
    resumed = speak(sentences)
    assert sorted(resumed.sounded) == sorted({*sentences} - {bad} - kept.keys())
    assert resumed.done.failures.keys() == {3}
    assert same(speak.folder)


@pytest.mark.parametrize("places", [(0,), (7,), (2, 3), (0, 3, 6), tuple(range(8))])
@pytest.mark.parametrize("bad", ["An unspeakable word.", "A silent one.", "A damaged one."])
def test_pieces_that_cannot_be_spoken_leave_the_others_together(speak, places, bad):
    sentences = [bad if place in places else text for place, text in enumerate(SENTENCES[:8])]
    sentences = [*sentences, "An unspeakable word."]
    good = [text for text in sentences if "number" in text]
    if not good:
        sentences.append("The only good one.")
        good = sentences[-1:]
    tts = speak(sentences)
    assert sorted(tts.sounded) == sorted(good)
    assert tts.done.failures.keys() == {*(place + 1 for place in places), 9}
    # The two calls of all, and for each bad one the halves of six, of three and of two.
    assert len(tts.said) <= 2 + 6 * (len(places) + 1)


# A job as commit 2dab448 left it: the second text cannot be spoken, so some of its unit were spoken
# alone; the third was ordered again, and so were the fourth and sixth when it was killed.
OLDER_TEXTS = ["This is one.", "An unspeakable word.", "This is three.", "This is four.",
               "This is five.", "This is six."]  # fmt: skip
OLDER_STATE = {
    "version": 1,
    "seed": 1,
    "normalize": False,
    "takes": {
        "032a363aad52569eecbb8e9df2508c9d": 1,
        "d51a46cf806aae26c734b500c5bc8edf": 1,
        "904f8275f74ad47527567d318edd6c7e": 1,
    },
    "again": ["d51a46cf806aae26c734b500c5bc8edf", "904f8275f74ad47527567d318edd6c7e"],
    "files": {},
    "plan": "94747184f21a82acdba5e51cdda14e16",
    "units": [
        ["76e986b9c98058d7bb6bc6d4e0632eb1"],
        ["c5c951631576cef5bf2856e2c6a3d84f"],
        ["10cae7847a1fc1f0dc8ee5404370900d"],
    ],
}
# By key: text, seed, and whether it was spoken alone.
OLDER_PIECES = {
    "cd4a0d685cce4e60416b78c12f08277e": ("This is one.", 771292424251068083, True),
    "fb4c175ba6db9c5456fee04b21b4b64a": ("This is three.", 2877233673017328349, False),
    "8640c542775cc515ac30acb49493879b": ("This is four.", 7640347852552216216, True),
    "0bab44d06d4cbf0e28e7c5906451cfa6": ("This is five.", 2546304258508769512, False),
    "299becb39b5f554bdb3b9daec8afd5bc": ("This is six.", 1276333709865686616, False),
}


def test_a_job_of_an_older_program_goes_on(speak):
    folder = job_folder(speak.folder / "out.wav")
    (folder / "pieces").mkdir(parents=True)
    write_json(folder / "job.json", OLDER_STATE)
    before = {}
    for number, (key, (text, seed, alone)) in enumerate(OLDER_PIECES.items(), start=1):
        audio = encode(np.full(4800, number / 10, np.float32), RATE)
        record = {"text": text, "seed": seed, "tries": 1, "outcome": "", "samples": 4800,
                  "loudness": -17.0, "tokens": [7] * 5}  # fmt: skip
        if alone:
            record["alone"] = True
        PieceStore(folder / "pieces").write(key, audio, record)
        before |= {f"{key}.{end}": (folder / "pieces" / f"{key}.{end}").read_bytes()
                   for end in ("flac", "json")}  # fmt: skip
    tts = speak(OLDER_TEXTS)
    assert tts.sounded == ["This is four.", "This is six."]
    assert (tts.done.kept, tts.done.failures.keys()) == (3, {2})
    after = {path.name: path.read_bytes() for path in (folder / "pieces").iterdir()}
    kept = {name: content for name, content in before.items() if after.get(name) == content}
    assert {name.partition(".")[0] for name in kept} == {
        key for key, (text, *_) in OLDER_PIECES.items() if text not in tts.sounded
    }
    assert len(kept) == 6
    assert len(after) == 10
    assert speak(OLDER_TEXTS).sounded == []
    # What is ordered again has the seed that it would have had.
    state = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    assert state == {
        **{name: OLDER_STATE[name] for name in ("version", "seed", "normalize", "takes", "files")},
        "again": [],
    }
    assert {"c5c951631576cef5bf2856e2c6a3d84f.flac", "10cae7847a1fc1f0dc8ee5404370900d.flac"} <= (
        after.keys()
    )
