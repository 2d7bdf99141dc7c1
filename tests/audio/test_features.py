"""The networks' input features equal an independent float64 computation, librosa and torch.

Bound: relative RMS 1e-5. float32 gives 1e-7 for powers; logarithms of nearly silent bins cost up
to two digits of that.
"""

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.audio import mel
from mlx_chatterbox.audio.kaldi import fbank
from mlx_chatterbox.audio.mel import (
    mel_filters,
    s3_tokenizer_log_mel,
    s3gen_mel,
    voice_encoder_mel,
)
from mlx_chatterbox.audio.silence import trim_silence
from mlx_chatterbox.audio.stft import raised_cosine
from mlx_chatterbox.errors import AudioError
from mlx_chatterbox.parity.numpy import backend as numpy_reference

pytestmark = pytest.mark.numbers

BOUND = 1e-5
FILTER_SETTINGS = [(16_000, 400, 128, 0.0, None), (24_000, 1920, 80, 0.0, 8000.0)]
FILTER_SETTINGS += [(16_000, 400, 40, 0.0, 8000.0), (22_050, 1024, 64, 50.0, 7600.0)]


def voiced(rate, seconds=3.0):
    """Speech-like: a gliding pitch with falling harmonics, syllables, breath, quiet ends."""
    t = np.arange(int(rate * seconds)) / rate
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.7 * t)) / rate
    harmonics = sum(np.sin(k * phase) / k**1.2 for k in range(1, 30))
    syllables = np.clip(np.sin(2 * np.pi * 3 * t), 0, None) * (t > 0.4) * (t < seconds - 0.5)
    breath = np.random.default_rng(0).normal(size=len(t))
    return (0.1 * harmonics * syllables + 2e-3 * breath).astype(np.float32)


def relative_rms(got, expected):
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    return np.sqrt(np.mean((got - expected) ** 2) / np.mean(expected**2))


X16, X24 = voiced(16_000), voiced(24_000)


def test_every_feature_equals_the_numpy_reference():
    expected = numpy_reference.compute({"audio/ref_16k": X16, "audio/ref_24k": X24})
    trimmed, features = trim_silence(X16), np.array(fbank(mx.array(X16)))
    assert np.array_equal(trimmed, expected["voice_encoder/trimmed"])
    got = {
        "voice_encoder/mel": voice_encoder_mel(mx.array(trimmed)),
        "s3_tokenizer/log_mel": s3_tokenizer_log_mel(mx.array(X16)),
        "s3gen/ref_mel": s3gen_mel(mx.array(X24)),
        "speaker_encoder/fbank": features - features.mean(axis=0),
    }
    for name, value in got.items():
        assert relative_rms(value, expected[name]) < BOUND, name


@pytest.mark.parametrize("n", [16_000, 15_999, 16_159, 16_160])
def test_frame_counts(n):
    assert s3_tokenizer_log_mel(mx.array(X16[:n])).shape == (128, n // 160)
    assert voice_encoder_mel(mx.array(X16[:n])).shape == (1 + n // 160, 40)
    assert s3gen_mel(mx.array(X24[:n])).shape == (n // 480, 80)


def test_s3gen_mel_takes_batches():
    batch = mx.array(np.stack([X24, X24[::-1]]))
    got = s3gen_mel(batch)
    for row, expected in zip(got, (s3gen_mel(batch[0]), s3gen_mel(batch[1])), strict=True):
        assert np.allclose(row, expected, atol=1e-5)


def test_a_symmetric_window_would_be_noticed(monkeypatch):
    expected = numpy_reference.compute({"audio/ref_16k": X16})["s3_tokenizer/log_mel"]
    symmetric = lambda n: mx.array(raised_cosine(n, n - 1).astype(np.float32))  # noqa: E731
    monkeypatch.setattr(mel, "hann_window", symmetric)
    assert relative_rms(s3_tokenizer_log_mel(mx.array(X16)), expected) > 1e-4


def test_silence_gives_finite_features():
    silence = mx.zeros((16_000,))
    for features in (s3_tokenizer_log_mel, s3gen_mel, voice_encoder_mel, fbank):
        assert np.isfinite(np.array(features(silence))).all()


@pytest.mark.parametrize("features", [s3_tokenizer_log_mel, s3gen_mel, voice_encoder_mel])
def test_no_samples_is_an_error(features):
    with pytest.raises(AudioError, match="no samples"):
        features(mx.zeros((0,)))


@pytest.mark.parametrize("settings", FILTER_SETTINGS)
def test_mel_filters_equal_the_numpy_reference(settings):
    rate, n_fft, n_mels, fmin, fmax = settings
    expected = numpy_reference.slaney_mel_filters(rate, n_fft, n_mels, fmin, fmax or rate / 2)
    assert mel_filters(*settings).dtype == np.float32
    assert np.abs(mel_filters(*settings) - expected).max() < 1e-6 * expected.max()


def test_mel_filters_have_unit_area_and_rising_peaks():
    filters = mel_filters(24_000, 1 << 15, 80, 0.0, 8000.0)
    assert (filters >= 0).all()
    assert np.allclose(filters.sum(axis=1) * 24_000 / (1 << 15), 1.0, atol=1e-3)
    assert (np.diff(filters.argmax(axis=1)) > 0).all()
    assert filters[:, np.fft.rfftfreq(1 << 15, 1 / 24_000) > 8000].max() == 0


@pytest.mark.parametrize(
    ("n", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16_000, 98)]
)
def test_fbank_frames_must_fit(n, frames):
    assert fbank(mx.array(X16[:n])).shape == (frames, 80)


def test_fbank_ignores_a_constant_offset():
    shifted = fbank(mx.array(X16 + np.float32(0.25)))
    assert relative_rms(shifted, fbank(mx.array(X16))) < 1e-3


@pytest.mark.parametrize("n", [1, 511, 512, 2048, 30_000])
def test_uniform_recordings_are_not_trimmed(n):
    assert len(trim_silence(np.ones(n, np.float32))) == n
    assert len(trim_silence(np.zeros(n, np.float32))) == n


def test_trimming_keeps_a_burst_and_its_surroundings():
    x = np.zeros(40_000, np.float32)
    x[20_000:24_000] = 0.5
    trimmed = trim_silence(x)
    assert np.count_nonzero(trimmed) == 4000
    assert 4000 < len(trimmed) < 4000 + 2 * 2048
    assert len(trim_silence(x[:0])) == 0


def test_a_lower_threshold_keeps_more():
    lengths = [len(trim_silence(X16, top_db=top_db)) for top_db in (10.0, 20.0, 40.0, 60.0)]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1] == len(X16)


@pytest.mark.reference
@pytest.mark.parametrize("settings", FILTER_SETTINGS)
def test_mel_filters_equal_librosa_bit_for_bit(settings):
    import librosa

    rate, n_fft, n_mels, fmin, fmax = settings
    theirs = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
    assert np.array_equal(mel_filters(*settings), theirs)


@pytest.mark.reference
@pytest.mark.parametrize("top_db", [10.0, 20.0, 40.0, 60.0])
@pytest.mark.parametrize("n", [1, 513, 9000, 48_000])
def test_trimming_equals_librosa(top_db, n):
    import librosa

    for x in (X16[:n], np.zeros(n, np.float32), X16[:n] * 1e-4):
        theirs, _ = librosa.effects.trim(x, top_db=top_db)
        assert np.array_equal(trim_silence(x, top_db), theirs)


@pytest.mark.reference
def test_voice_encoder_mel_equals_upstream():
    from mlx_chatterbox.parity.torch.env import prepare

    prepare()
    from chatterbox.models.voice_encoder.config import VoiceEncConfig
    from chatterbox.models.voice_encoder.melspec import melspectrogram

    theirs = melspectrogram(X16, VoiceEncConfig()).T
    assert relative_rms(voice_encoder_mel(mx.array(X16)), theirs) < 1e-6


@pytest.mark.reference
def test_s3gen_mel_equals_upstream():
    from mlx_chatterbox.parity.torch.env import prepare

    prepare()
    from chatterbox.models.s3gen.utils.mel import mel_spectrogram

    theirs = mel_spectrogram(X24)[0].T.numpy()
    assert relative_rms(s3gen_mel(mx.array(X24)), theirs) < BOUND


@pytest.mark.reference
def test_s3_tokenizer_log_mel_equals_upstream():
    from mlx_chatterbox.parity.torch.env import prepare

    prepare()
    import librosa
    import torch
    from chatterbox.models.s3tokenizer.s3tokenizer import S3Tokenizer

    # Only what the method reads: the network itself (0.5 GB) is not needed.
    front_end = S3Tokenizer.__new__(S3Tokenizer)
    torch.nn.Module.__init__(front_end)
    front_end.n_fft = 400
    front_end.register_buffer("window", torch.hann_window(400))
    filters = torch.from_numpy(librosa.filters.mel(sr=16_000, n_fft=400, n_mels=128))
    front_end.register_buffer("_mel_filters", filters)
    front_end.register_parameter("weight", torch.nn.Parameter(torch.zeros(1)))
    theirs = front_end.log_mel_spectrogram(torch.from_numpy(X16)).numpy()
    assert relative_rms(s3_tokenizer_log_mel(mx.array(X16)), theirs) < BOUND


@pytest.mark.reference
def test_fbank_equals_torchaudio():
    from mlx_chatterbox.parity.torch.env import prepare

    prepare()
    import torch
    import torchaudio.compliance.kaldi

    theirs = torchaudio.compliance.kaldi.fbank(torch.from_numpy(X16)[None], num_mel_bins=80)
    assert relative_rms(fbank(mx.array(X16)), theirs.numpy()) < BOUND
