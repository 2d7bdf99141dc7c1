"""The watermark, with its real weights: found in marked audio and in no other."""

import importlib.metadata
import io
import re
import sys

import mlx.core as mx
import numpy as np
import pytest
import soundfile

from mlx_chatterbox import ChatterboxTTS, ChatterboxVC, watermark
from mlx_chatterbox.audio.files import load_audio, read_channels, save_audio
from mlx_chatterbox.audio.resample import resample_soxr
from mlx_chatterbox.errors import AudioError, CheckpointError
from mlx_chatterbox.generate import main as generate
from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice
from mlx_chatterbox.vc import main as convert_voice
from mlx_chatterbox.watermark import spectrogram, weights
from mlx_chatterbox.watermark.__main__ import main

SR = 24000
SHORT = {"max_new_tokens": 12, "n_cfm_timesteps": 2}


@pytest.fixture(scope="module")
def speech():
    return synthetic_voice(4.0, seed=5)


@pytest.fixture(scope="module")
def marked(speech):
    return watermark.apply(speech, SR)


def mp3(waveform, kbit_per_second):
    """Audio after encoding to MP3 at a constant bit rate."""
    for level in np.linspace(0, 1, 41):
        file = io.BytesIO()
        with soundfile.SoundFile(
            file, "w", SR, 1, format="MP3", bitrate_mode="CONSTANT", compression_level=level
        ) as encoder:
            encoder.write(waveform)
        if len(file.getvalue()) * 8 / len(waveform) * SR / 1000 < kbit_per_second * 1.05:
            file.seek(0)
            return soundfile.read(file, dtype="float32")[0]
    raise AssertionError("no such bit rate")


@pytest.mark.numbers
def test_the_mark_is_inaudible_and_found(speech, marked):
    assert marked.shape == speech.shape
    assert marked.dtype == np.float32
    assert not np.array_equal(marked, speech)
    # Below 2 kHz the spectrum changes by a decibel or two; nothing else does.
    change = marked - speech
    assert np.sqrt(np.mean(change**2)) < 0.25 * np.sqrt(np.mean(speech**2))
    power = np.abs(np.fft.rfft(change * np.hanning(len(change)))) ** 2
    frequency = np.fft.rfftfreq(len(change), 1 / SR)
    # Near 12 kHz the resampling to 32 kHz and back takes something away, as upstream's does.
    above = (frequency > 2100) & (frequency < 10000)
    assert power[above].sum() < 1e-4 * power.sum()
    assert watermark.detect(marked, SR) > 0.95
    assert watermark.detect(speech, SR) < 0.05


@pytest.mark.numbers
@pytest.mark.parametrize(
    "damage",
    [
        lambda x: (mp3(x, 64), SR),
        lambda x: (resample_soxr(x, SR, 16000), 16000),
        lambda x: (resample_soxr(x, SR, 44100), 44100),
        lambda x: (x * 10 ** (-12 / 20), SR),
        lambda x: (x[round(0.7 * SR) :], SR),
        lambda x: (np.round(x * 32767) / 32767, SR),
    ],
    ids=["mp3 64 kbit/s", "16 kHz", "44.1 kHz", "-12 dB", "first 0.7 s cut", "16 bits"],
)
def test_the_mark_survives_editing(marked, damage):
    assert watermark.detect(*damage(marked)) >= watermark.THRESHOLD


@pytest.mark.numbers
def test_fifty_unmarked_recordings():
    rng = np.random.default_rng(2)
    scores = []
    for seed in range(50):
        recording = synthetic_voice(1.5, seed=100 + seed)
        noise = rng.standard_normal(len(recording)).astype(np.float32)
        level = 10 ** -rng.uniform(1.5, 3.5)
        scores.append(watermark.detect(recording + level * noise, SR))
    assert max(scores) < watermark.THRESHOLD, sorted(scores)[-3:]


@pytest.mark.numbers
@pytest.mark.parametrize("chunk", [700, 24000, 31 * 997])
@pytest.mark.parametrize("rate", [24000, 32000, 44100])
def test_a_stream_is_marked_as_the_whole(speech, chunk, rate):
    speech = speech[: rate * 2 + 123]
    marker = watermark.Marker(rate)
    parts = [marker.push(speech[i : i + chunk]) for i in range(0, len(speech), chunk)]
    late = len(speech) - sum(map(len, parts))
    parts.append(marker.finish())
    whole = watermark.apply(speech, rate)
    assert np.concatenate(parts).shape == speech.shape
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=2e-6)
    assert late < 0.3 * rate


@pytest.mark.numbers
def test_a_stream_of_other_pieces_is_found(marked, speech):
    marker = watermark.Marker(SR)
    parts = [marker.push(speech[i : i + 9600]) for i in range(0, len(speech), 9600)]
    assert watermark.detect(np.concatenate([*parts, marker.finish()]), SR) > 0.95


@pytest.mark.parametrize("samples", [1, 100, 777, 1500, 7200, 7201, 7439])
def test_every_length_is_kept(speech, samples):
    clip = speech[20000 : 20000 + samples]
    out = watermark.apply(clip, SR)
    assert out.shape == clip.shape
    assert np.isfinite(out).all()


@pytest.mark.numbers
def test_short_clips(speech):
    clip = watermark.apply(speech[8000:15200], SR)  # 0.3 s
    assert watermark.detect(clip, SR) > 0.5
    with pytest.raises(AudioError, match=r"lasts 0.05 s; at least 0.1 s"):
        watermark.detect(clip[:1200], SR)
    assert 0 <= watermark.detect(clip[:2400], SR) <= 1


def test_silence_is_unmarked_and_stays_silent():
    silence = np.zeros(SR, np.float32)
    assert np.abs(watermark.apply(silence, SR)).max() < 1e-9
    assert watermark.detect(silence, SR) == 0.0
    assert watermark.Marker(SR).finish().shape == (0,)


@pytest.mark.numbers
def test_silence_between_speech_is_left_alone(speech):
    gap = speech.copy()
    gap[40000:60000] = 0.0
    marked = watermark.apply(gap, SR)
    # Beyond a window of 2048 at 32 kHz and the resampling filter there is nothing.
    assert np.abs(marked[42500:57500]).max() < 1e-7
    assert watermark.detect(marked, SR) > 0.95


@pytest.mark.numbers
def test_stereo(speech, marked):
    both = np.stack([speech, marked], axis=1)
    out = watermark.apply(both, SR)
    np.testing.assert_array_equal(out[:, 0], marked)
    assert out.shape == both.shape
    assert watermark.detect(both, SR) > 0.95  # one channel is enough
    assert watermark.detect(both[:, :1], SR) < 0.05


@pytest.mark.parametrize("function", [watermark.apply, watermark.detect])
@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.array([0.1, np.nan], np.float32), "NaN"),
        (np.array([0.1, np.inf], np.float32), "infinite"),
        (np.zeros(0, np.float32), "no samples"),
        (np.zeros((2, 500), np.float32), r"give \(samples, channels\)"),
        (np.zeros((2, 2, 2), np.float32), "neither"),
        (np.zeros(500, np.int16), "int16"),
    ],
)
def test_invalid_audio_is_refused(function, samples, message):
    with pytest.raises(AudioError, match=message):
        function(samples, SR)
    with pytest.raises(AudioError, match="sample rate"):
        function(np.ones(5000, np.float32), 0)


def test_a_stream_refuses_invalid_audio():
    marker = watermark.Marker(SR)
    with pytest.raises(AudioError, match="finite"):
        marker.push(np.array([np.nan], np.float32))
    with pytest.raises(AudioError, match="shape"):
        marker.push(np.zeros((10, 2), np.float32))


def test_memory_does_not_grow_with_length(speech):
    def peak(seconds):
        clip = np.resize(speech, seconds * SR)
        mx.clear_cache()
        mx.reset_peak_memory()
        watermark.apply(clip, SR)
        return mx.get_peak_memory()

    peak(12)
    assert peak(48) < 1.05 * peak(12)


def test_settings_are_those_of_the_package():
    """The numbers in the code are the ones that the weights were trained with."""
    text = (weights.weights_file().parent / "hparams.yaml").read_text()
    stored = dict(re.findall(r"^(\w+): (.+)$", text, re.MULTILINE))
    assert int(stored["sample_rate"]) == spectrogram.SAMPLE_RATE
    assert int(stored["n_fft"]) == int(stored["window_size"]) == spectrogram.N_FFT
    assert int(stored["hop_size"]) == spectrogram.HOP
    assert float(stored["stft_magnitude_min"]) == spectrogram.MIN_MAGNITUDE
    assert stored["window_fn"] == "hann"
    assert float(stored["max_wmark_freq"]) == 2000


def test_the_package_is_never_run(monkeypatch):
    # Another test may have imported it, or loaded the weights.
    monkeypatch.delitem(sys.modules, "perth", raising=False)
    weights.load_networks.cache_clear()
    weights.load_networks()
    assert "perth" not in sys.modules


@pytest.fixture
def no_package(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    weights.load_networks.cache_clear()
    yield
    weights.load_networks.cache_clear()


def test_without_the_package(no_package, speech, small_checkpoint, recording):
    tts = ChatterboxTTS.from_local(small_checkpoint)
    vc = ChatterboxVC.from_local(small_checkpoint)
    vc.set_target_voice(recording)
    for attempt in (
        lambda: watermark.apply(speech, SR),
        lambda: watermark.detect(speech, SR),
        lambda: tts.generate("Hello.", audio_prompt_path=recording, **SHORT),
        lambda: vc.generate(recording, n_cfm_timesteps=1),
        lambda: vc.stream(recording, n_cfm_timesteps=1),
    ):
        with pytest.raises(CheckpointError, match="pip install 'resemble-perth"):
            attempt()
    assert tts.conds is None  # reported before any work was done
    assert tts.generate("Hello.", audio_prompt_path=recording, watermark=False, **SHORT).size


@pytest.mark.parametrize(
    ("content", "message"),
    [({"step": 1}, "holds no model"), ({"model": {"encoder.x": np.zeros(1)}}, "other weights")],
)
def test_a_file_of_other_weights_is_refused(monkeypatch, content, message):
    monkeypatch.setattr("mlx_chatterbox.weights.formats.unpickle.load_torch", lambda path: content)
    weights.load_networks.cache_clear()
    with pytest.raises(CheckpointError, match=message):
        weights.load_networks()


@pytest.mark.parametrize("variant", ["english", "turbo"])
def test_speech_is_marked_by_default(small_models, recording, variant):
    from mlx_chatterbox.api.tts import open_model

    tts = open_model(small_models(variant))
    tts.conds = tts.voice_of(np.tile(recording, 2))
    plain = tts.generate("Hello there.", seed=1, watermark=False, **SHORT)
    marked = tts.generate("Hello there.", seed=1, **SHORT)
    np.testing.assert_array_equal(marked, watermark.apply(plain, tts.sr))
    assert not np.array_equal(marked, plain)
    # A checkpoint may state that its speech needs no mark.
    tts.defaults.watermark = False
    np.testing.assert_array_equal(tts.generate("Hello there.", seed=1, **SHORT), plain)
    np.testing.assert_array_equal(
        tts.generate("Hello there.", seed=1, watermark=True, **SHORT), marked
    )


def test_converted_voices_are_marked(small_checkpoint, recording):
    vc = ChatterboxVC.from_local(small_checkpoint)
    vc.set_target_voice(recording)
    settings = {"seed": 1, "n_cfm_timesteps": 1}
    plain = vc.generate(recording, watermark=False, **settings)
    marked = vc.generate(recording, **settings)
    np.testing.assert_array_equal(marked, watermark.apply(plain, vc.sr))
    streamed = np.concatenate(list(vc.stream(recording, **settings)))
    np.testing.assert_allclose(streamed, marked, atol=1e-5)
    unmarked = np.concatenate(list(vc.stream(recording, watermark=False, **settings)))
    np.testing.assert_array_equal(unmarked, plain)


def test_command_lines_mark_unless_switched_off(tmp_path, small_checkpoint, recording_file):
    common = ["--model", str(small_checkpoint), "--voice", str(recording_file), "--seed", "1"]
    speak = ["--text", "Hi there.", "--max-new-tokens", "12", "--cfm-steps", "1"]
    change = ["--input", str(recording_file), "--cfm-steps", "1"]
    for name, command, arguments in (("t", generate, speak), ("v", convert_voice, change)):
        plain, marked = tmp_path / f"{name}0.wav", tmp_path / f"{name}1.wav"
        assert command([*common, *arguments, "--no-watermark", "--output", str(plain)]) == 0
        assert command([*common, *arguments, "--output", str(marked)]) == 0
        expected = np.clip(watermark.apply(load_audio(plain, SR), SR), -1, 1)
        np.testing.assert_allclose(load_audio(marked, SR), expected, atol=2e-4)


def test_command_line(tmp_path, speech, capsys):
    plain, marked = tmp_path / "plain.wav", tmp_path / "marked.flac"
    stereo = np.stack([speech, 0.5 * speech], axis=1)
    soundfile.write(plain, stereo, SR)
    assert main(["apply", str(plain), str(marked)]) == 0
    assert capsys.readouterr().out == f"{marked}: 4.00 s, marked\n"
    samples, rate = read_channels(marked)
    assert rate == SR
    assert samples.shape == stereo.shape

    assert main(["detect", str(marked)]) == 0
    score, verdict, name = capsys.readouterr().out.split()
    assert float(score) > 0.95
    assert (verdict, name) == ("yes", str(marked))

    noise, short = tmp_path / "no.wav", tmp_path / "short.wav"
    noise.write_text("no audio")
    save_audio(short, speech[:500], SR)
    assert main(["detect", str(noise), str(short), str(plain), str(marked)]) == 1
    out, err = capsys.readouterr()
    assert [line.split()[1] for line in out.splitlines()] == ["no", "yes"]
    assert f"error: {noise} cannot be read" in err
    assert f"error: {short}: the audio lasts" in err

    assert main(["apply", str(noise), str(marked)]) == 1
    assert main(["apply", str(plain), str(tmp_path / "x.xyz")]) == 1
    assert "names no known audio format" in capsys.readouterr().err
