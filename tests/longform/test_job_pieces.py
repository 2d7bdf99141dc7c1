"""Pieces of a unit reach the disk one by one, and are not vocoded twice after a crash."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from threading import Lock

import pytest

from mlx_chatterbox import ChatterboxTTS
from mlx_chatterbox.longform.book import job_folder, speak_document
from mlx_chatterbox.longform.local import local
from mlx_chatterbox.synthesis import retries
from mlx_chatterbox.synthesis.monitor import Finding
from tests.longform.job_stub import SENTENCES, StubTTS, document

TEXTS = ["Good morning.", "Open the window.", "Thank you.", "The red hat is old.", "Yes.", "No."]
UNIT = {"seed": 1, "batch_size": 6, "settings": {"n_cfm_timesteps": 1}}


@pytest.fixture(scope="module")
def tts() -> ChatterboxTTS:
    return ChatterboxTTS.from_pretrained("pocket")


class Crash(Exception):
    pass


def crash_after(tts, pieces: int):
    """An executor that dies as soon as `pieces` pieces are on disk."""

    def execute(units, store):
        stored, one_at_a_time = [], Lock()

        def deadly(spoken):
            with one_at_a_time:
                if len(stored) >= pieces:
                    raise Crash
                store(spoken)
                stored.append(spoken.key)

        local(tts)(units, deadly)

    return execute


def records(output) -> dict[str, dict]:
    """Stored records of finished pieces, by text."""
    found = (job_folder(output) / "pieces").glob("*.json")
    read = [json.loads(path.read_text(encoding="utf-8")) for path in found]
    return {record["text"]: record for record in read}


KILLED = """
import os, signal
from pathlib import Path
from mlx_chatterbox import ChatterboxTTS
from mlx_chatterbox.longform.book import speak_document
from mlx_chatterbox.longform.local import local
from tests.longform.job_stub import document
from tests.longform.test_job_pieces import TEXTS, UNIT

# A shell that starts programs in the background has them ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
tts = ChatterboxTTS.from_pretrained("pocket")

def execute(units, store):
    stored = []
    def deadly(spoken):
        store(spoken)
        stored.append(spoken.key)
        if len(stored) == 2:
            os.kill(os.getpid(), signal.{signal})
    local(tts)(units, deadly)

speak_document(tts, document(TEXTS), Path({output!r}), executor=execute, **UNIT)
"""


@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT"])
def test_killed_within_a_unit_its_finished_pieces_stay(tts, tmp_path, sounded, end):
    whole, output = tmp_path / "whole.wav", tmp_path / "out.wav"
    speak_document(tts, document(TEXTS), whole, **UNIT)
    code = KILLED.format(output=str(output), signal=end)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == -signal.Signals[end]
    kept = len(records(output))
    # The other core's piece may be finished, too.
    assert 2 <= kept <= (3 if end == "SIGKILL" else 4)
    sounded.clear()
    done = speak_document(tts, document(TEXTS), output, **UNIT)
    assert done.kept == kept
    assert len(sounded) == len(TEXTS) - kept
    assert output.read_bytes() == whole.read_bytes()


def test_a_piece_is_on_disk_before_others_are_begun(tts, tmp_path, sounded):
    output, begun, one_at_a_time = tmp_path / "out.wav", [], Lock()

    def execute(units, store):
        assert [len(unit) for unit in units] == [len(TEXTS)]

        def counted(spoken):
            store(spoken)
            with one_at_a_time:  # otherwise what was counted first might be noted last
                begun.append((len(records(output)), len(sounded)))

        local(tts)(units, counted)

    speak_document(tts, document(TEXTS), output, executor=execute, **UNIT)
    assert begun[0][0] >= 1
    assert begun[0][1] <= 3
    assert begun[-1] == (6, 6)


def test_a_resumed_unit_with_retries_is_the_same(tts, tmp_path, sounded, monkeypatch):
    """Retries are decoded together: where one is on disk, all are done again."""
    judge, short = retries.judge_audio, []

    def fussy(waveform, sample_rate):
        if len(waveform) in short:
            return Finding("too short", 2.0)
        return judge(waveform, sample_rate)

    first, whole = tmp_path / "first.wav", tmp_path / "whole.wav"
    speak_document(tts, document(TEXTS), first, **UNIT)
    found = records(first)
    short += [found[text]["samples"] for text in ("Open the window.", "Thank you.")]
    monkeypatch.setattr(retries, "judge_audio", fussy)
    sounded.clear()
    speak_document(tts, document(TEXTS), whole, **UNIT)
    soundings = len(sounded)
    assert sum(record["tries"] > 1 for record in records(whole).values()) >= 2
    for pieces in (2, 5):
        output = tmp_path / f"{pieces}.wav"
        with pytest.raises(Crash):
            speak_document(tts, document(TEXTS), output, executor=crash_after(tts, pieces), **UNIT)
        kept = records(output)
        assert len(kept) == pieces
        sounded.clear()
        speak_document(tts, document(TEXTS), output, **UNIT)
        is_whole = any(record["tries"] > 1 for record in kept.values())
        assert is_whole == (pieces == 5)
        assert len(sounded) == soundings - (0 if is_whole else pieces)
        assert output.read_bytes() == whole.read_bytes()


@pytest.fixture
def speak(tmp_path):
    """Function that speaks sentences by the stub in units of four; crashes after `crash` pieces."""

    def run(sentences, output="out.wav", crash=None):
        tts = StubTTS(tmp_path / "model")
        executor = None if crash is None else crash_after(tts, crash)
        settings = {"seed": 1, "batch_size": 4, "executor": executor}
        tts.done = speak_document(tts, document(sentences), tmp_path / output, **settings)
        return tts

    run.folder = tmp_path
    return run


def same(folder) -> bool:
    ours, whole = ((folder / f"{name}.wav").read_bytes() for name in ("out", "whole"))
    return ours == whole


@pytest.mark.parametrize("pieces", range(1, 8))
def test_only_missing_pieces_are_vocoded(speak, pieces):
    speak(SENTENCES[:8], "whole.wav")
    with pytest.raises(Crash):
        speak(SENTENCES[:8], crash=pieces)
    resumed = speak(SENTENCES[:8])
    assert resumed.sounded == SENTENCES[pieces:8]
    assert resumed.said[0] == SENTENCES[pieces // 4 * 4 :][:4]
    assert same(speak.folder)


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_retries_keep_the_composition_of_their_batch(speak, pieces):
    sentences = ["A plain one.", "It stammers here.", "It stammers there.", "Another plain one."]
    speak(sentences, "whole.wav")
    with pytest.raises(Crash):
        speak(sentences, crash=pieces)
    resumed = speak(sentences)
    assert resumed.sounded == (sentences[1:] if pieces == 1 else sentences)
    assert same(speak.folder)


@pytest.mark.parametrize("pieces", [1, 2, 3, 4, 5])
def test_finished_pieces_of_a_unit_that_fails_are_kept(speak, pieces):
    sentences = [*SENTENCES[:2], "An unspeakable word.", *SENTENCES[3:8]]
    speak(sentences, "whole.wav")
    with pytest.raises(Crash):
        speak(sentences, crash=pieces)
    # The failure that the crashed run reported is not a piece on disk.
    kept = len(records(speak.folder / "out.wav"))
    resumed = speak(sentences)
    spoken = [text for text in sentences if "unspeakable" not in text]
    assert resumed.sounded == spoken[kept:]
    assert resumed.done.failures.keys() == {3}
    assert same(speak.folder)
