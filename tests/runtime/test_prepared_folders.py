"""Folders that an attacker has prepared: nothing outside them is read, written or removed."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest
import soundfile

from mlx_chatterbox.audio.files import save_audio
from mlx_chatterbox.errors import JobError, TextError
from mlx_chatterbox.longform.batch import speak_batch
from mlx_chatterbox.runtime import own_files
from tests.longform.job_stub import RATE, StubTTS
from tests.runtime.prepared import ODD, SENTENCES, Place, in_time, link, make_odd


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


# --- Links and strangers' files in a job ----------------------------------------------------------


@pytest.mark.parametrize("name", ["pieces", "lock", "."])
@pytest.mark.parametrize("when", ["new", "begun"])
@pytest.mark.parametrize("target", ["", "notes.txt", "missing"])
def test_links_in_a_job_are_refused(place, name, when, target):
    if when == "begun":
        place.speak()
        there = place.job / name
        there.rename(place.folder / "kept")
    elif name != ".":
        place.job.mkdir()
    link(place.job / name if name != "." else place.job, place.outside / target)
    with pytest.raises(JobError, match="cannot be written") as refused:
        place.speak()
    assert "\n" not in str(refused.value)
    assert place.untouched()


def test_a_link_to_a_folder_of_outputs_is_refused(place):
    link(place.folder / "batch.job" / "outputs", place.outside)
    with pytest.raises(JobError, match="outputs cannot be written: it is a link"):
        place.batch("text,output\nOne.,1.wav\n")
    assert place.untouched()


def test_a_link_to_a_folder_of_voices_is_refused(place):
    voice = place.folder.parent / "voice.wav"
    save_audio(voice, np.zeros(RATE, np.float32) + 0.1, RATE)
    link(place.folder / "batch.job" / "voices", place.outside)
    ((status, message),) = place.batch("text,output,voice\nOne.,1.wav,voice.wav\n").values()
    assert status == "failed"
    assert "voices cannot be written: it is a link" in message
    assert place.untouched()


def test_a_lock_with_another_name_is_refused(place):
    """A hard link: emptying it would empty the other file."""
    place.job.mkdir()
    os.link(place.outside / "notes.txt", place.job / "lock")
    with pytest.raises(JobError, match="it is linked to another file"):
        place.speak()
    assert place.untouched()


@pytest.mark.parametrize(
    "names",
    [
        [".job.json.tmp", ".manifest.json.tmp", "pieces/.x.flac.tmp"],
        ["job.json", "manifest.json"],
    ],
    ids=["temporary", "files"],
)
def test_what_is_written_replaces_links_and_does_not_follow_them(place, names):
    place.speak()
    for name in names:
        (place.job / name).unlink(missing_ok=True)
        link(place.job / name, place.outside / "notes.txt")
    if "job.json" in names:
        with pytest.raises(JobError, match=r"job\.json is damaged"):
            place.speak()
        (place.job / "job.json").unlink()
    place.output.unlink()
    link(place.output, place.outside / "notes.txt")
    place.speak()
    assert place.untouched()
    assert own_files.is_regular(place.output)
    assert own_files.is_regular(place.job / "manifest.json")


def test_the_report_and_subtitles_of_a_batch_follow_no_link(place):
    targets = ["notes.txt", "a.flac", "job.json", "x.safetensors"]
    for name, target in zip(
        (".report.csv.tmp", "report.csv", "1.srt", "1.wav"), targets, strict=True
    ):
        link(place.folder / name, place.outside / target)
    found = place.batch("text,output\nOne.,1.wav\n", subtitles="srt")
    assert found["1.wav"][0] == "spoken", found
    assert place.untouched()
    assert own_files.is_regular(place.folder / "report.csv")
    assert own_files.is_regular(place.folder / "1.srt")


def test_only_files_of_ours_are_removed(place):
    place.speak()
    pieces = place.job / "pieces"
    theirs = ["notes.txt", "a.flac", "0" * 32, f"{'0' * 32}.wav", f"{'G' * 32}.json", ".hidden"]
    for name in theirs:
        (pieces / name).write_text("theirs")
    (pieces / f"{'1' * 32}.flac").mkdir()
    link(pieces / f"{'2' * 32}.json", place.outside / "notes.txt")
    (pieces / f"{'3' * 32}.flac").write_text("ours, and of no use any more")
    place.speak(settings={"temperature": 0.5})
    left = {path.name for path in pieces.iterdir()}
    assert {*theirs, f"{'1' * 32}.flac", f"{'2' * 32}.json"} <= left
    assert f"{'3' * 32}.flac" not in left
    assert len(left) == len(theirs) + 2 + 2 * len(SENTENCES)
    assert place.untouched()


# --- A job's own state ----------------------------------------------------------------------------

STATES = [
    [], "text", 1, True, {"takes": []}, {"takes": {"a": "b"}}, {"takes": {"a": -1}},
    {"files": []}, {"files": {"a": 1}}, {"files": {"a": [1, 2]}}, {"files": {"a": ["x", 2, "y"]}},
    {"units": {}}, {"units": [1]}, {"units": [["a", 1]]}, {"units": "abc"}, {"again": {}},
    {"again": [[]]}, {"seed": "x"}, {"seed": 1.5}, {"seed": True}, {"seed": 10**40}, {"plan": []},
    {"chapters": 1}, {"chapters": ["a"]}, {"normalize": "yes"}, {"version": []}, {"version": "1"},
]  # fmt: skip


@pytest.mark.parametrize("state", STATES, ids=json.dumps)
def test_a_state_of_another_shape_is_refused_in_one_line(place, state):
    place.speak()
    path = place.job / "job.json"
    if isinstance(state, dict):
        state = {**json.loads(path.read_text()), **state}
    path.write_text(json.dumps(state))
    with pytest.raises(JobError, match=r"to start over\.$"):
        place.speak()


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b"{", b""])
def test_a_state_that_is_not_json_is_refused_in_one_line(place, content):
    place.speak()
    (place.job / "job.json").write_bytes(content)
    with pytest.raises(JobError, match=r"job\.json is damaged: .* to start over\.$"):
        place.speak()


def test_units_of_an_older_program_change_nothing_whatever_they_name(place):
    first = place.speak()
    sound = place.output.read_bytes()
    path = place.job / "job.json"
    keys = [piece.stem for piece in (place.job / "pieces").glob("*.json")]
    for units in ([["0" * 32]], [[]], [[*keys, "x"]], [[], keys], [keys[:2]]):
        for piece in (place.job / "pieces").iterdir():
            piece.unlink()
        state = json.loads(path.read_text())
        path.write_text(json.dumps({**state, "plan": "0" * 32, "units": units}))
        assert place.speak().texts == first.texts
        assert place.output.read_bytes() == sound


WRONG = {
    "seed": ["1", None, 1.5], "tries": [0, "1", None, True], "outcome": [None, 1, []],
    "samples": ["1", None, -1, 10**30], "loudness": [[], "loud", {}],
    "tokens": [None, "ab", [-1], ["a"], [1.5], {}],
    "sha256": [None, 1, "0" * 64], "unread": ["ab", [1]], "stopped": ["no"], "alone": [1],
    "text": [[]],
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_piece_with_a_record_of_another_shape_is_spoken_again(place, name):
    place.speak()
    sound = place.output.read_bytes()
    path = sorted((place.job / "pieces").glob("*.json"))[0]
    record = json.loads(path.read_text())
    without = {key: value for key, value in record.items() if key != name}
    wrong = [{**record, name: value} for value in WRONG[name]]
    if name in record and name != "text":
        wrong.append(without)
    for one in wrong:
        path.write_text(json.dumps(one))
        tts = place.speak()
        assert len(tts.sounded) == 1, one
        assert json.loads(path.read_text()) == record
        assert place.output.read_bytes() == sound


def other_sounds(waveform: np.ndarray) -> dict[str, tuple[np.ndarray, int]]:
    return {
        "of 8 kHz": (waveform, 8000),
        "stereo": (np.stack([waveform, waveform], axis=1), RATE),
        "shorter": (waveform[:-1], RATE),
        "empty": (waveform[:0], RATE),
    }


@pytest.mark.parametrize("what", other_sounds(np.zeros(2)))
def test_a_piece_of_another_shape_is_spoken_again(place, what):
    """A right hash does not help: an attacker can change both."""
    place.speak()
    sound = place.output.read_bytes()
    record_path = sorted((place.job / "pieces").glob("*.json"))[0]
    path = record_path.with_suffix(".flac")
    waveform, _ = soundfile.read(path, dtype="float32")
    samples, rate = other_sounds(waveform)[what]
    soundfile.write(path, samples, rate, subtype="PCM_24", format="FLAC")
    record = json.loads(record_path.read_text())
    record["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    record_path.write_text(json.dumps(record))
    assert len(place.speak().sounded) == 1
    assert place.output.read_bytes() == sound


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", ["job.json", "lock", "pieces", "piece", "record"])
def test_special_files_in_a_job_do_not_crash_it(place, kind, name):
    place.speak()
    if name in ("piece", "record"):
        ending = ".flac" if name == "piece" else ".json"
        path = sorted((place.job / "pieces").glob(f"*{ending}"))[0]
    else:
        path = place.job / name
    if name == "pieces" and kind == "folder":
        pytest.skip("it is one")
    path.rename(place.folder / "kept")
    make_odd(path, kind)
    found = in_time(place.speak)
    assert isinstance(found, (StubTTS, JobError)), found
    if isinstance(found, JobError):
        assert "\n" not in str(found)


# --- Outputs of a batch ---------------------------------------------------------------------------


def test_outputs_that_lead_out_of_the_folder_fail_alone(place):
    link(place.folder / "esc", place.outside)
    link(place.folder / "deep" / "esc", place.outside / "sub")
    link(place.folder / "own", place.folder / "batch.job")
    link(place.folder / "fine", place.folder / "real")
    (place.folder / "real").mkdir()
    (place.folder / "real" / "2").mkdir()
    rows = [
        "esc/evil.wav", "esc/new/evil.wav", "deep/esc/evil.wav", "../evil.wav", "/evil.wav",
        "a/../../evil.wav", "batch.job/x.wav", "batch.job/pieces/x.flac", "BATCH.JOB/../x.wav",
        "own/pieces/x.flac",
    ]  # fmt: skip
    good = ["1.wav", "fine/2/x.wav"]
    found = place.batch("text,output\n" + "".join(f"Text of {one}.,{one}\n" for one in rows + good))
    for one in rows:
        assert found[one][0] == "failed"
        assert "not allowed" in found[one][1]
    for one in good:
        assert found[one][0] == "spoken"
        assert (place.folder / one).is_file()
    assert place.untouched()


def test_a_row_with_a_zero_or_too_long_a_name_fails_alone(place):
    longest = "n" * 251 + ".wav"  # the longest name that the file system accepts
    table = (
        "text,output,voice\nOne.,1.wav,\nTwo.,a\0b.wav,\nA\0B.,3.wav,\nFour.,4.wav,v\0.wav\n"
        f"Five.,{longest},\nSix.,{'n' * 253}.wav,\nSeven.,{'d' * 300}/7.wav,\n"
        f"Eight.,{'é' * 120}.wav,\nNine.,9.wav,\n"
    )
    found = place.batch(table)
    status = [line[0] for line in found.values()]
    assert status == ["spoken", *["failed"] * 3, "spoken", "failed", "failed", "spoken", "spoken"]
    messages = [line[1] for line in found.values()]
    assert "zero character in its output" in messages[1]
    assert "zero character in its text" in messages[2]
    assert "zero character in its voice" in messages[3]
    assert "too long" in messages[5].lower()
    assert (place.folder / longest).is_file()
    assert not list(place.folder.glob(".*.tmp"))
    report = (place.folder / "report.csv").read_text()
    assert "\0" not in report
    assert report.count("spoken") == 4


def test_special_files_in_a_folder_of_texts_fail_alone(place):
    texts = place.folder.parent / "texts"
    make_odd(texts / "a.txt", "pipe")
    link(texts / "b.txt", texts / "missing")
    (texts / "c.txt").write_text("One.")
    tts = StubTTS(place.folder.parent / "model")
    found = in_time(lambda: speak_batch(tts, texts, place.folder, longest=300, seed=1))
    assert [line.status for line in found] == ["failed", "failed", "spoken"]
    assert "a named pipe" in found[0].message
    assert "there is no file" in found[1].message


def test_a_table_that_is_not_text_is_still_refused(place):
    with pytest.raises(TextError, match="zero bytes"):
        place.batch("t\0e\0x\0t\0\nOne.\n")


def test_a_finished_output_that_became_something_else_is_made_again(place):
    assert place.batch("text,output\nOne.,1.wav\n")["1.wav"][0] == "spoken"
    (state,) = (
        path
        for path in (place.folder / "batch.job" / "outputs").iterdir()
        if "manifest" not in path.name
    )
    values = json.loads(state.read_text())
    for wrong in (
        [],
        {},
        {**values, "seconds": "x"},
        {**values, "message": 1},
        {**values, "sha256": None},
    ):
        state.write_text(json.dumps(wrong))
        assert place.batch("text,output\nOne.,1.wav\n")["1.wav"][0] == "spoken"
    assert place.batch("text,output\nOne.,1.wav\n")["1.wav"][0] == "kept"
    (place.folder / "1.wav").unlink()
    os.mkfifo(place.folder / "1.wav")
    assert in_time(lambda: place.batch("text,output\nOne.,1.wav\n"))["1.wav"][0] == "spoken"
