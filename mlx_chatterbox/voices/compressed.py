"""Voices of strongly compressed recordings: detection of those that come out quiet, correction.

A lossy codec at a low bit rate silences parts of the spectrum that it takes for inaudible, frame by
frame. The logarithmic features of the speaker encoder (`audio/kaldi.py`) then drop to their floor
and back, which those of clean recordings never do. A small encoder that was trained on clean voices
fails on them: the embedding of pocket's own voice after MP3 at 24 kbit/s points the other way (a
cosine of -0.3), and the flow makes a faint mel for this unknown voice. Faint noise fills the holes.

The test: the model speaks the reference's own tokens in the reference's voice; all speech in it
will be as loud as the result. The loudness of the recording itself does not matter. The test is
made only where the flow starts from zeros instead of noise, as pocket's, so that it takes a tenth
of a second and does not depend on chance; voices of upstream's models stay as they are.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from ..audio.kaldi import fbank
from ..audio.loudness import loudness_of
from ..audio.resample import resample_sinc

if TYPE_CHECKING:
    from ..models.s3gen.s3gen import S3GenConditionals

_RATE, _ENCODER_RATE = 24000, 16000
_TOKENS = 75
_SAMPLES_PER_TOKEN = _RATE // 25
# LUFS. Pocket's own voices come out at -17 to -22.5, and at -27 to -29 after MP3 at 24 kbit/s.
_USUAL, _QUIET, _FAR = -22.0, -24.5, -27.5
# The recording is brought to this level for its tokens; those of a faint one would be wrong.
_AT_LEVEL = -23.0
# Noise this many decibels under the speech brings them back to within 2 dB. Clean recordings, also
# of voices that come out faint, gain at most 1.6 dB by it; those are used unchanged.
_NOISE_UNDER, _MENDED = 34.0, 1.8


def mend(
    networks, reference: S3GenConditionals, waveform: np.ndarray, steps: int, name: object
) -> S3GenConditionals:
    """Return the reference, or a corrected one if compression spoilt its embedding; warn then.

    Args:
        networks: has `s3gen` and `s3_tokenizer`.
        reference: of the waveform.
        waveform: (n,) at 24 kHz.
        steps: of the flow.
        name: the recording's, for warnings.
    """
    config = networks.s3gen.config
    if config.cfm_noise_scale * config.cfm_noise_temperature != 0.0:
        return reference
    loudness = loudness_of(waveform, _RATE)
    if loudness is None:
        return reference
    tokens = _loudest_tokens(networks, waveform, loudness)
    level = _level(networks, reference, tokens, steps)
    if level is None or level >= _QUIET:
        return reference
    other = dataclasses.replace(
        reference, embedding=_embedded_in_noise(networks, waveform, loudness)
    )
    mended = _level(networks, other, tokens, steps)
    if mended is not None and mended >= level + _MENDED:
        warnings.warn(
            f"{name} lacks parts of its spectrum, as after strong compression: its voice would "
            f"come out {mended - level:.0f} dB too quiet. Faint noise was added to correct that; a "
            "better recording gives a better likeness.",
            stacklevel=2,
        )
        return other
    if level < _FAR:
        warnings.warn(
            f"{name}: the model speaks some {_USUAL - level:.0f} dB more quietly in this voice "
            "than in its own, from which it differs much.",
            stacklevel=2,
        )
    return reference


def _loudest_tokens(networks, waveform: np.ndarray, loudness: float) -> mx.array:
    """Speech tokens of the loudest 3 s of a recording of a given loudness, LUFS."""
    count = len(waveform) // _SAMPLES_PER_TOKEN
    power = np.square(waveform[: count * _SAMPLES_PER_TOKEN]).reshape(count, -1).sum(axis=1)
    before = np.concatenate([[0.0], np.cumsum(power)])
    length = min(_TOKENS, count)
    first = int(np.argmax(before[length:] - before[: count - length + 1]))
    loudest = waveform[first * _SAMPLES_PER_TOKEN :][: length * _SAMPLES_PER_TOKEN]
    loudest = loudest * np.float32(10 ** ((_AT_LEVEL - loudness) / 20))
    return networks.s3_tokenizer(resample_sinc(mx.array(loudest), _RATE, _ENCODER_RATE))


def _level(networks, reference: S3GenConditionals, tokens: mx.array, steps: int) -> float | None:
    """The loudness of tokens that the model speaks in a voice, LUFS; None for silence."""
    speech = networks.s3gen(tokens, reference, key=mx.random.key(0), n_timesteps=max(1, steps))
    return loudness_of(np.array(speech), _RATE)


def _embedded_in_noise(networks, waveform: np.ndarray, loudness: float) -> mx.array:
    """The speaker embedding, (1, n), of the recording with faint noise; the same every time."""
    level = 10 ** ((loudness - _NOISE_UNDER) / 20)
    noise = np.random.default_rng(0).standard_normal(len(waveform)) * level
    noisy = mx.array((waveform + noise).astype(np.float32))
    features = fbank(resample_sinc(noisy, _RATE, _ENCODER_RATE))
    return networks.s3gen.speaker_encoder((features - features.mean(axis=0, keepdims=True))[None])
