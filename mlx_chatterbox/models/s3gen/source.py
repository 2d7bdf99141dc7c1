"""The vocoder's excitation: harmonics of F0 where voiced, noise where not.

Source: upstream `models/s3gen/hifigan.py` (`SineGen`, `SourceModuleHnNSF`).
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from ...nn.conv import stacked
from ...nn.gradients import with_gradient_of
from ...runtime import native
from .config import HiFTNetConfig


class MergedHarmonics(nn.Linear):
    """Upstream's projection of the harmonics to one channel, without computing each harmonic.

    Weight (1, harmonics) and bias (1,) are those of upstream's layer, and so is the result.
    """

    # A Linear by its weights, which are loaded, quantized and adapted; never called as one.
    def __call__(  # type: ignore[override]
        self, cycles: mx.array, phases: mx.array, amplitude: mx.array, noise: mx.array
    ) -> mx.array:
        """Harmonics of a phase and noise, merged.

        Args:
            cycles: (B, samples) the fundamental's phase in cycles, 0 to 1.
            phases: (B, 1, harmonics) radians.
            amplitude: (B, samples) of every sine.
            noise: (B, samples) noise of the width of one harmonic's.

        Returns:
            (B, samples, 1) float32
        """
        weight = self.weight[0].astype(mx.float32)
        sines = amplitude * _weighted_sines(cycles, weight, phases, evaluate=not self.training)
        merged = sines + mx.linalg.norm(weight) * noise + self.bias
        return merged[..., None]


class SourceModuleHnNSF(nn.Module):
    """Sines at F0 and its harmonics plus noise, merged into one channel by a projection."""

    def __init__(self, config: HiFTNetConfig):
        super().__init__()
        self._harmonics = config.nb_harmonics + 1
        self._sampling_rate = config.sampling_rate
        self._amplitude = config.nsf_alpha
        self._noise_std = config.nsf_sigma
        self._voiced_threshold = config.nsf_voiced_threshold
        self.l_linear = MergedHarmonics(self._harmonics, 1)

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
        noise = mx.random.normal((f0.shape[0], f0.shape[1] * samples_per_frame), key=noise_key)
        phases = self.draw_phases(f0.shape[0], phase_key)
        return self.excite(f0, samples_per_frame, phases, noise)[0]

    def draw_phases(self, batch: int, key: mx.array) -> mx.array:
        """The harmonics' random phases in radians, (B, 1, harmonics); the fundamental's is 0."""
        phases = mx.random.uniform(-math.pi, math.pi, (batch, 1, self._harmonics), key=key)
        phases[..., 0] = 0.0
        return phases

    def merge_noise(self, noise: mx.array) -> mx.array:
        """Noise of each harmonic, as upstream draws it, (B, samples, harmonics), to `excite`'s.

        Upstream draws one number for each harmonic and adds them up with the projection's weights.
        Such a sum of independent normal numbers is itself normal, as wide as the weights are long;
        so one number a sample does, unless upstream's own are given.
        """
        weight = self.l_linear.weight[0].astype(mx.float32)
        return noise @ weight / mx.maximum(mx.linalg.norm(weight), 1e-12)

    def excite(
        self,
        f0: mx.array,
        samples_per_frame: int,
        phases: mx.array,
        noise: mx.array,
        start: mx.array | None = None,
    ) -> tuple[mx.array, mx.array]:
        """Excite with the caller's random numbers, from the phase at which an earlier piece ended.

        Args:
            phases: (B, 1, harmonics) radians.
            noise: (B, T * samples_per_frame) standard normal.
            start: (B, 1) uint32, the second result for the piece before; None at the beginning.

        Returns:
            (B, T * samples_per_frame), and the fundamental's phase after it, (B, 1) uint32, in
            2^-32 of a cycle.
        """
        f0 = f0.astype(mx.float32)
        if start is None:
            start = mx.zeros((f0.shape[0], 1), dtype=mx.uint32)
        moved = self._frame_fractions(f0, samples_per_frame)
        voiced = mx.repeat(f0 > self._voiced_threshold, samples_per_frame, axis=1)
        noise_std = mx.where(voiced, self._noise_std, self._amplitude / 3)
        amplitude = mx.where(voiced, self._amplitude, 0.0)
        cycles = self._cycles(f0, samples_per_frame, start)
        merged = self.l_linear(cycles, phases, amplitude, noise_std * noise)[..., 0]
        excitation = mx.tanh(merged).astype(self.l_linear.weight.dtype)
        return excitation, start + mx.cumsum(moved, axis=1)[:, -1:]

    def _cycles(
        self, f0: mx.array, samples_per_frame: int, start: mx.array | None = None
    ) -> mx.array:
        """Phase of the fundamental in cycles, 0 to 1, (B, samples).

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
        cycles = cycles.reshape(f0.shape[0], -1)
        return cycles - mx.floor(cycles)

    def _frame_fractions(self, f0: mx.array, samples_per_frame: int) -> mx.array:
        """The part of a cycle, in 2^-32, by which each frame moves the phase, (B, T) uint32."""
        per_frame = f0 / self._sampling_rate * samples_per_frame
        return ((per_frame - mx.floor(per_frame)) * 2.0**32).astype(mx.uint32)


def _weighted_sines(
    cycles: mx.array, weight: mx.array, phases: mx.array, evaluate: bool = False
) -> mx.array:
    """Harmonics of a phase, each with its weight and its own phase, added up.

    The sum over h of w_h sin(h x + p_h) is the imaginary part of a polynomial in exp(i x) with the
    coefficients w_h exp(i p_h): two functions a sample instead of one for each harmonic, and
    nothing is as large as samples times harmonics.

    Args:
        cycles: (B, samples) the fundamental's x / 2 pi.
        weight: (harmonics,)
        phases: (B, 1, harmonics) radians.
        evaluate: True where they may be evaluated at once, as code outside of MLX needs it.

    Returns:
        (B, samples)
    """
    reals, imags = weight * mx.cos(phases), weight * mx.sin(phases)
    if evaluate and native.takes(cycles, reals):
        return _in_one_go(cycles, reals, imags)
    return _step_by_step(cycles, reals, imags)


def _step_by_step(cycles: mx.array, reals: mx.array, imags: mx.array) -> mx.array:
    """Coefficients (B, 1, harmonics); as `_weighted_sines`."""
    # Within half a turn of 0, where float32 is finest.
    angle = 2 * math.pi * (cycles - mx.round(cycles))
    real, imag = mx.cos(angle), mx.sin(angle)
    last = reals.shape[-1] - 1
    total_real, total_imag = reals[..., last], imags[..., last]
    for harmonic in range(last - 1, -1, -1):
        total_real, total_imag = (
            total_real * real - total_imag * imag + reals[..., harmonic],
            total_real * imag + total_imag * real + imags[..., harmonic],
        )
    return total_real * imag + total_imag * real


def _in_one_go(cycles: mx.array, reals: mx.array, imags: mx.array) -> mx.array:
    """Compute `_step_by_step` in compiled code (`native`)."""

    @with_gradient_of(_step_by_step)
    def added(cycles: mx.array, reals: mx.array, imags: mx.array) -> mx.array:
        samples, harmonics = cycles.shape[-1], reals.shape[-1]
        shapes = [(samples,), (1, harmonics), (1, harmonics)]
        return stacked(
            [
                native.call("add_harmonics", [*row], shapes, (samples,), samples, harmonics)
                for row in zip(cycles, reals, imags, strict=True)
            ]
        )

    return added(cycles, reals, imags)
