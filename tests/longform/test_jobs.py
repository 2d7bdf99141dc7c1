"""A long text as a job: kept, resumed, changed, spoken again, and never half written."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import textwrap
import weakref

import numpy as np
import pytest
import soundfile

from mlx_chatterbox.errors import JobError, SettingError
from mlx_chatterbox.longform.assemble import OutputPart, assemble
from mlx_chatterbox.longform.book import job_folder, speak_document
from mlx_chatterbox.longform.fit import Fitted
from mlx_chatterbox.longform.identity import occurrences
from mlx_chatterbox.longform.job import Job
from mlx_chatterbox.longform.local import local
from mlx_chatterbox.longform.plan import Document, Piece
from tests.longform.job_stub import RATE, SENTENCES, StubTTS, document


@pytest.fixture
def speak(tmp_path):
    """Function that speaks sentences into `out.wav` by a new stub, and returns the stub."""

    def run(sentences=SENTENCES, output="out.wav", **settings):
        tts = StubTTS(tmp_path / "model")
        settings = {"seed": 1, "batch_size": 4, **settings}
        tts.done = speak_document(tts, document(sentences), tmp_path / output, **settings)
        return tts

    run.folder = tmp_path
    return run


def manifest_of(folder, output="out.wav") -> dict:
    path = job_folder(folder / output) / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8"))


def crash_after(last: int):
    """An executor that dies when `last` pieces were spoken."""

    def make(tts):
        def execute(pieces, batch_size, store):
            stored = 0

            def deadly(spoken):
                nonlocal stored
                store(spoken)
                stored += 1
                if stored == last:
                    raise RuntimeError("crashed")

            local(tts)(pieces, batch_size, deadly)

        return execute

    return make


def test_the_manifest_records_every_piece(speak):
    tts = speak(subtitles="srt")
    manifest = manifest_of(speak.folder)
    assert manifest["state"] == "finished"
    assert (manifest["output"], manifest["seed"], manifest["title"]) == ("out.wav", 1, "A title")
    waveform, rate = soundfile.read(speak.folder / "out.wav", dtype="float32")
    assert len(waveform) / rate == manifest["seconds"] == tts.done.seconds
    pieces = manifest["pieces"]
    assert [piece["text"] for piece in pieces] == SENTENCES
    assert [piece["number"] for piece in pieces] == list(range(1, 13))
    for piece in pieces:
        assert piece["outcome"] == "good"
        start, end = (round(piece[name] * rate) for name in ("start", "end"))
        assert end - start == piece["samples"] == 960 * len(piece["tokens"])  # nothing to trim
        kept, _ = soundfile.read(
            job_folder(speak.folder / "out.wav") / "pieces" / f"{piece['key']}.flac",
            dtype="float32",
        )
        # The audio as spoken, except for the gain that equalises loudness.
        gain = np.dot(waveform[start:end], kept) / np.dot(kept, kept)
        assert gain == pytest.approx(1.0, abs=0.2)
        np.testing.assert_allclose(waveform[start:end], gain * kept, atol=2 / 32768)
        assert not waveform[end : end + int(0.01 * rate)].any()
    assert (speak.folder / "out.srt").read_text().count("-->") == 12


def test_finished_work_is_kept(speak):
    speak()
    first = (speak.folder / "out.wav").read_bytes()
    again = speak()
    assert again.said == []
    assert again.done.kept == 12
    assert (speak.folder / "out.wav").read_bytes() == first


@pytest.mark.parametrize("pieces", [1, 4, 5, 11])
def test_after_a_crash_the_file_is_the_same(speak, pieces):
    speak(output="whole.wav")
    tts = StubTTS(speak.folder / "model")
    with pytest.raises(RuntimeError, match="crashed"):
        speak(executor=crash_after(pieces)(tts))
    assert not (speak.folder / "out.wav").exists()
    manifest = manifest_of(speak.folder)
    assert manifest["state"] == "unfinished"
    assert len(manifest["pieces"]) == 12
    resumed = speak()
    assert resumed.texts == SENTENCES[pieces:]
    assert resumed.done.kept == pieces
    for name in ("out.wav", "out.wav.job/manifest.json"):
        ours = (speak.folder / name).read_bytes()
        whole = (speak.folder / name.replace("out", "whole")).read_bytes()
        assert ours == whole.replace(b'"whole.wav"', b'"out.wav"')


def test_without_a_seed_the_job_draws_one_and_keeps_it(speak):
    with pytest.raises(RuntimeError, match="crashed"):
        speak(seed=None, executor=crash_after(5)(StubTTS(speak.folder / "model")))
    speak(seed=None)
    seed = manifest_of(speak.folder)["seed"]
    speak(seed=seed, output="whole.wav")
    ours, whole = ((speak.folder / f"{n}.wav").read_bytes() for n in ("out", "whole"))
    assert ours == whole


KILLED = """
import os, random, signal, sys
from pathlib import Path
from mlx_chatterbox.longform.book import speak_document
from tests.longform.job_stub import SENTENCES, StubTTS, document

folder = Path({folder!r})
tts = StubTTS(folder / "model")
replace, count, renames = os.replace, 0, 0

def run(name):
    settings = dict(seed=1, batch_size=2, subtitles="vtt")
    speak_document(tts, document(SENTENCES[:5]), folder / name, **settings)

def counted(a, b):
    global renames
    renames += 1
    replace(a, b)

os.replace = counted
run("whole.wav")

def killed_at(name, at, before):
    child = os.fork()
    if child == 0:
        def deadly(a, b):
            global count
            count += 1
            if count == at and before:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(a, b)
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)
        os.replace = deadly
        run(name)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status)

os.replace = replace
def same(name):
    run(name)
    for suffix in (".wav", ".vtt"):
        ours, whole = ((folder / n).with_suffix(suffix).read_bytes() for n in (name, "whole.wav"))
        assert ours == whole, (name, suffix)
    left = [p.name for p in folder.rglob("*.tmp")]
    assert not left, left

# Before and behind every rename: a piece, its record, the state, the output, the subtitles.
for at in range(1, renames + 1):
    for before in (True, False):
        name = f"{{at}}-{{before}}.wav"
        assert killed_at(name, at, before)
        same(name)
chance = random.Random()
kills = 0
while kills < 10 and killed_at("ten.wav", chance.randint(1, 5), chance.random() < 0.5):
    kills += 1
same("ten.wav")
print("renames", renames, "kills", kills)
"""


def test_killed_at_every_step_the_file_is_the_same(tmp_path):
    code = textwrap.dedent(KILLED.format(folder=str(tmp_path)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    renames, kills = (int(word) for word in done.stdout.split()[1::2])
    assert renames > 10
    assert kills >= 2


def test_only_changed_sentences_are_spoken(speak):
    speak()
    before = manifest_of(speak.folder)["pieces"]
    changed = [*SENTENCES[:3], "Something new.", *SENTENCES[3:8], "Another.", *SENTENCES[9:]]
    tts = speak(changed)
    assert tts.texts == ["Something new.", "Another."]
    after = manifest_of(speak.folder)["pieces"]
    kept = {piece["key"] for piece in before} & {piece["key"] for piece in after}
    assert len(kept) == 11
    # Files that are no longer needed are gone.
    pieces = job_folder(speak.folder / "out.wav") / "pieces"
    assert len(list(pieces.glob("*.flac"))) == 13


@pytest.mark.parametrize("what", ["seed", "setting", "voice", "model"])
def test_what_changes_everything_speaks_everything(speak, what):
    voice = speak.folder / "voice.safetensors"
    voice.write_bytes(b"one")
    saved = _Saved()
    settings = {"voice": voice if what == "voice" else None}
    with saved:
        speak(**settings)
        if what == "seed":
            settings["seed"] = 2
        if what == "setting":
            settings["settings"] = {"temperature": 0.7}
        if what == "voice":
            voice.write_bytes(b"two")
        if what == "model":
            (speak.folder / "model" / "tokenizer.json").write_text("another")
        tts = speak(**settings)
    assert tts.texts == SENTENCES


class _Saved:
    """Context in which voices are files of any content."""

    def __enter__(self):
        self._patch = pytest.MonkeyPatch()
        from mlx_chatterbox.longform import speaking

        voice = type("V", (), {"save": lambda self, path: path.write_bytes(b"saved")})
        self._patch.setattr(StubTTS, "voice_of", lambda *_: voice(), raising=False)
        self._patch.setattr(speaking.Voice, "load", staticmethod(lambda path: path))

    def __exit__(self, *_):
        self._patch.undo()


def test_equal_sentences_differ_and_stay_what_they_are():
    names = occurrences(["Yes.", "No.", "Yes."])
    assert len(set(names)) == 3
    assert occurrences(["New.", "Yes.", "No.", "Yes."])[1:] == names


def test_a_piece_spoken_again_leaves_the_others(speak):
    speak()
    before = manifest_of(speak.folder)["pieces"]
    tts = speak(redo=[3, 5])
    assert tts.said == [[SENTENCES[2], SENTENCES[4]]]
    after = manifest_of(speak.folder)["pieces"]
    changed = [
        n for n, (a, b) in enumerate(zip(before, after, strict=True), 1) if a["key"] != b["key"]
    ]
    assert changed == [3, 5]
    # It stays so, and can be spoken again once more.
    assert speak().said == []
    assert speak(redo=[3]).texts == [SENTENCES[2]]
    assert manifest_of(speak.folder)["pieces"][2]["seed"] not in (
        before[2]["seed"],
        after[2]["seed"],
    )


def test_an_order_that_crashed_is_not_a_second_one(speak):
    speak()
    speak(output="whole.wav")
    speak(output="whole.wav", redo=[3, 5])
    with pytest.raises(RuntimeError, match="crashed"):
        speak(redo=[3, 5], executor=crash_after(1)(StubTTS(speak.folder / "model")))
    assert speak(redo=[3, 5]).texts == [SENTENCES[4]]
    ours, whole = ((speak.folder / f"{n}.wav").read_bytes() for n in ("out", "whole"))
    assert ours == whole


def test_a_number_that_is_not_there(speak):
    speak()
    with pytest.raises(SettingError, match="--redo 99: no such"):
        speak(redo=[99])


def test_damaged_pieces_are_spoken_again(speak):
    speak()
    first = (speak.folder / "out.wav").read_bytes()
    pieces = sorted((job_folder(speak.folder / "out.wav") / "pieces").glob("*.flac"))
    pieces[0].write_bytes(pieces[0].read_bytes()[:-1])
    pieces[1].unlink()
    tts = speak()
    assert len(tts.texts) == 2
    assert (speak.folder / "out.wav").read_bytes() == first


def test_a_piece_that_cannot_be_spoken_is_reported_and_the_others_are(speak):
    sentences = [*SENTENCES[:5], "An unspeakable word.", *SENTENCES[5:]]
    tts = speak(sentences)
    assert tts.done.failures == {6: "the model knows none of the letters."}
    piece = manifest_of(speak.folder)["pieces"][5]
    assert piece["outcome"] == "not spoken: the model knows none of the letters."
    assert piece["start"] == piece["end"]
    assert sorted(tts.sounded) == sorted(SENTENCES)


def test_findings_of_the_guards_are_reported(speak):
    tts = speak(["This is fine.", "This one babbles."])
    assert tts.done.doubtful == {2: "babble"}
    assert [piece["outcome"] for piece in manifest_of(speak.folder)["pieces"]] == ["good", "babble"]
    assert manifest_of(speak.folder)["pieces"][1]["tries"] == 3


def test_two_runs_at_once(speak):
    folder = job_folder(speak.folder / "out.wav")
    with Job(folder), pytest.raises(JobError, match=r"another run \(process \d+\) is using"):
        speak()
    speak()


def test_a_damaged_state_does_not_discard_work(speak):
    speak()
    (job_folder(speak.folder / "out.wav") / "job.json").write_text("{")
    with pytest.raises(JobError, match=r"job\.json is damaged"):
        speak()


FULL = """
import resource
from pathlib import Path
from mlx_chatterbox.errors import AudioError, JobError
from mlx_chatterbox.longform.book import speak_document
from tests.longform.job_stub import SENTENCES, StubTTS, document

folder = Path({folder!r})
def run(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    tts = StubTTS(folder / "model")
    speak_document(tts, document(), folder / "out.wav", seed=1, batch_size=4)
    return tts

for limit in (9000, 50000):  # a piece does not fit; the output does not
    try:
        run(limit)
        raise SystemExit("it fitted")
    except JobError as error:
        assert "the disk is full" in str(error), error
        assert limit == 9000, error
    except AudioError as error:
        assert "out.wav cannot be written" in str(error), error
        assert limit == 50000, error
    assert not (folder / "out.wav").exists()
    assert not list(folder.rglob("*.tmp"))
assert run(resource.RLIM_INFINITY).said == []
assert (folder / "out.wav").exists()
"""


def test_a_full_disk_costs_nothing_that_was_finished(tmp_path):
    """A limit on the size of files simulates the full disk; only the error number differs."""
    code = FULL.format(folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Sink:
    """Counts, and keeps the last samples alone."""

    def __init__(self):
        self.samples, self.chapters, self.peaks = 0, [], []

    def write(self, samples):
        self.samples += len(samples)
        self.peaks.append(float(np.abs(samples).max()))

    def silence(self, n):
        self.samples += n

    def chapter(self, title):
        self.chapters.append((title, self.samples))


def test_never_more_than_a_piece_is_in_memory():
    """An hour is assembled from pieces, each freed before the next is read."""
    alive = weakref.WeakSet()

    def sound(index, late):
        assert not alive
        waveform = np.full(RATE, 0.1, dtype=np.float32).view(_Watched)
        alive.add(waveform)
        return Fitted(waveform, 1.0, 0.0)

    parts = [OutputPart(Piece("x", 0.5), str(n)) for n in range(3600)]
    sink = Sink()
    placed = assemble(sink, parts, sound, RATE)
    assert sink.samples == 3600 * 36000
    assert placed[-1].start == 3599 * 36000


class _Watched(np.ndarray):
    """An array type that a weak set can hold, to tell whether an array is still alive."""

    __hash__ = object.__hash__


def test_chapters_begin_with_their_first_piece():
    pieces = [Piece("One", 1.0, chapter="I"), Piece("a"), Piece("", 2.0, chapter="II"), Piece("b")]
    parts = [OutputPart(piece, "x" if piece.text else None) for piece in pieces]
    sink = Sink()
    assemble(sink, parts, lambda *_: Fitted(np.zeros(RATE, np.float32), 1.0, 0.0), RATE)
    assert sink.chapters == [("I", 0), ("II", 3 * RATE)]


def test_subtitles_in_begin_on_time_or_as_soon_as_there_is_room():
    second = Fitted(np.full(RATE, 0.1, dtype=np.float32), 1.0, 0.0)
    pieces = [
        Piece("a", start=1.0, end=2.0),
        Piece("b", start=1.5, end=2.5),
        Piece("c", start=5.0, end=6.0),
    ]
    sink = Sink()
    placed = assemble(sink, [OutputPart(piece, "x") for piece in pieces], lambda *_: second, RATE)
    assert [(p.start / RATE, p.end / RATE) for p in placed] == [(1, 2), (2, 3), (5, 6)]
    assert sink.samples == 6 * RATE


def test_a_book_with_chapters_is_the_same_after_a_crash(speak):
    """M4B is made by ffmpeg, so bit-equality depends on it too."""
    pytest.importorskip("imageio_ffmpeg") if shutil.which("ffmpeg") is None else None
    sentences = [Piece(text, 0.01, f"Chapter {i}") for i, text in enumerate(SENTENCES)]
    book = Document("A title", "Somebody", sentences)
    for name, ends in (("whole.m4b", None), ("out.m4b", 5), ("out.m4b", None)):
        tts = StubTTS(speak.folder / "model")
        executor = crash_after(ends)(tts) if ends else None
        expected = pytest.raises(RuntimeError) if ends else contextlib.nullcontext()
        with expected:
            speak_document(tts, book, speak.folder / name, seed=1, executor=executor)
    ours, whole = ((speak.folder / f"{n}.m4b").read_bytes() for n in ("out", "whole"))
    assert ours == whole


def test_a_text_with_times_is_spoken_in_them(speak):
    pieces = [Piece(text, start=n * 1.0, end=n + 0.9) for n, text in enumerate(SENTENCES[:4])]
    pieces[2] = Piece(SENTENCES[2], start=2.0, end=2.02)
    pieces[3] = Piece(SENTENCES[3], start=2.03, end=2.2)
    tts = StubTTS(speak.folder / "model")
    output = speak.folder / "out.wav"
    speak_document(tts, Document(None, None, pieces), output, seed=1)
    found = manifest_of(speak.folder)["pieces"]
    assert [piece["start"] for piece in found[:3]] == [0.0, 1.0, 2.0]
    assert [piece["speed"] for piece in found[:2]] == [1.0, 1.0]
    assert found[2]["speed"] == 1.3
    assert found[2]["overrun"] > 0
    assert found[3]["start"] == found[2]["end"]
