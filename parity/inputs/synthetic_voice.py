"""A made-up speaker for references: glottal pulses through moving formants, with pauses.

No recording needs to be shipped, and the signal has what the front ends react to: voiced and
noisy stretches, gliding pitch, pauses, digital silence before and a faint noise floor after.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

SAMPLE_RATE = 24000

# Formant frequencies in Hz of five vowels, and the bandwidth of each formant.
_VOWELS = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
)
_BANDWIDTHS = (80.0, 100.0, 140.0)
_STEP = 240  # samples between updates of the formants, 10 ms
_PEAK = 0.5
_NOISE_FLOOR = 1e-4


def synthetic_voice(seconds: float = 7.3, seed: int = 0) -> np.ndarray:
    """A voiced signal at 24 kHz.

    Args:
        seconds: length, silence at both ends included (0.35 s before, 0.5 s after).
        seed: another seed, another speaker.

    Returns:
        (n,) float32, peak 0.5.
    """
    rng = np.random.default_rng(seed)
    total = round(seconds * SAMPLE_RATE)
    before, after = round(0.35 * SAMPLE_RATE), round(0.5 * SAMPLE_RATE)
    spoken = total - before - after
    base_f0 = rng.uniform(95.0, 210.0)
    pieces: list[np.ndarray] = []
    while sum(map(len, pieces)) < spoken:
        pieces.append(_syllable(rng, base_f0))
        if rng.random() < 0.2:
            pieces.append(np.zeros(round(rng.uniform(0.06, 0.2) * SAMPLE_RATE)))
    speech = np.concatenate(pieces)[:spoken]
    speech *= _PEAK / np.abs(speech).max()
    tail = _NOISE_FLOOR * rng.standard_normal(after)
    return np.concatenate([np.zeros(before), speech, tail]).astype(np.float32)


def _syllable(rng: np.random.Generator, base_f0: float) -> np.ndarray:
    """A burst of noise, then a vowel gliding to another under a falling or rising pitch."""
    length = round(rng.uniform(0.12, 0.32) * SAMPLE_RATE)
    glide = rng.uniform(0.85, 1.2, size=2) * base_f0
    f0 = np.linspace(glide[0], glide[1], length)
    pulses = np.diff(np.floor(np.cumsum(f0 / SAMPLE_RATE)), prepend=0.0)
    excitation = lfilter([1.0], [1.0, -0.97], pulses) + 0.02 * rng.standard_normal(length)
    start, end = (np.array(_VOWELS[index]) for index in rng.integers(len(_VOWELS), size=2))
    voiced = _formants(excitation, start, end * rng.uniform(0.9, 1.1))
    voiced *= np.sin(np.pi * np.linspace(0.0, 1.0, length)) ** 0.5 / np.abs(voiced).max()
    burst = rng.standard_normal(round(rng.uniform(0.02, 0.06) * SAMPLE_RATE))
    burst = lfilter([1.0, -0.95], [1.0], burst)
    return np.concatenate([0.1 * burst / np.abs(burst).max(), rng.uniform(0.5, 1.0) * voiced])


def _formants(signal: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Three resonators in a row, their frequencies moving from `start` to `end`."""
    steps = max(1, -(-len(signal) // _STEP))
    for index, bandwidth in enumerate(_BANDWIDTHS):
        frequencies = np.linspace(start[index], end[index], steps)
        state, pieces = np.zeros(2), []
        for step, frequency in enumerate(frequencies):
            radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
            angle = 2 * np.pi * frequency / SAMPLE_RATE
            poles = [1.0, -2 * radius * np.cos(angle), radius**2]
            chunk = signal[step * _STEP : (step + 1) * _STEP]
            piece, state = lfilter([sum(poles)], poles, chunk, zi=state)
            pieces.append(piece)
        signal = np.concatenate(pieces)
    return signal
