"""Recordings survive the way to a file and back; everything wrong gets one clear line."""

import re

import numpy as np
import pytest
import soundfile

from mlx_chatterbox.audio.files import load_audio, save_audio
from mlx_chatterbox.errors import AudioError

RATE = 24_000


def tone(seconds=0.5, rate=RATE, hz=440.0):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("ending", ["wav", "flac", "WAV", "aiff", "aif"])
def test_a_lossless_round_trip_changes_nothing_but_the_last_bit(tmp_path, ending):
    save_audio(tmp_path / f"x.{ending}", tone(), RATE)
    read = load_audio(tmp_path / f"x.{ending}", RATE)
    assert read.dtype == np.float32
    assert read.shape == tone().shape
    assert np.abs(read - tone()).max() <= 2 / 32768


@pytest.mark.parametrize(
    ("ending", "container", "subtype"),
    [
        ("ogg", "OGG", "VORBIS"),
        ("oga", "OGG", "VORBIS"),
        ("opus", "OGG", "OPUS"),
        ("mp3", "MP3", "MPEG_LAYER_III"),
        ("wav", "WAV", "PCM_16"),
        ("flac", "FLAC", "PCM_16"),
    ],
)
def test_the_ending_names_the_format(tmp_path, ending, container, subtype):
    path = tmp_path / f"x.{ending}"
    save_audio(str(path), tone(), RATE)
    info = soundfile.info(path)
    assert (info.format, info.subtype, info.samplerate) == (container, subtype, RATE)
    # Lossy codecs may add a block of padding; the tone itself must come back.
    read = load_audio(path, RATE)[: len(tone())]
    loudest = np.abs(np.fft.rfft(read)).argmax() * RATE / len(read)
    assert loudest == pytest.approx(440.0, abs=5.0)


def test_long_vorbis_files_are_written_whole(tmp_path):
    long = tone(seconds=20.0)
    save_audio(tmp_path / "x.ogg", long, RATE)
    assert load_audio(tmp_path / "x.ogg", RATE).shape == long.shape


def test_integer_formats_clip_instead_of_wrapping(tmp_path):
    save_audio(tmp_path / "x.wav", np.array([-3.0, -1.0, 0.0, 1.0, 3.0], np.float32), RATE)
    assert np.allclose(load_audio(tmp_path / "x.wav", RATE), [-1, -1, 0, 1, 1], atol=1e-4)


def test_channels_are_averaged(tmp_path):
    left, right = tone(hz=440), tone(hz=990)
    soundfile.write(tmp_path / "x.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    assert np.allclose(load_audio(tmp_path / "x.wav", RATE), (left + right) / 2, atol=1e-7)


def test_the_rate_is_converted_on_reading(tmp_path):
    save_audio(tmp_path / "x.wav", tone(rate=44_100), 44_100)
    read = load_audio(tmp_path / "x.wav", RATE)
    # librosa's rule for the length may add a sample.
    assert 0 <= len(read) - len(tone()) <= 1
    inner = slice(500, 11_500)  # away from the filter's edges
    assert np.abs(read[inner] - tone()[inner]).max() < 1e-3


def test_an_existing_file_is_replaced(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"old")
    save_audio(tmp_path / "x.wav", tone(), RATE)
    assert load_audio(tmp_path / "x.wav", RATE).shape == tone().shape
    assert [p.name for p in tmp_path.iterdir()] == ["x.wav"]


def test_a_failed_write_leaves_everything_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "x.wav").write_bytes(b"old")

    def disk_full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soundfile.SoundFile, "write", disk_full)
    with pytest.raises(AudioError, match="No space left on device"):
        save_audio(tmp_path / "x.wav", tone(), RATE)
    assert [p.name for p in tmp_path.iterdir()] == ["x.wav"]
    assert (tmp_path / "x.wav").read_bytes() == b"old"


def make_unreadable(path):
    path.write_text("this is no audio")


def make_empty_file(path):
    path.write_bytes(b"")


def make_without_samples(path):
    soundfile.write(path, np.zeros(0, np.float32), RATE)


def make_nan(path):
    samples = tone()
    samples[7] = np.nan
    soundfile.write(path, samples, RATE, subtype="FLOAT")


def make_infinite(path):
    samples = tone()
    samples[7] = np.inf
    soundfile.write(path, samples, RATE, subtype="FLOAT")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "There is no file"),
        (lambda path: path.mkdir(), "is a folder"),
        (make_unreadable, "cannot be read as audio"),
        (make_empty_file, "is empty"),
        (make_without_samples, "no samples"),
        (make_nan, "NaN"),
        (make_infinite, "infinite"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, make, message):
    path = tmp_path / "voice.wav"
    make(path)
    with pytest.raises(AudioError, match=message) as caught:
        load_audio(path, RATE)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "waveform", "message"),
    [
        ("x.xyz", tone(), "'.xyz' names no known audio format"),
        ("x", tone(), "missing ending"),
        ("x.raw", tone(), "no known audio format"),
        ("no/x.wav", tone(), "There is no folder"),
        (".", tone(), "ending"),
        ("x.wav", np.zeros(0, np.float32), "shape (0,)"),
        ("x.wav", np.zeros((1, 5), np.float32), "shape (1, 5)"),
        ("x.wav", np.array([0.0, np.nan]), "NaN"),
    ],
)
def test_what_cannot_be_written_leaves_no_file(tmp_path, name, waveform, message):
    with pytest.raises(AudioError, match=re.escape(message)) as caught:
        save_audio(tmp_path / name, waveform, RATE)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_overwritten(tmp_path):
    (tmp_path / "x.wav").mkdir()
    with pytest.raises(AudioError, match="is a folder"):
        save_audio(tmp_path / "x.wav", tone(), RATE)


def test_a_rate_that_the_format_lacks_is_an_error(tmp_path):
    with pytest.raises(AudioError, match="cannot be written"):
        save_audio(tmp_path / "x.opus", tone(), 22_050)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.reference
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("native", [16_000, 22_050, 24_000, 44_100, 48_000])
def test_reading_equals_librosa_bit_for_bit(tmp_path, channels, native):
    import librosa

    samples = np.random.default_rng(0).normal(scale=0.1, size=(native, channels))
    soundfile.write(tmp_path / "x.wav", samples, native)
    for rate in (16_000, 24_000):
        theirs, _ = librosa.load(tmp_path / "x.wav", sr=rate)
        assert np.array_equal(load_audio(tmp_path / "x.wav", rate), theirs)
