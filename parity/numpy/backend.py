"""The stages that plain NumPy and SciPy can compute, as a reference for `parity compare`.

Signal processing and samplers are here; the networks, where their weights are given, in
`encoders` and `vocoder`.

Written from the definitions, in float64 and without a line of `mlx_chatterbox`, so that agreement
between the two means something. It is slow and direct on purpose. What it does not do itself:
`resample/ref_16k` goes through the soxr package, as librosa's does, so that this stage checks how
soxr is called (quality, rates, length) and not soxr.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from scipy.signal import get_window

from ..tables.flash import FLASH_STAGES


def _frames(x: np.ndarray, length: int, hop: int) -> np.ndarray:
    """(n,) -> (T, length): every frame that fits."""
    if len(x) < length:
        return np.zeros((0, length))
    return np.lib.stride_tricks.sliding_window_view(x, length)[::hop]


def _spectrum(x: np.ndarray, n_fft: int, hop: int, reflect: int) -> np.ndarray:
    """(n,) -> (T, n_fft // 2 + 1) complex128, periodic Hann, mirrored ends of `reflect` samples."""
    padded = np.pad(x, reflect, mode="reflect")
    return np.fft.rfft(_frames(padded, n_fft, hop) * get_window("hann", n_fft), axis=1)


def slaney_mel_filters(
    sample_rate: int, n_fft: int, n_mels: int, lowest: float, highest: float
) -> np.ndarray:
    """(n_mels, n_fft // 2 + 1) float64: triangles over frequency, each of area one in Hz.

    The Auditory Toolbox's scale: 3 mels per 200 Hz up to 1 kHz, then 27 mels per factor 6.4.
    """

    def to_mel(hz: float) -> float:
        return 3 * hz / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)

    def to_hz(mel: float) -> float:
        return 200 * mel / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    corners = [to_hz(m) for m in np.linspace(to_mel(lowest), to_mel(highest), n_mels + 2)]
    bins = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    filters = np.zeros((n_mels, len(bins)))
    for i in range(n_mels):
        left, peak, right = corners[i : i + 3]
        triangle = np.interp(bins, [left, peak, right], [0.0, 1.0, 0.0])
        filters[i] = triangle * 2 / (right - left)
    return filters


def trim(x: np.ndarray, top_db: float = 20.0) -> np.ndarray:
    """(n,) -> (m,): `librosa.effects.trim` with frames of 2048 samples every 512."""
    centred = np.concatenate([np.zeros(1024), x.astype(np.float64), np.zeros(1024)])
    rms = np.sqrt(np.mean(_frames(centred, 2048, 512) ** 2, axis=1))
    level = 20 * np.log10(np.maximum(rms, 1e-5))
    loud = [i for i in range(len(level)) if level[i] - max(level) > -top_db]
    return x[loud[0] * 512 : (loud[-1] + 1) * 512]


def voice_encoder_mel(x: np.ndarray) -> np.ndarray:
    """(n,) at 16 kHz -> (1 + n // 160, 40) mel power."""
    power = np.abs(_spectrum(x, 400, 160, reflect=200)) ** 2
    return power @ slaney_mel_filters(16_000, 400, 40, 0, 8000).T


def s3_tokenizer_log_mel(x: np.ndarray) -> np.ndarray:
    """(n,) at 16 kHz -> (128, n // 160) scaled log10 mel power."""
    power = np.abs(_spectrum(x, 400, 160, reflect=200)[:-1]) ** 2
    decades = np.log10(np.maximum(slaney_mel_filters(16_000, 400, 128, 0, 8000) @ power.T, 1e-10))
    return (np.maximum(decades, decades.max() - 8) + 4) / 4


def s3gen_mel(x: np.ndarray) -> np.ndarray:
    """(n,) at 24 kHz -> (n // 480, 80) natural log of mel magnitudes."""
    magnitude = np.sqrt(np.abs(_spectrum(x, 1920, 480, reflect=720)) ** 2 + 1e-9)
    mel = magnitude @ slaney_mel_filters(24_000, 1920, 80, 0, 8000).T
    return np.log(np.maximum(mel, 1e-5))


def kaldi_fbank(x: np.ndarray) -> np.ndarray:
    """(n,) at 16 kHz -> (T, 80): Kaldi's compute-fbank-feats, 80 bins, no dither."""

    def to_mel(hz: float | np.ndarray) -> float | np.ndarray:
        return 1127 * np.log(1 + hz / 700)

    corners = np.linspace(to_mel(20.0), to_mel(8000.0), 82)
    bins = to_mel(np.arange(256) * 16_000 / 512)  # without the Nyquist bin
    banks = np.array([np.interp(bins, corners[i : i + 3], [0, 1, 0]) for i in range(80)])

    frames = _frames(x.astype(np.float64), 400, 160)
    frames = frames - frames.mean(axis=1, keepdims=True)
    emphasised = frames.copy()
    emphasised[:, 1:] -= 0.97 * frames[:, :-1]
    emphasised[:, 0] -= 0.97 * frames[:, 0]
    povey = get_window("hann", 400, fftbins=False) ** 0.85
    power = np.abs(np.fft.rfft(emphasised * povey, n=512, axis=1)[:, :256]) ** 2
    return np.log(np.maximum(power @ banks.T, np.finfo(np.float32).eps))


def resample_to_16k(x: np.ndarray) -> np.ndarray:
    """(n,) at 24 kHz -> (ceil(2n / 3),) by the soxr package, "HQ"."""
    import soxr

    length = -(-2 * len(x) // 3)
    out = np.zeros(length)
    resampled = soxr.resample(x.astype(np.float64), 24_000, 16_000, quality="HQ")[:length]
    out[: len(resampled)] = resampled
    return out


def resample_by_sinc(x: np.ndarray, orig_sr: int, target_sr: int) -> np.ndarray:
    """(n,) -> (ceil(n target / orig),): a sinc under a Hann bump.

    It has six zero crossings at each side; its cutoff is 0.99 of the lower Nyquist
    frequency, as torchaudio's default is.
    """
    cutoff = min(orig_sr, target_sr) * 0.99
    length = -(-len(x) * target_sr // orig_sr)
    reach = int(np.ceil(6 * orig_sr / cutoff)) + 1
    middle = np.arange(length) * orig_sr // target_sr
    at = middle[:, None] + np.arange(-reach, reach + 1)
    inside = (at >= 0) & (at < len(x))
    t = (at / orig_sr - np.arange(length)[:, None] / target_sr) * cutoff
    bump = np.where(np.abs(t) < 6, np.cos(np.pi * t / 12) ** 2, 0.0)
    taps = np.sinc(t) * bump * cutoff / orig_sr
    values = np.where(inside, x.astype(np.float64)[np.clip(at, 0, len(x) - 1)], 0.0)
    return np.sum(values * taps, axis=1)


def _softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def sampler_probs(
    logits: np.ndarray,
    history: np.ndarray,
    repetition_penalty: float,
    temperature: float,
    min_p: float,
    top_p: float,
) -> np.ndarray:
    """The distribution that one step draws from, by Hugging Face's processors in upstream's order.

    logits: (V,) after classifier-free guidance; history: (H,) the tokens so far with the start
    token, negative entries being padding. Returns (V,) float64.
    """
    if temperature <= 0:
        raise ValueError(f"a temperature of {temperature} is greedy decoding: no distribution")
    scores = _penalised(logits.astype(np.float64), history, repetition_penalty) / temperature

    probabilities = _softmax(scores)
    too_rare = probabilities < min_p * probabilities.max()
    too_rare[np.argmax(probabilities)] = False
    scores[too_rare] = -np.inf
    return _softmax(_nucleus(scores, top_p))


def turbo_sampler_probs(
    logits: np.ndarray,
    history: np.ndarray,
    repetition_penalty: float,
    temperature: float,
    top_k: float,
    top_p: float,
) -> np.ndarray:
    """Distribution in the order of upstream's `inference_turbo`: the penalty after removals."""
    if temperature <= 0:
        raise ValueError(f"a temperature of {temperature} is greedy decoding: no distribution")
    scores = logits.astype(np.float64) / temperature
    if 0 < top_k < len(scores):
        scores[scores < np.sort(scores)[-int(top_k)]] = -np.inf
    return _softmax(_penalised(_nucleus(scores, top_p), history, repetition_penalty))


def _penalised(scores: np.ndarray, history: np.ndarray, penalty: float) -> np.ndarray:
    for token in {int(token) for token in history if token >= 0}:
        scores[token] = scores[token] * penalty if scores[token] < 0 else scores[token] / penalty
    return scores


def _nucleus(scores: np.ndarray, top_p: float) -> np.ndarray:
    """Remove the least likely tokens that hold 1 - top_p together, but never the likeliest."""
    ascending = np.argsort(scores, kind="stable")
    tail = np.cumsum(_softmax(scores)[ascending]) <= 1 - top_p
    tail[-1] = False
    scores[ascending[tail]] = -np.inf
    return scores


def _each_row(probs: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """A sampler stage: (N, V), (N, H), (N, 4) -> (N, V)."""

    def stage(logits: np.ndarray, history: np.ndarray, settings: np.ndarray) -> np.ndarray:
        rows = []
        for row, past, setting in zip(logits, history, settings, strict=True):
            # The dump has them in float32; the shortest decimal (0.95) is the number meant.
            rows.append(probs(row, past, *(float(str(np.float32(x))) for x in setting)))
        return np.stack(rows)

    return stage


def _voice_mel(x: np.ndarray) -> np.ndarray:
    return voice_encoder_mel(trim(x))


def _normalised_fbank(x: np.ndarray) -> np.ndarray:
    features = kaldi_fbank(x)
    return features - features.mean(axis=0)


# Output name -> names of the inputs, and the function of them.
STAGES: dict[str, tuple[tuple[str, ...], Callable[..., np.ndarray]]] = {
    "voice_encoder/trimmed": (("audio/ref_16k",), trim),
    "voice_encoder/mel": (("audio/ref_16k",), _voice_mel),
    "s3_tokenizer/log_mel": (("audio/ref_16k",), s3_tokenizer_log_mel),
    "speaker_encoder/fbank": (("audio/ref_16k",), _normalised_fbank),
    "s3gen/ref_mel": (("audio/ref_24k",), s3gen_mel),
    "resample/ref_16k": (("audio/ref_24k",), resample_to_16k),
    "resample/sinc_16k": (("audio/ref_24k",), lambda x: resample_by_sinc(x, 24_000, 16_000)),
    "sampler/probs": (
        ("sampler/logits", "sampler/history", "sampler/settings"),
        _each_row(sampler_probs),
    ),
    "sampler_turbo/probs": (
        ("sampler_turbo/logits", "sampler_turbo/history", "sampler_turbo/settings"),
        _each_row(turbo_sampler_probs),
    ),
}


# The same for networks, which are the first argument.
NETWORK_STAGES: dict[str, tuple[tuple[str, ...], Callable[..., np.ndarray]]] = {
    "voice_encoder/embedding": (("audio/ref_16k",), lambda w, x: w.voice_embedding(_voice_mel(x))),
    "s3_tokenizer/tokens": (("audio/ref_16k",), lambda w, x: w.tokens(s3_tokenizer_log_mel(x))),
    "s3_encoder/codes": (("s3_encoder/log_mel",), lambda w, mel: w.codes(mel)),
    "speaker_encoder/embedding": (
        ("audio/ref_16k",),
        lambda w, x: w.speaker_embedding(_normalised_fbank(x)),
    ),
    "source/excitation": (
        ("source/f0", "source/phases", "source/noise"),
        lambda w, *inputs: w.excitation(*inputs),
    ),
    "vocoder/f0": (("vocoder/mel",), lambda w, mel: w.f0(mel)),
    "vocoder/waveform": (("vocoder/mel", "vocoder/source"), lambda w, *inputs: w.waveform(*inputs)),
}


# Of the stage `flash`, which is computed as a whole.
FLASH_INPUTS = next(stage.inputs for stage in FLASH_STAGES if stage.name == "flash")


def compute(inputs: Mapping[str, np.ndarray], networks=None) -> dict[str, np.ndarray]:
    """Every output in STAGES whose inputs are given, as float32 (tokens int32).

    Args:
        inputs: tensor name -> array, as in a parity dump (see STAGES for the names). Waveforms are
            (n,), `sampler/logits` (N, V), `sampler/history` (N, H) int32, `sampler/settings` (N, 4)
            = repetition penalty, temperature, min_p, top_p; `sampler_turbo/settings` has top_k for
            min_p.
        networks: `networks.NumpyNetworks`, for what is in NETWORK_STAGES; None without.
    """
    stages = {name: (names, function) for name, (names, function) in STAGES.items()}
    if networks is not None:
        for name, (names, function) in NETWORK_STAGES.items():
            stages[name] = (names, partial(function, networks))
    outputs = {
        output: function(*(np.asarray(inputs[name]) for name in names))
        for output, (names, function) in stages.items()
        if all(name in inputs for name in names)
    }
    if networks is not None and all(name in inputs for name in FLASH_INPUTS):
        outputs |= networks.blocks(inputs)
    return {name: _narrow(value) for name, value in outputs.items()}


def _narrow(array: np.ndarray) -> np.ndarray:
    return array.astype(np.int32 if array.dtype.kind == "i" else np.float32)
