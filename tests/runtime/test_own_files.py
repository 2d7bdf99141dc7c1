"""Writing whole files or none, never through a link; reading only regular files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_chatterbox.audio.files import load_audio, save_audio
from mlx_chatterbox.errors import AudioError, ChatterboxError, CheckpointError
from mlx_chatterbox.longform.readers import read_document
from mlx_chatterbox.longform.readers.plain import characters_of
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.runtime import own_files
from mlx_chatterbox.text.respelling import Respelling
from mlx_chatterbox.voices.voice import Voice, is_saved_voice
from mlx_chatterbox.weights import atomic_folder, hub
from tests.longform.job_stub import RATE
from tests.runtime.prepared import ODD, Place, in_time, link, make_odd


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


# --- Inputs ---------------------------------------------------------------------------------------


def reader_of(ending: str):
    return lambda path: read_document(path.rename(path.with_suffix(ending)))


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize(
    "read",
    [
        lambda path: load_audio(path, RATE),
        Voice.load,
        characters_of,
        Respelling.read,
        *(reader_of(ending) for ending in (".txt", ".md", ".epub", ".srt")),
    ],
    ids=["recording", "voice", "table", "lexicon", "text", "markdown", "epub", "subtitles"],
)  # fmt: skip
def test_inputs_that_are_not_regular_files_are_refused(tmp_path, kind, read):
    path = tmp_path / "input"
    make_odd(path, kind)
    found = in_time(lambda: read(path))
    assert isinstance(found, ChatterboxError), found
    assert "\n" not in str(found)
    what = {"pipe": "a named pipe", "folder": "a folder", "device": "a device"}
    assert what.get(kind, "a socket") in str(found)
    assert in_time(lambda: is_saved_voice(path)) is False


def test_pipes_that_the_shell_opened_are_read(tmp_path):
    """`<(...)` and `/dev/stdin` work for tables and recordings."""
    save_audio(tmp_path / "a.wav", np.full(RATE, 0.1, np.float32), RATE)
    code = (
        "import sys; from pathlib import Path\n"
        "from mlx_chatterbox.audio.files import load_audio\n"
        "from mlx_chatterbox.longform.readers.plain import characters_of\n"
        "print(characters_of(Path(sys.argv[1]))[0].strip(), len(load_audio(sys.argv[2], 24000)))\n"
    )
    script = f'{sys.executable} -c "$0" <(echo table) /dev/stdin < <(cat a.wav)'
    done = subprocess.run(
        ["bash", "-c", script, code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout == f"table {RATE}\n", done.stderr


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
        (tmp_path / name / atomic_folder.LOCK).touch()
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=r"voiceA is missing: .*called \.voiceA\.old-"):
        hub.local_folder(str(tmp_path / "voiceA"))
    assert hub.local_folder(str(tmp_path / "voiceB")) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    # A conversion restores each file under its own name.
    atomic_folder.recover(tmp_path / "voiceA")
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
