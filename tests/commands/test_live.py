"""Speech to a file, a pipe or the speakers while it is made, and the command line's `--stream`."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import types

import numpy as np
import pytest
import soundfile

from mlx_chatterbox.audio.files import save_audio
from mlx_chatterbox.audio.playback import PipeWriter, Player, pcm16, wav_header
from mlx_chatterbox.errors import AudioError
from mlx_chatterbox.generate import main


class Pipe(io.BytesIO):
    def seekable(self):
        return False


@pytest.fixture
def speech():
    return np.random.default_rng(0).uniform(-1.2, 1.2, 5000).astype(np.float32)


def in_parts(samples):
    return np.split(samples, [1, 1000, 4000])


def test_a_pipe_gets_what_a_file_would(speech, tmp_path):
    save_audio(tmp_path / "a.wav", speech, 24000)
    pipe = Pipe()
    writer = PipeWriter(pipe, 24000)
    for part in in_parts(speech):
        writer.write(part)
    writer.close()
    data = pipe.getvalue()
    assert data[:44] == wav_header(24000)
    assert struct.unpack("<I", data[40:44]) == (0xFFFFFFFF,)
    np.testing.assert_array_equal(
        np.frombuffer(data[44:], "<i2"), soundfile.read(tmp_path / "a.wav", dtype="int16")[0]
    )


def test_raw_has_no_header(speech):
    pipe = Pipe()
    writer = PipeWriter(pipe, 24000, raw=True)
    writer.write(speech)
    writer.close()
    assert pipe.getvalue() == pcm16(speech)


def test_standard_output_into_a_file_gets_a_true_header(speech, tmp_path):
    with (tmp_path / "a.wav").open("wb") as file:
        writer = PipeWriter(file, 24000)
        for part in in_parts(speech):
            writer.write(part)
        writer.close()
    read, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert rate == 24000
    assert read.tobytes() == pcm16(speech)
    assert soundfile.info(tmp_path / "a.wav").frames == 5000


def test_a_file_that_is_appended_to_keeps_its_beginning(speech, tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(b"before" * 20)
    with path.open("ab") as file:
        writer = PipeWriter(file, 24000)
        writer.write(speech)
        writer.close()
    assert path.read_bytes() == b"before" * 20 + wav_header(24000) + pcm16(speech)


def test_a_full_disk_is_reported(speech):
    class Full(Pipe):
        def write(self, _):
            raise OSError(28, "No space left on device")

    with pytest.raises(AudioError, match="No space left"):
        PipeWriter(Full(), 24000)


class Speakers:
    """Stands in for sounddevice, and keeps what is played."""

    class PortAudioError(Exception):
        pass

    def __init__(self):
        self.heard, self.calls, self.breaks_after = [], [], None

    def OutputStream(self, **settings):
        assert settings == {"samplerate": 24000, "channels": 1, "dtype": "float32"}
        named = ("start", "stop", "abort", "close")
        calls = {name: lambda name=name: self.calls.append(name) for name in named}
        return types.SimpleNamespace(write=self.write, **calls)

    def write(self, samples):
        if len(self.heard) == self.breaks_after:
            raise self.PortAudioError("unplugged")
        assert samples.ndim == 2
        self.heard.append(samples[:, 0])


@pytest.fixture
def speakers(monkeypatch):
    speakers = Speakers()
    monkeypatch.setitem(sys.modules, "sounddevice", speakers)
    return speakers


def test_the_player_plays_everything_in_order(speakers, speech):
    player = Player(24000)
    for part in np.split(speech, 50):
        player.write(part)
    player.close()
    np.testing.assert_array_equal(np.concatenate(speakers.heard), speech)
    assert speakers.calls == ["start", "stop", "close"]


def test_a_failing_device_is_reported_without_waiting(speakers, speech):
    speakers.breaks_after = 2
    player = Player(24000)

    def play():
        for part in np.split(speech, 50):
            player.write(part)
        player.close()

    with pytest.raises(AudioError, match="unplugged"):
        play()
    player.abort()
    assert len(speakers.heard) == 2


def test_no_speakers(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioError, match=r"mlx-chatterbox\[play\]"):
        Player(24000)


TEXT = "A sentence to be heard while it is being made, and one that goes on for a while."


@pytest.fixture
def command(small_checkpoint, recording_file, tmp_path):
    words = ["--model", small_checkpoint, "--voice", recording_file, "--text", TEXT, "--seed", 1]
    words += ["--max-new-tokens", 80, "--cfm-steps", 1, "--stream"]
    return [str(word) for word in words]


@pytest.fixture
def at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def in_a_shell(command: list[str], behind: str) -> subprocess.CompletedProcess:
    """The command in a pipe of a shell, as users type it."""
    script = f'set -o pipefail; "$@" {behind}'
    words = ["bash", "-c", script, "bash", sys.executable, "-m", "mlx_chatterbox.generate"]
    here = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [*words, *command], capture_output=True, check=False, env={**os.environ, **here}
    )


def test_stream_to_a_file_and_to_a_pipe(command, at, capsys):
    assert main([*command, "--output", "a.wav"]) == 0
    said = capsys.readouterr().out
    assert "first audio after" in said
    file, rate = soundfile.read(at / "a.wav", dtype="int16")
    assert rate == 24000
    assert len(file) > 24000
    assert f"{len(file) // 960} tokens" in said
    assert [path.name for path in at.iterdir()] == ["a.wav"]

    piped = in_a_shell([*command, "--output", "-"], "| cat")
    assert piped.returncode == 0, piped.stderr
    assert piped.stdout == wav_header(24000) + file.tobytes()
    assert b"standard output: " in piped.stderr
    assert b"%|" not in piped.stderr

    raw = in_a_shell([*command, "--output", "-", "--raw"], "> a.pcm")
    assert raw.returncode == 0, raw.stderr
    assert (at / "a.pcm").read_bytes() == file.tobytes()


def test_a_reader_that_leaves_ends_it_cleanly(command, at):
    done = in_a_shell([*command, "--output", "-"], "| head -c 1000")
    assert done.returncode == 0
    assert len(done.stdout) == 1000
    assert b"closed the pipe before the end" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


def test_play_while_speaking(command, at, speakers):
    assert main([*command, "--play"]) == 0
    heard = np.concatenate(speakers.heard)
    assert len(speakers.heard) > 2
    assert pcm16(heard) == soundfile.read(at / "out.wav", dtype="int16")[0].tobytes()


def test_an_interruption_silences_and_leaves_nothing(command, at, speakers, monkeypatch, capsys):
    def interrupted(*_):
        yield from range(40)
        raise KeyboardInterrupt

    monkeypatch.setattr("mlx_chatterbox.synthesis.streaming.decode", interrupted)
    assert main([*command, "--play"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert "abort" in speakers.calls
    assert "stop" not in speakers.calls
    assert list(at.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "-"], "add --stream"),
        (["--raw"], "--raw is for standard output"),
        (["--stream", "--raw"], "--raw is for standard output"),
    ],
)
def test_options_that_contradict_each_other(arguments, message, at, capsys):
    assert main(["--text", "Hi.", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert list(at.iterdir()) == []


def test_no_sound_into_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["--text", "Hi.", "--stream", "--output", "-"]) == 1
    assert "terminal" in capsys.readouterr().err
