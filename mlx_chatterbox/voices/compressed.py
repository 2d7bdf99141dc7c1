"""Voices of strongly compressed recordings: noticed where they would come out quiet, and mended.

A lossy codec at few bits a second silences what it thinks nobody hears, frame by frame. The
logarithmic features of the speaker encoder (`audio/kaldi.py`) then fall to their floor and back, as
no clean recording's do. A small encoder that has heard clean voices alone is thrown by it: the
embedding of pocket's own voice after MP3 at 24 kbit/s points the other way (a cosine of -0.3), and
the flow, told of a voice that it has never met, draws a faint mel. Faint noise fills the holes.

It shows when a model speaks the reference's own tokens in the reference's own voice: as loud as
that comes out, so will everything. How loud the recording itself is has no part in it. It is looked
at where the flow starts from no noise, as pocket's, so that it costs a tenth of a second and is no
matter of chance; upstream's models stay as they are.
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
# The tokens are those of the recording at this level: of a faint one they are not what is said.
_AT_LEVEL = -23.0
# Noise so many decibels under the speech brings them back to within 2. Of clean recordings, also
# of voices that come out faint, none gains more than 1.6 by it; those stay as they were heard.
_NOISE_UNDER, _MENDED = 34.0, 1.8


def mend(
    networks, reference: S3GenConditionals, waveform: np.ndarray, steps: int, name: object
) -> S3GenConditionals:
    """The reference, or one that is not thrown by what a codec has left out; warns of either.

    Args:
        networks: has `s3gen` and `s3_tokenizer`.
        reference: of the waveform.
        waveform: (n,) at 24 kHz.
        steps: of the flow.
        name: the recording's, for people.
    """
    config = networks.s3gen.config
    if config.cfm_noise_scale * config.cfm_noise_temperature != 0.0:
        return reference
    heard = loudness_of(waveform, _RATE)
    if heard is None:
        return reference
    tokens = _loudest_tokens(networks, waveform, heard)
    level = _level(networks, reference, tokens, steps)
    if level is None or level >= _QUIET:
        return reference
    other = dataclasses.replace(reference, embedding=_embedded_in_noise(networks, waveform, heard))
    mended = _level(networks, other, tokens, steps)
    if mended is not None and mended >= level + _MENDED:
        warnings.warn(
            f"{name} lacks parts of its spectrum, as after strong compression: its voice would "
            f"come out {mended - level:.0f} dB too quiet, and was heard through faint noise, which "
            "mends that. A better recording gives a better likeness.",
            stacklevel=2,
        )
        return other
    if level < _FAR:
        warnings.warn(
            f"{name}: the model speaks some {_USUAL - level:.0f} dB more quietly in this voice "
            "than in its own, which it is unlike.",
            stacklevel=2,
        )
    return reference


def _loudest_tokens(networks, waveform: np.ndarray, heard: float) -> mx.array:
    """Speech tokens of the loudest 3 s of a recording whose loudness was `heard`, LUFS."""
    count = len(waveform) // _SAMPLES_PER_TOKEN
    power = np.square(waveform[: count * _SAMPLES_PER_TOKEN]).reshape(count, -1).sum(axis=1)
    before = np.concatenate([[0.0], np.cumsum(power)])
    length = min(_TOKENS, count)
    first = int(np.argmax(before[length:] - before[: count - length + 1]))
    loudest = waveform[first * _SAMPLES_PER_TOKEN :][: length * _SAMPLES_PER_TOKEN]
    loudest = loudest * np.float32(10 ** ((_AT_LEVEL - heard) / 20))
    return networks.s3_tokenizer(resample_sinc(mx.array(loudest), _RATE, _ENCODER_RATE))


def _level(networks, reference: S3GenConditionals, tokens: mx.array, steps: int) -> float | None:
    """How loud the model says tokens in a voice, LUFS; None for silence."""
    said = networks.s3gen(tokens, reference, key=mx.random.key(0), n_timesteps=max(1, steps))
    return loudness_of(np.array(said), _RATE)


def _embedded_in_noise(networks, waveform: np.ndarray, heard: float) -> mx.array:
    """The speaker's embedding, (1, n), with noise over the recording; the same every time."""
    level = 10 ** ((heard - _NOISE_UNDER) / 20)
    noise = np.random.default_rng(0).standard_normal(len(waveform)) * level
    noisy = mx.array((waveform + noise).astype(np.float32))
    features = fbank(resample_sinc(noisy, _RATE, _ENCODER_RATE))
    return networks.s3gen.speaker_encoder((features - features.mean(axis=0, keepdims=True))[None])
