"""Voices of strongly compressed recordings: noticed where they would come out quiet, and mended.

A lossy codec at few bits a second silences what it thinks nobody hears, frame by frame. The
logarithmic features of the speaker encoder (`audio/kaldi.py`) then fall to their floor and back, as
no clean recording's do. A small encoder that has heard clean voices alone is thrown by it: the
embedding of pocket's own voice after MP3 at 24 kbit/s points the other way (a cosine of -0.3), and
the flow, told of a voice that it has never met, draws a faint mel. Faint noise fills the holes.

It shows when a model speaks the reference's own tokens in the reference's own voice: how loud that
comes out, beside the recording, is how loud everything will. It is looked at where the flow starts
from no noise, as pocket's, so that it costs a tenth of a second and is no matter of chance;
upstream's models stay as they are.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from .audio.kaldi import fbank
from .audio.loudness import loudness_of
from .audio.resample import resample_sinc

if TYPE_CHECKING:
    from .models.s3gen.s3gen import Reference

_RATE, _ENCODER_RATE = 24000, 16000
_TOKENS = 75
_SAMPLES_PER_TOKEN = _RATE // 25
# Decibels. Voices that pocket knows come out 0 to 2 under their clean recordings, 5 to 11 under
# those of MP3 at 24 kbit/s.
_QUIET, _FAR = -2.5, -5.0
# Noise so far under the speech brings them back to within 2. Of clean recordings, also of voices
# that come out faint, none gains more than 1.5 by it; those stay as they were heard.
_NOISE_UNDER, _MENDED = 34.0, 1.8


def mend(
    networks, reference: Reference, waveform: np.ndarray, steps: int, name: object
) -> Reference:
    """The reference, or one that is not thrown by what a codec has left out; warns of either.

    Args:
        networks: has `s3gen`.
        reference: of the waveform.
        waveform: (n,) at 24 kHz.
        steps: of the flow.
        name: the recording's, for people.
    """
    config = networks.s3gen.config
    if config.cfm_noise_scale * config.cfm_noise_temperature != 0.0:
        return reference
    by = _louder_by(networks, reference, waveform, steps)
    if by is None or by >= _QUIET:
        return reference
    other = dataclasses.replace(reference, embedding=_embedded_in_noise(networks, waveform))
    mended = _louder_by(networks, other, waveform, steps)
    if mended is not None and mended >= by + _MENDED:
        warnings.warn(
            f"{name} lacks parts of its spectrum, as after strong compression: its voice would "
            f"come out {-by:.0f} dB too quiet, and was heard through faint noise, which mends "
            "that. A better recording gives a better likeness.",
            stacklevel=2,
        )
        return other
    if by < _FAR:
        warnings.warn(
            f"{name}: the model speaks {-by:.0f} dB more quietly in this voice than the recording, "
            "a voice unlike those that it knows.",
            stacklevel=2,
        )
    return reference


def _louder_by(networks, reference: Reference, waveform: np.ndarray, steps: int) -> float | None:
    """How many decibels louder the model says what the recording says; None where it is silent."""
    tokens = reference.prompt_token[0][:_TOKENS]
    heard = waveform[: tokens.shape[0] * _SAMPLES_PER_TOKEN]
    said = np.array(
        networks.s3gen(tokens, reference, key=mx.random.key(0), n_timesteps=max(1, steps))
    )
    levels = loudness_of(said, _RATE), loudness_of(heard, _RATE)
    return None if None in levels else levels[0] - levels[1]


def _embedded_in_noise(networks, waveform: np.ndarray) -> mx.array:
    """The speaker's embedding, (1, n), with noise over the recording; the same every time."""
    level = 10 ** ((loudness_of(waveform, _RATE) - _NOISE_UNDER) / 20)
    noise = np.random.default_rng(0).standard_normal(len(waveform)) * level
    noisy = mx.array((waveform + noise).astype(np.float32))
    features = fbank(resample_sinc(noisy, _RATE, _ENCODER_RATE))
    return networks.s3gen.speaker_encoder((features - features.mean(axis=0, keepdims=True))[None])
