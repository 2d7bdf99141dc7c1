"""The vocoder's excitation: harmonics of F0 where voiced, noise where not.

Source: upstream `models/s3gen/hifigan.py` (`SineGen`, `SourceModuleHnNSF`).
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from .config import HiFTNetConfig


class SourceModuleHnNSF(nn.Module):
    """Sines at F0 and its harmonics plus noise, merged into one channel by a projection."""

    def __init__(self, config: HiFTNetConfig):
        super().__init__()
        self._harmonics = config.nb_harmonics + 1
        self._sampling_rate = config.sampling_rate
        self._amplitude = config.nsf_alpha
        self._noise_std = config.nsf_sigma
        self._voiced_threshold = config.nsf_voiced_threshold
        self.l_linear = nn.Linear(self._harmonics, 1)

    def __call__(self, f0: mx.array, samples_per_frame: int, key: mx.array) -> mx.array:
        """Excite.

        Args:
            f0: (B, T) Hz, held over each frame.
            samples_per_frame: output samples of a frame, 480 in Chatterbox.
            key: source of the harmonics' random phases and of the noise.

        Returns:
            (B, T * samples_per_frame)
        """
        phase_key, noise_key = mx.random.split(key)
        samples = f0.shape[1] * samples_per_frame
        noise = mx.random.normal((f0.shape[0], samples, self._harmonics), key=noise_key)
        phases = self.draw_phases(f0.shape[0], phase_key)
        return self.excite(f0, samples_per_frame, phases, noise)[0]

    def draw_phases(self, batch: int, key: mx.array) -> mx.array:
        """The harmonics' random phases in radians, (B, 1, harmonics); the fundamental's is 0."""
        phases = mx.random.uniform(-math.pi, math.pi, (batch, 1, self._harmonics), key=key)
        phases[..., 0] = 0.0
        return phases

    def excite(
        self,
        f0: mx.array,
        samples_per_frame: int,
        phases: mx.array,
        noise: mx.array,
        start: mx.array | None = None,
    ) -> tuple[mx.array, mx.array]:
        """As `__call__`, with what is random given, and from where an earlier piece ended.

        Args:
            phases: (B, 1, harmonics) radians.
            noise: (B, T * samples_per_frame, harmonics) standard normal.
            start: (B, 1) uint32, the second result for the piece before; None at the beginning.

        Returns:
            (B, T * samples_per_frame), and the fundamental's phase behind it, (B, 1) uint32, in
            2^-32 of a cycle.
        """
        f0 = f0.astype(mx.float32)
        if start is None:
            start = mx.zeros((f0.shape[0], 1), dtype=mx.uint32)
        cycles = self._cycles(f0, samples_per_frame, start)
        moved = self._frame_fractions(f0, samples_per_frame)
        sines = self._amplitude * mx.sin(2 * math.pi * cycles + phases)
        voiced = mx.repeat(f0 > self._voiced_threshold, samples_per_frame, axis=1)[..., None]
        noise_std = mx.where(voiced, self._noise_std, self._amplitude / 3)
        excitation = mx.where(voiced, sines, 0.0) + noise_std * noise
        merged = self.l_linear(excitation.astype(self.l_linear.weight.dtype))
        return mx.tanh(merged[..., 0]), start + mx.cumsum(moved, axis=1)[:, -1:]

    def _cycles(
        self, f0: mx.array, samples_per_frame: int, start: mx.array | None = None
    ) -> mx.array:
        """Phase of each harmonic in cycles, 0 to 1, (B, samples, harmonics).

        The phase is the running sum of F0 / rate. Summed sample by sample in float32 it loses a
        thousandth of a cycle within a minute. Here whole frames are summed, as fractions of a
        cycle in 32-bit integers, whose overflow is just the wrap-around wanted; the samples inside
        a frame are added to that.
        """
        fractions = self._frame_fractions(f0, samples_per_frame)
        starts = mx.cumsum(fractions, axis=1) - fractions
        if start is not None:
            starts = starts + start
        starts = starts.astype(mx.float32) * 2.0**-32
        inside = mx.arange(1, samples_per_frame + 1, dtype=mx.float32)
        cycles = starts[..., None] + (f0 / self._sampling_rate)[..., None] * inside
        cycles = cycles.reshape(f0.shape[0], -1, 1)
        harmonics = (cycles - mx.floor(cycles)) * mx.arange(1, self._harmonics + 1)
        return harmonics - mx.floor(harmonics)

    def _frame_fractions(self, f0: mx.array, samples_per_frame: int) -> mx.array:
        """By how much of a cycle each frame moves the fundamental, (B, T) uint32, in 2^-32."""
        per_frame = f0 / self._sampling_rate * samples_per_frame
        return ((per_frame - mx.floor(per_frame)) * 2.0**32).astype(mx.uint32)
