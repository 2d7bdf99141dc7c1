"""References damaged by a codec: pocket speaks in them as loudly as in clean ones."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest

from mlx_chatterbox import ChatterboxTTS, ChatterboxVC
from mlx_chatterbox.audio.files import load_audio
from mlx_chatterbox.longform.level import loudness_of
from mlx_chatterbox.vc import main as vc_main

DOCS = Path(__file__).parents[2] / "docs"
TEXT = "The boat came slowly into the harbour."
SETTINGS = {"seed": 1, "watermark": False}


@pytest.fixture(scope="module")
def tts() -> ChatterboxTTS:
    return ChatterboxTTS.from_pretrained("pocket")


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """A recording from docs/ after a codec, or low-passed."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    folder = tmp_path_factory.mktemp("encoded")

    def encode(name: str, how: str) -> Path:
        path = folder / f"{name}-{how}.{'wav' if how.endswith('Hz') else 'mp3'}"
        if not path.exists():
            more = ["-b:a", how] if path.suffix == ".mp3" else ["-ar", how.removesuffix("Hz")]
            words = [ffmpeg, "-loglevel", "error", "-i", DOCS / f"pocket-{name}.wav", *more, path]
            subprocess.run([str(word) for word in words], check=True)
        return path

    return encode


def loudness(tts, voice) -> float:
    return loudness_of(tts.generate(TEXT, voice=voice, **SETTINGS), tts.sr)


def likeness(one, other) -> float:
    one, other = (np.array(voice.embedding, dtype=np.float64).ravel() for voice in (one, other))
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("name", ["rms", "slt"])
@pytest.mark.parametrize("how", ["24k", "32k", "64k", "8000Hz", "16000Hz"])
def test_a_compressed_voice_is_as_loud_as_the_clean_one(tts, encoded, name, how):
    clean = tts.voice_of(DOCS / f"pocket-{name}.wav")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        voice = tts.voice_of(encoded(name, how))
    assert loudness(tts, voice) == pytest.approx(loudness(tts, clean), abs=3.0)
    # MP3 at 32 kbit/s keeps slt's loudness: that one is not repaired.
    assert likeness(voice, clean) > 0.6


@pytest.mark.parametrize("name", ["rms", "slt"])
def test_the_repair_is_reported(tts, encoded, name):
    with pytest.warns(UserWarning, match=rf"{name}-24k\.mp3 lacks parts of its spectrum"):
        tts.voice_of(encoded(name, "24k"))
    with pytest.warns(UserWarning, match="the reference lacks parts"):
        tts.voice_of(load_audio(encoded(name, "24k"), tts.sr))


@pytest.mark.parametrize("name", ["rms", "slt"])
@pytest.mark.parametrize("how", [None, "64k", "16000Hz"])
def test_a_good_recording_is_unchanged_without_a_warning(tts, encoded, name, how, monkeypatch):
    path = DOCS / f"pocket-{name}.wav" if how is None else encoded(name, how)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        voice = tts.voice_of(path)
    monkeypatch.setattr(
        "mlx_chatterbox.voices.voice.mend", lambda networks, reference, *more: reference
    )
    without = tts.voice_of(path)
    for name in ("speaker_embedding", "embedding", "prompt_feat", "prompt_token"):
        np.testing.assert_array_equal(getattr(voice, name), getattr(without, name))


def test_a_quiet_or_loud_recording_or_a_silent_beginning_is_not_a_fault(tts):
    waveform = load_audio(DOCS / "pocket-rms.wav", tts.sr)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for gain in (0.01, 0.1, 2.0):
            tts.voice_of(waveform * gain)
        tts.voice_of(np.concatenate([np.zeros(4 * tts.sr, np.float32), waveform]))


def test_a_voice_that_stays_quiet_is_reported(tts, encoded, monkeypatch):
    monkeypatch.setattr("mlx_chatterbox.voices.compressed._MENDED", 99.0)
    with pytest.warns(UserWarning, match=r"speaks some \d+ dB more quietly in this voice"):
        tts.voice_of(encoded("slt", "24k"))


def test_models_whose_flow_starts_from_noise_stay_as_they_are(
    small_checkpoint, recording, monkeypatch
):
    """Models like upstream's: output depends on chance, and their encoder was trained on more."""
    monkeypatch.setattr("mlx_chatterbox.voices.compressed._level", None)
    ChatterboxTTS.from_pretrained(small_checkpoint).voice_of(recording)


def test_voice_conversion_too(tts, encoded, tmp_path, capsys):
    vc = ChatterboxVC(tts.checkpoint)
    talk = load_audio(DOCS / "pocket-slt.wav", tts.sr)
    clean = vc.generate(talk, DOCS / "pocket-rms.wav", **SETTINGS)
    with pytest.warns(UserWarning, match="strong compression"):
        found = vc.generate(talk, encoded("rms", "24k"), **SETTINGS)
    assert loudness_of(found, vc.sr) == pytest.approx(loudness_of(clean, vc.sr), abs=3.0)
    words = ["--model", "pocket", "--input", DOCS / "pocket-slt.wav"]
    words += ["--voice", encoded("rms", "24k"), "--output", tmp_path / "a.wav"]
    assert vc_main([str(word) for word in words]) == 0
    assert "note: the reference" in capsys.readouterr().err
