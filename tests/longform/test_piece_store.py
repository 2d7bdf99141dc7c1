"""Pieces on disk, and a job's memory of what is left to do, without a voice."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_chatterbox.errors import JobError
from mlx_chatterbox.longform.job import Job, job_folder, writing_before
from mlx_chatterbox.longform.speaking import SpokenPiece, VoiceSettings, Wanted
from mlx_chatterbox.longform.store import (
    PieceStore,
    disk_error,
    encode,
    read_json_or_none,
    write_durably,
    write_json,
    write_stream,
)

RATE = 24000


@pytest.fixture
def store(tmp_path):
    return PieceStore(tmp_path / "a" / "pieces")


def sound(value: float) -> np.ndarray:
    return np.full(100, value, np.float32)


def record(**values) -> dict:
    """The record of a piece of `sound`."""
    usual = {"seed": 1, "tries": 1, "outcome": "", "samples": 100, "loudness": -20.5, "tokens": []}
    return {**usual, **values}


def key_of(letter: str) -> str:
    return f"{ord(letter):032x}"


A, B, C, K, X = map(key_of, "abckx")


# --- Files -------------------------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_whole_or_left_as_it_was(tmp_path):
    path = tmp_path / "file"
    write_durably(path, b"old")
    write_stream(path, iter([b"ne", b"", b"w"]))
    assert path.read_bytes() == b"new"

    def broken():
        yield b"half"
        temporary, there = names(tmp_path)  # beside its place
        assert re.fullmatch(r"\.file\.[0-9a-f]{16}\.tmp", temporary)
        assert there == "file"
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        write_stream(path, broken())
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: done.append("flushed") or fsync(file))
    monkeypatch.setattr(os, "replace", lambda a, b: done.append("named") or replace(a, b))
    write_durably(tmp_path / "file", b"text")
    # The folder, too, or the name could be lost.
    assert done == ["flushed", "named", "flushed"]


def test_a_file_system_that_cannot_flush_a_folder_is_accepted(tmp_path, monkeypatch):
    fsync, calls = os.fsync, []

    def only_files(file):
        calls.append(file)
        if len(calls) == 2:
            raise OSError(errno.EINVAL, "not here")
        fsync(file)

    monkeypatch.setattr(os, "fsync", only_files)
    write_durably(tmp_path / "file", b"text")
    assert (tmp_path / "file").read_bytes() == b"text"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(calls[1])  # it was closed all the same


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_distinguished_from_other_errors(tmp_path, number):
    path = tmp_path / "out"
    assert "the disk is full" in str(disk_error(path, OSError(number, "x")))
    assert "denied." in str(disk_error(path, OSError(errno.EACCES, "denied")))
    assert "strange" in str(disk_error(path, OSError("strange")))
    with pytest.raises(JobError, match="No such file"):
        write_durably(tmp_path / "missing" / "file", b"")


def test_json_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "values.json"
    assert read_json_or_none(path) is None
    values = {"text": "für 世界", "numbers": [1, 2.5, None]}
    write_json(path, values)
    assert read_json_or_none(path) == values
    text = path.read_text(encoding="utf-8")
    assert "世界" in text  # legible, and a line for each value
    assert text.startswith('{\n "text"')
    assert text.endswith("\n")
    for damage in (b"{", b"\xff\xff"):
        path.write_bytes(damage)
        assert read_json_or_none(path) is None


def test_audio_is_kept_to_24_bits_and_clipped(store):
    samples = np.array([0.0, 0.5, -0.5, 1.5, -1.5, 1 / 2**23], np.float64)
    store.write(A, encode(samples, RATE), record())
    info = soundfile.info(store.audio_path(A))
    assert (info.samplerate, info.format, info.subtype) == (RATE, "FLAC", "PCM_24")
    read = store.read(A)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, np.clip(samples, -1.0, 1.0), atol=1.5 / 2**23)
    assert read[5] > 0.0


def test_a_piece_is_done_when_its_audio_matches_the_record(store):
    assert not store.is_done(A)
    assert store.record(A) is None
    audio = encode(sound(0.1), RATE)
    store.write(A, audio, record(tokens=[1, 2]))
    assert store.record(A) == record(tokens=[1, 2], sha256=hashlib.sha256(audio).hexdigest())
    assert store.is_done(A)
    store.audio_path(A).write_bytes(audio[:-1])
    assert not store.is_done(A)
    store.audio_path(A).unlink()
    assert not store.is_done(A)
    with pytest.raises(JobError, match="missing or damaged"):
        store.read(A)
    file = store.folder / f"{A}.json"
    for damage in ("[1]", "{}", "", "null"):
        store.write(A, audio, record())
        file.write_text(damage)
        assert not store.is_done(A)
    assert store.record(A) is None
    store.audio_path(A).write_bytes(b"no audio")
    with pytest.raises(JobError, match="missing or damaged"):
        store.read(A)


def test_only_what_is_needed_stays(store):
    for key in (A, B, C):
        store.write(key, encode(sound(0.1), RATE), record())
    store.keep_only(key for key in (A, C))
    assert names(store.folder) == [f"{A}.flac", f"{A}.json", f"{C}.flac", f"{C}.json"]
    # Temporary files of this version and of earlier ones.
    for left in (f".{A}.flac.0123456789abcdef.tmp", f".{B}.json.tmp"):
        (store.folder / left).write_bytes(b"half")
    theirs = ["five.tmp", "five.flac", f"{B}.txt", ".four.flac.tmp"]
    for name in theirs:
        (store.folder / name).write_bytes(b"a stranger's")
    PieceStore(store.folder).keep_only([A])
    assert names(store.folder) == sorted([*theirs, f"{A}.flac", f"{A}.json"])
    assert store.is_done(A)


# --- The job -----------------------------------------------------------------------------------


SETTINGS = VoiceSettings({}, None, "", "", "calm")


def wanted(keys: str) -> list[Wanted]:
    return [Wanted(key_of(one), f"text {one}", 1, SETTINGS) for one in keys]


def letters(pieces) -> str:
    return "".join(chr(int(one.key, 16)) for one in pieces)


@pytest.fixture
def job(tmp_path):
    with Job(tmp_path / "jobs" / "out.job") as job:
        yield job


def speak(pieces, store):
    for one in pieces:
        tokens = [int(one.key, 16)]
        store(SpokenPiece(one.key, encode(sound(0.2), RATE), record(tokens=tokens)))


def run(job, pieces, spoken=None):
    spoken = [] if spoken is None else spoken
    job.run(pieces, 3, lambda pieces, _, store: speak(pieces, store), spoken.append)
    return spoken


def test_what_is_missing_is_left_to_speak_in_order(tmp_path):
    pieces, folder = wanted("abcdefa"), tmp_path / "out.job"
    with Job(folder) as job:
        assert letters(job.missing(pieces)) == "abcdef"
        run(job, wanted("aceb"))
    with Job(folder) as job:
        assert letters(job.missing(pieces)) == "df"
        job.pieces.audio_path(key_of("e")).unlink()
        assert letters(job.missing(pieces)) == "def"
        assert letters(job.missing(wanted("hgfedcba"))) == "hgfed"
        assert letters(job.missing(pieces, unneeded=(key_of("d"), A))) == "ef"


def test_each_piece_is_on_disk_when_it_is_reported(job):
    here = []
    spoken = []

    def report(one):
        here.append(job.pieces.is_done(one.key))
        spoken.append(one)

    def execute(pieces, batch_size, store):
        assert batch_size == 3
        speak(pieces, store)
        store(SpokenPiece(X, failure="cannot be spoken"))

    job.run(wanted("ab"), 3, execute, report)
    assert here == [True, True, False]
    assert [one.key for one in spoken] == [A, B, X]
    assert job.pieces.record(A)["tokens"] == [ord("a")]
    job.run([], 3, lambda *_: pytest.fail("nothing is left"), report)


def test_a_job_remembers(tmp_path):
    folder = tmp_path / "out.job"
    with Job(folder) as job:
        assert job.seed is None
        drawn = job.choose_seed(None)
        assert 0 <= drawn < 2**63
        assert job.choose_seed(None) == drawn
        assert job.choose_seed(7) == job.seed == 7
        assert job.choose_seed(0) == 0
        assert job.take("a") == 0
        job.speak_again(["a", "b", "a"])
        job.speak_again(["a"])
        assert [job.take(name) for name in "abc"] == [1, 1, 0]
        job.files["voice.wav"] = [1, 2, "hash"]
        job.save()
    with Job(folder) as job:
        assert (job.seed, job.files) == (0, {"voice.wav": [1, 2, "hash"]})
        # Repeating an unfinished order is not a second order; after it is finished it is.
        job.speak_again(["a"])
        assert job.take("a") == 1
        run(job, wanted("kl"))
        job.finished([K])
        assert names(job.pieces.folder) == [f"{K}.flac", f"{K}.json"]
    with Job(folder) as job:
        job.speak_again(["a"])
        assert job.take("a") == 2
        assert job.seed == 0


def test_a_job_keeps_its_first_settings(tmp_path):
    folder = tmp_path / "out.job"
    assert writing_before(folder) is None
    with Job(folder) as job:
        assert (job.normalizes, job.chapters) == (None, [])
        job.save()
        assert "chapters" not in read_json_or_none(folder / "job.json")
        assert job.choose_writing(None, True) is True
        assert job.choose_writing(None, False) is True
        assert job.choose_writing(False, True) is False
        job.chapters = [2, 3]
        job.save()
    assert writing_before(folder) is False
    with Job(folder) as job:
        assert (job.choose_writing(None, True), job.chapters) == (False, [2, 3])
        # Jobs of versions without the setting kept their text as it was.
        state = read_json_or_none(folder / "job.json")
        del state["normalize"]
        write_json(folder / "job.json", state)
    assert writing_before(folder) is False
    with Job(folder) as job:
        assert job.normalizes is False
    (folder / "job.json").write_text("[1]")
    assert writing_before(folder) is None
    assert job_folder(tmp_path / "book.m4b") == tmp_path / "book.m4b.job"


def test_two_seeds_that_are_drawn_differ(tmp_path):
    seeds = set()
    for number in range(4):
        with Job(tmp_path / str(number)) as job:
            seeds.add(job.choose_seed(None))
    assert len(seeds) == 4


def test_a_job_is_locked_by_one_run_which_the_error_names(tmp_path):
    folder = tmp_path / "deep" / "out.job"
    with Job(folder):
        assert (folder / "lock").read_text() == str(os.getpid())
        with pytest.raises(JobError, match=rf"another run \(process {os.getpid()}\) is using"):
            Job(folder).__enter__()
        assert (folder / "lock").read_text() == str(os.getpid())
    # Whatever an earlier process left in the lock file.
    (folder / "lock").write_text("99999999999")
    with Job(folder):
        assert (folder / "lock").read_text() == str(os.getpid())
    (tmp_path / "file").write_text("")
    with pytest.raises(JobError, match="cannot be written"):
        Job(tmp_path / "file").__enter__()


@pytest.mark.parametrize(
    ("state", "message"), [("{", "is damaged"), (json.dumps({"version": 99}), "another version")]
)
def test_a_state_that_cannot_be_read_gives_the_lock_back(tmp_path, state, message):
    folder = tmp_path / "out.job"
    with Job(folder) as job:
        job.save()
        assert read_json_or_none(folder / "job.json")["version"] == 1
    (folder / "job.json").write_text(state)
    for _ in range(2):
        with pytest.raises(JobError, match=message):
            Job(folder).__enter__()
    (folder / "job.json").unlink()
    with Job(folder) as job:
        assert (job.seed, job.files, job.take("a")) == (None, {}, 0)
