"""Folders that somebody else has prepared: nothing outside them is read, written or removed."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_chatterbox import hub, own_files, swap
from mlx_chatterbox.audio.files import load_audio, save_audio
from mlx_chatterbox.config import ModelConfig
from mlx_chatterbox.errors import AudioError, ChatterboxError, CheckpointError, JobError, TextError
from mlx_chatterbox.longform.batch import speak_batch
from mlx_chatterbox.longform.book import speak_document
from mlx_chatterbox.longform.job import job_folder
from mlx_chatterbox.longform.readers import read_document
from mlx_chatterbox.longform.readers.plain import read_characters
from mlx_chatterbox.text.respelling import Respelling
from mlx_chatterbox.voice import Voice, is_saved_voice
from tests.job_stub import RATE, StubTTS, document

SENTENCES = ["This is one.", "This is two.", "This is three."]


class Place:
    """A folder with an output and its job, and one outside that nothing may touch."""

    def __init__(self, folder: Path):
        self.folder, self.outside = folder / "in", folder / "outside"
        self.folder.mkdir()
        self.outside.mkdir()
        for name in ("a.flac", "notes.txt", f"{'0' * 32}.flac", "job.json", "x.safetensors"):
            (self.outside / name).write_text("precious")
        (self.outside / "sub").mkdir()
        self.output = self.folder / "out.wav"
        self.job = job_folder(self.output)

    def speak(self, **options) -> StubTTS:
        tts = StubTTS(self.folder.parent / "model")
        speak_document(tts, document(SENTENCES), self.output, seed=1, batch_size=2, **options)
        return tts

    def batch(self, table: str, **options) -> dict[str, tuple[str, str]]:
        """Status and message of each row's output."""
        source = self.folder.parent / "rows.csv"
        source.write_bytes(table.encode())
        tts = StubTTS(self.folder.parent / "model")
        lines = speak_batch(tts, source, self.folder, longest=300, seed=1, **options)
        return {line.output: (line.status, line.message) for line in lines}

    def outside_is(self) -> dict[str, str]:
        return {
            path.name: path.read_text() if path.is_file() else "" for path in self.outside.iterdir()
        }


@pytest.fixture
def place(tmp_path) -> Place:
    made = Place(tmp_path)
    before = made.outside_is()
    made.untouched = lambda: made.outside_is() == before
    return made


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


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


# --- What a job says of itself --------------------------------------------------------------------

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
    with pytest.raises(JobError, match=r"to begin anew\.$"):
        place.speak()


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b"{", b""])
def test_a_state_that_is_no_json_is_refused_in_one_line(place, content):
    place.speak()
    (place.job / "job.json").write_bytes(content)
    with pytest.raises(JobError, match=r"job\.json is damaged: .* to begin anew\.$"):
        place.speak()


def test_units_of_unknown_pieces_are_formed_anew(place):
    first = place.speak()
    path = place.job / "job.json"
    for piece in (place.job / "pieces").iterdir():
        piece.unlink()
    state = json.loads(path.read_text())
    for units in ([["0" * 32]], [[]], [[*state["units"][0], "x"]], [[], *state["units"]]):
        path.write_text(json.dumps({**state, "units": units}))
        assert sorted(place.speak().texts) == sorted(first.texts)
        for piece in (place.job / "pieces").iterdir():
            piece.unlink()


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
    """Though its hash is right: who changes the one can change the other."""
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


def make_odd(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket has 107 bytes at most
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(path.name)
        finally:
            os.chdir(here)


ODD = ["pipe", "folder", "device", "socket"]


def in_time(work):
    """What work returns or raises; nothing may wait for a pipe, or read a device to its end."""
    found = []

    def run():
        try:
            found.append(work())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert found, "it hangs"
    return found[0]


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", ["job.json", "lock", "pieces", "piece", "record"])
def test_what_is_no_file_in_a_job_is_no_crash(place, kind, name):
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


# --- Inputs ---------------------------------------------------------------------------------------


def reader_of(ending: str):
    return lambda path: read_document(path.rename(path.with_suffix(ending)))


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize(
    "read",
    [
        lambda path: load_audio(path, RATE),
        Voice.load,
        read_characters,
        Respelling.read,
        *(reader_of(ending) for ending in (".txt", ".md", ".epub", ".srt")),
    ],
    ids=["recording", "voice", "table", "lexicon", "text", "markdown", "epub", "subtitles"],
)  # fmt: skip
def test_inputs_that_are_no_files_are_refused(tmp_path, kind, read):
    path = tmp_path / "input"
    make_odd(path, kind)
    found = in_time(lambda: read(path))
    assert isinstance(found, ChatterboxError), found
    assert "\n" not in str(found)
    what = {"pipe": "a named pipe", "folder": "a folder", "device": "a device"}
    assert what.get(kind, "a socket") in str(found)
    assert in_time(lambda: is_saved_voice(path)) is False


def test_pipes_that_the_shell_opened_are_read(tmp_path):
    """`<(...)` and `/dev/stdin`, for tables and recordings, as ever."""
    save_audio(tmp_path / "a.wav", np.full(RATE, 0.1, np.float32), RATE)
    code = (
        "import sys; from pathlib import Path\n"
        "from mlx_chatterbox.audio.files import load_audio\n"
        "from mlx_chatterbox.longform.readers.plain import read_characters\n"
        "print(read_characters(Path(sys.argv[1])).strip(), len(load_audio(sys.argv[2], 24000)))\n"
    )
    script = f'{sys.executable} -c "$0" <(echo table) /dev/stdin < <(cat a.wav)'
    done = subprocess.run(
        ["bash", "-c", script, code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout == f"table {RATE}\n", done.stderr


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
    longest = "n" * 251 + ".wav"  # what the file system takes
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


def test_a_table_that_is_no_text_is_still_none(place):
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


# --- Other files ----------------------------------------------------------------------------------


def test_a_configuration_is_written_through_no_link(place):
    for name in ("config.json.tmp", ".config.json.tmp", "config.json"):
        link(place.folder / name, place.outside / "notes.txt")
    ModelConfig().save(place.folder)
    assert ModelConfig.load(place.folder) == ModelConfig()
    assert place.untouched()


def test_a_sound_file_is_written_through_no_link(place):
    link(place.output, place.outside / "notes.txt")
    save_audio(place.output, np.full(100, 0.1, np.float32), RATE)
    assert place.untouched()
    assert soundfile.info(place.output).frames == 100


def test_too_long_a_name_of_an_output_is_one_line(tmp_path):
    with pytest.raises(AudioError, match="too long"):
        save_audio(tmp_path / ("n" * 252 + ".wav"), np.full(100, 0.1, np.float32), RATE)


def test_naming_a_model_changes_nothing_on_the_disk(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (f".voiceA.tmp-{gone.pid}", f".voiceA.old-{gone.pid}", f".other.old-{gone.pid}"):
        (tmp_path / name).mkdir()
        (tmp_path / name / swap.LOCK).touch()
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=r"voiceA is not there: .*called \.voiceA\.old-"):
        hub.local_folder(str(tmp_path / "voiceA"))
    assert hub.local_folder(str(tmp_path / "voiceB")) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    # A conversion puts each back under its own name.
    swap.recover(tmp_path / "voiceA")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "voiceA"]


# --- The module -----------------------------------------------------------------------------------


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path):
    path = tmp_path / "file.json"
    (tmp_path / ".file.json.0123456789abcdef.tmp").write_text("dead")
    others = [".file.json.tmp", ".other.json.0123456789abcdef.tmp", ".file.json.0123.tmp"]
    for name in others:
        (tmp_path / name).write_text("no business of ours")
    with own_files.whole_file(path) as living:
        living.write(b"first")
        own_files.write_whole(path, "second", clean=True)
        assert path.read_text() == "second"
        assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(
            [*others, "file.json", Path(living.name).name]
        )
    assert path.read_text() == "first"


def test_a_write_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("old")

    def fail() -> None:
        with own_files.whole_file(tmp_path / "file") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"
