"""Truncated recordings are read as far as they go, with a warning."""

from __future__ import annotations

import io
import struct
import subprocess
import warnings

import numpy as np
import pytest
import soundfile

from mlx_chatterbox.audio.ffmpeg import ffmpeg_program
from mlx_chatterbox.audio.files import blocks_of, read_channels
from mlx_chatterbox.errors import AudioError
from mlx_chatterbox.generate import main as generate
from mlx_chatterbox.vc import main as convert
from mlx_chatterbox.voices.voice import LONGEST_REFERENCE, read_reference
from mlx_chatterbox.watermark.__main__ import main as watermark

RATE = 24000
SHORT = "cut short, or its header is wrong"
# Containers that state their length in different places of the header, with a subtype.
FORMATS = {
    "WAV": "PCM_16", "WAVEX": "PCM_24", "RF64": "PCM_16", "AIFF": "PCM_16", "AU": "PCM_16",
    "W64": "PCM_16", "CAF": "PCM_16", "NIST": "PCM_16", "OGG": "VORBIS", "MP3": "MPEG_LAYER_III",
}  # fmt: skip


def recording(path, container: str, seconds: float = 2.0):
    rng = np.random.default_rng(0)
    samples = 0.1 * rng.standard_normal(round(seconds * RATE))
    soundfile.write(path, samples, RATE, format=container, subtype=FORMATS[container])
    return path


def cut(path, share: float):
    """The beginning of a file, beside it."""
    content = path.read_bytes()
    short = path.with_name(f"short-{path.name}")
    short.write_bytes(content[: int(len(content) * share)])
    return short


def said(work) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work()
    return [str(one.message) for one in caught]


def all_blocks(path) -> None:
    with blocks_of(path) as (_, _, blocks):
        for _ in blocks:
            pass


READERS = {
    "whole": read_channels,
    "in blocks": all_blocks,
    "from memory": lambda path: read_channels(io.BytesIO(path.read_bytes()), str(path)),
    "as a voice": lambda path: read_reference(path, 1.0, LONGEST_REFERENCE),
}


@pytest.mark.parametrize("share", [0.97, 0.5])
@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("container", FORMATS)
def test_a_truncated_recording_is_reported_once(tmp_path, container, read, share):
    path = cut(recording(tmp_path / "a", container, 4.0), share)
    try:
        notes = said(lambda: READERS[read](path))
    except AudioError:
        if container != "CAF":  # which libsndfile refuses, and ffmpeg is missing or not used
            raise
        return
    # ffmpeg, which reads it then, may have met damage as well.
    assert [SHORT in note for note in notes].count(True) == 1
    assert len(notes) == 1 or container == "CAF"
    assert all(str(path) in note and "\n" not in note for note in notes)


@pytest.mark.parametrize("seconds", [1.1, 1.10004])
@pytest.mark.parametrize("container", FORMATS)
def test_whole_recordings_give_no_warning(tmp_path, container, seconds):
    path = recording(tmp_path / "a", container, seconds)
    assert not [note for read in READERS.values() for note in said(lambda read=read: read(path))]


def test_no_warning_where_the_used_part_is_whole(tmp_path):
    path = cut(recording(tmp_path / "a", "WAV"), 0.9)
    assert not said(lambda: read_channels(path, seconds=1.0))


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFFF - 36])
def test_placeholder_sizes_of_recorders_are_ignored(tmp_path, size):
    path = recording(tmp_path / "a.wav", "WAV")
    content = bytearray(path.read_bytes())
    assert content[36:40] == b"data"
    content[40:44] = struct.pack("<I", size)
    path.write_bytes(content)
    assert not said(lambda: read_channels(path))


def test_chunks_after_the_sound_and_before_it_are_passed_over(tmp_path):
    path = recording(tmp_path / "a.wav", "WAV", 0.5)
    content = path.read_bytes()
    odd = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"
    path.write_bytes(content[:36] + odd + content[36:] + odd)
    assert not said(lambda: read_channels(path))
    path.write_bytes(content[:36] + odd + content[36:-1000])
    assert [SHORT in note for note in said(lambda: read_channels(path))] == [True]


@pytest.mark.skipif(ffmpeg_program() is None, reason="needs ffmpeg")
@pytest.mark.parametrize(
    "ending", ["mp3", "ogg", "opus", "wav", "flac", "aiff", "au", "caf", "w64"]
)
def test_files_of_other_encoders_give_no_warning(tmp_path, ending):
    source = recording(tmp_path / "a.wav", "WAV", 3.3)
    path = tmp_path / f"b.{ending}"
    command = [ffmpeg_program(), "-loglevel", "error", "-i", str(source), str(path)]
    if ending == "ogg":
        command[-1:-1] = ["-ac", "2", "-c:a", "vorbis", "-strict", "-2"]
    subprocess.run(command, check=True)
    assert not said(lambda: read_channels(path))
    # Into a pipe too, where it cannot seek back to write a length.
    if ending in ("wav", "mp3", "au", "flac"):
        kind = ["-f", ending, "pipe:1"]
        done = subprocess.run([*command[:-1], *kind], check=True, capture_output=True)
        path.write_bytes(done.stdout)
        assert not said(lambda: read_channels(path))


def test_every_command_reports_truncation(tmp_path, capsys):
    path = cut(recording(tmp_path / "a.wav", "WAV", 4.0), 0.7)
    few = ["--seed", "1", "--cfm-steps", "1", "--no-watermark"]
    spoken, converted = str(tmp_path / "b.wav"), str(tmp_path / "c.wav")
    assert generate(["--text", "Yes.", "--voice", str(path), "--output", spoken, *few]) == 0
    assert capsys.readouterr().err.count(SHORT) == 1
    assert convert(["--input", str(path), "--voice", str(path), "--output", converted, *few]) == 0
    assert capsys.readouterr().err.count(SHORT) >= 1
    assert watermark(["detect", str(path)]) == 1
    assert capsys.readouterr().err.count(SHORT) == 1
