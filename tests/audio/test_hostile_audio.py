"""Recordings with false headers, and others longer than any use of them."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import tracemalloc

import numpy as np
import pytest
import soundfile

from mlx_chatterbox.audio import blocks, files, kinds
from mlx_chatterbox.audio.blocks import TooLongError
from mlx_chatterbox.audio.files import blocks_of, load_audio, read_channels
from mlx_chatterbox.errors import AudioError
from mlx_chatterbox.voices.voice import LONGEST_REFERENCE, read_reference
from mlx_chatterbox.watermark.__main__ import main as watermark

RATE = 24000
MEGABYTE = 2**20


@pytest.fixture
def noise(rng) -> np.ndarray:
    return (0.1 * rng.standard_normal(2 * RATE)).astype(np.float32)


def lying_flac(path, samples: np.ndarray, count: int = 2**36 - 1):
    """A FLAC file that says it has `count` samples (36 bits in STREAMINFO)."""
    soundfile.write(path, samples, RATE, format="FLAC", subtype="PCM_16")
    content = bytearray(path.read_bytes())
    assert content[:4] == b"fLaC"
    content[21] = content[21] & 0xF0 | count >> 32
    content[22:26] = struct.pack(">I", count & 0xFFFFFFFF)
    path.write_bytes(content)
    return path


def wav_of_rate(path, rate: int, count: int = 60_000):
    data = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate & 0xFFFFFFFF, 2, 16)
    sound = b"data" + struct.pack("<I", 2 * count) + b"\x10\x20" * count
    body = b"WAVE" + data + sound
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def sparse_wav(path, seconds: int):
    """Hours of zeros that take no room on the disk, after a second of sound."""
    wav_of_rate(path, RATE, RATE)
    with path.open("r+b") as file:
        size = 44 + 2 * seconds * RATE
        file.truncate(size)
        file.seek(4)
        file.write(struct.pack("<I", size - 8))
        file.seek(40)
        file.write(struct.pack("<I", size - 44))
    return path


def peak(function) -> int:
    """Peak bytes of Python and NumPy; refused reads count, too."""
    tracemalloc.start()
    try:
        function()
    except AudioError:
        pass
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return most


@pytest.mark.filterwarnings("ignore:.*cut short")
@pytest.mark.parametrize("count", [2**36 - 1, 2**35, 10**6])
def test_a_flac_file_is_as_long_as_its_frames(tmp_path, noise, count):
    path = lying_flac(tmp_path / "a.flac", noise, count)
    with pytest.warns(UserWarning, match="cut short, or its header is wrong"):
        samples, rate = read_channels(path)
    assert rate == RATE
    np.testing.assert_allclose(samples[:, 0], noise, atol=2**-14)
    assert len(load_audio(path, RATE, 1.0)) == len(noise)
    with blocks_of(path) as (_, _, parts):
        assert sum(map(len, parts)) == len(noise)
    assert peak(lambda: read_channels(path)) < 64 * MEGABYTE


def test_every_command_takes_a_flac_file_that_lies(tmp_path, noise, capsys):
    path = lying_flac(tmp_path / "a.flac", noise)
    assert len(read_reference(path, 1.0)) == len(noise)
    pytest.importorskip("perth")
    assert watermark(["detect", str(path)]) == 1
    assert watermark(["apply", str(path), str(tmp_path / "b.wav")]) == 0
    assert soundfile.info(tmp_path / "b.wav").frames == len(noise)
    assert capsys.readouterr().err.count("cut short, or its header is wrong") == 2


@pytest.mark.parametrize("rate", [1, 8, 999, 384_001, 2_000_000, 2**31 - 1])
def test_invalid_sample_rates_are_refused(tmp_path, rate):
    path = wav_of_rate(tmp_path / "a.wav", rate)
    for read in (read_channels, lambda path: load_audio(path, RATE), lambda p: open_blocks(p)):
        with pytest.raises(AudioError, match=r"sample rate|cannot be read") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def open_blocks(path) -> None:
    with blocks_of(path):
        pass


@pytest.mark.parametrize("rate", [1000, 8000, 192_000, 384_000])
def test_valid_sample_rates_are_read(tmp_path, rate):
    assert read_channels(wav_of_rate(tmp_path / "a.wav", rate, 4000))[1] == rate


@pytest.mark.skipif(os.name == "nt", reason="sparse files")
def test_a_voice_needs_no_more_than_its_beginning(tmp_path):
    path = sparse_wav(tmp_path / "a.wav", 10 * 3600)
    most = int(LONGEST_REFERENCE)
    assert peak(lambda: read_reference(path, 1.0, most)) < 200 * MEGABYTE
    assert len(read_reference(path, 1.0, 12)) < 15 * RATE


@pytest.mark.skipif(os.name == "nt", reason="sparse files")
def test_what_is_too_long_to_be_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "MAX_SECONDS", 60)
    path = sparse_wav(tmp_path / "a.wav", 100)
    with pytest.raises(TooLongError, match="too long to be read at once") as caught:
        read_channels(path)
    assert caught.value.seconds == 60
    assert len(read_channels(path, seconds=60)[0]) == 60 * RATE
    monkeypatch.setattr(blocks, "MAX_SAMPLES", 2 * RATE)
    with pytest.raises(TooLongError):
        read_channels(path)
    assert peak(lambda: read_channels(path)) < 32 * MEGABYTE


def test_the_mark_is_looked_for_in_the_beginning(tmp_path, monkeypatch, capsys, noise):
    pytest.importorskip("perth")
    monkeypatch.setattr(blocks, "MAX_SECONDS", 1)
    soundfile.write(tmp_path / "a.wav", noise, RATE)
    assert watermark(["detect", str(tmp_path / "a.wav")]) == 1
    shown = capsys.readouterr()
    assert "only its first 0.0 hours are checked" in shown.err
    assert shown.out.startswith("0.")


def test_blocks_together_are_the_whole(tmp_path, noise, monkeypatch):
    """Many small blocks, two channels."""
    stereo = np.stack([noise, -0.5 * noise], axis=1)
    for name, subtype in (("a.wav", "FLOAT"), ("a.flac", "PCM_16"), ("a.ogg", "VORBIS")):
        soundfile.write(tmp_path / name, stereo, RATE, subtype=subtype)
        whole, _ = soundfile.read(tmp_path / name, dtype="float32")
        for size in (2**20, 2000, 998):
            monkeypatch.setattr(blocks, "_BLOCK_SAMPLES", size)
            samples, _ = read_channels(tmp_path / name)
            np.testing.assert_array_equal(samples, whole)
            assert samples.flags.writeable


def test_a_file_that_cannot_seek(tmp_path, noise):
    """GSM 6.10: libsndfile does not know its position in the file."""
    soundfile.write(tmp_path / "a.wav", noise[:8000], 8000, subtype="GSM610")
    assert len(read_channels(tmp_path / "a.wav")[0]) >= 8000


def test_memory_that_is_not_there(tmp_path, noise, monkeypatch):
    soundfile.write(tmp_path / "a.wav", noise, RATE)

    def none(*_):
        raise MemoryError("Unable to allocate 256. GiB")

    for name in ("collected", "resample_soxr"):
        with monkeypatch.context() as patch:
            patch.setattr(files, name, none)
            with pytest.raises(AudioError, match="not enough memory"):
                load_audio(tmp_path / "a.wav", 16000)


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="the shell's pipes have no paths here")
def test_a_pipe_without_end(monkeypatch):
    monkeypatch.setattr(files, "MAX_PIPED_BYTES", 4 * MEGABYTE)
    end, begin = os.pipe()

    def fill() -> None:
        with contextlib.suppress(BrokenPipeError), open(begin, "wb", buffering=0) as file:
            while True:
                file.write(b"\0" * MEGABYTE)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    with pytest.raises(AudioError, match="save it as a file"):
        read_channels(f"/dev/fd/{end}")
    os.close(end)
    thread.join(10)
    assert not thread.is_alive()


def test_tags_and_boxes_without_end(tmp_path):
    """Each ends where the next begins."""
    for content in (b"ID3\x04\0\0\0\0\0\0" * 200_000, (b"\0\0\0\x08free") * 200_000):
        path = tmp_path / "a.bin"
        path.write_bytes(content)
        with path.open("rb") as file:
            reads = 0

            class Counted:
                seek, tell = file.seek, file.tell

                @staticmethod
                def read(count):
                    nonlocal reads
                    reads += 1
                    return file.read(count)

            kinds.kind_of_content(Counted)
            assert reads < 20_000
