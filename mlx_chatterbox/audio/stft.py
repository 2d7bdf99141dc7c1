"""The short-time Fourier transform and its inverse, on the last axis of float32 arrays.

Real and imaginary parts are kept as two arrays, frames come before bins: (..., frames, bins).
Semantics are those of `torch.stft` and `torch.istft`; windows are periodic, as there.
"""

from __future__ import annotations

from functools import lru_cache

import mlx.core as mx
import numpy as np

from ..errors import AudioError
from ..nn.gradients import with_gradient_of

# Below this size a transform is one small matrix product, which beats thousands of tiny FFTs.
_MATRIX_N_FFT = 64


def raised_cosine(n: int, period: int) -> np.ndarray:
    """The first `n` samples of a Hann bump of the given period: (n,) float64.

    `period = n` is the periodic window, `period = n - 1` the symmetric one.
    """
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / period)


def hann_window(n: int) -> mx.array:
    """Periodic Hann window, (n,) float32, as `torch.hann_window(n)`."""
    return mx.array(raised_cosine(n, n).astype(np.float32))


def reflect_pad(x: mx.array, left: int, right: int, axis: int = -1) -> mx.array:
    """Extend an axis at both ends by its mirror image, the end samples not repeated.

    x: any shape; the result is `left + right` longer along `axis`. A pad longer than the signal
    is mirrored to and fro, as by `numpy.pad(mode="reflect")`. Raises AudioError on an empty axis.
    """
    n = x.shape[axis]
    if n == 0:
        raise AudioError("The recording has no samples: give one with speech in it.")
    period = max(2 * (n - 1), 1)

    def mirrored(start: int, stop: int) -> mx.array:
        position = np.abs(np.arange(start, stop)) % period
        return mx.take(x, mx.array(np.minimum(position, period - position)), axis=axis)

    parts = [mirrored(-left, 0)] if left else []
    parts.append(x)
    if right:
        parts.append(mirrored(n, n + right))
    return mx.concatenate(parts, axis=axis) if len(parts) > 1 else x


def frame(x: mx.array, length: int, hop: int) -> mx.array:
    """Cut (..., n) into overlapping frames that fit entirely: (..., frames, length).

    frames = 1 + (n - length) // hop, or 0 where n < length.
    """
    *batch, n = x.shape
    if n < length:
        return mx.zeros((*batch, 0, length), dtype=x.dtype)
    frames = 1 + (n - length) // hop
    count = int(np.prod(batch))
    cut = mx.as_strided(x, (count, frames, length), (n, hop, 1))
    return cut.reshape(*batch, frames, length)


def overlap_add(frames: mx.array, hop: int) -> mx.array:
    """Add frames up, each `hop` samples after the one before.

    frames: (..., L, n) -> (..., (L - 1) * hop + n). Frames are cut into pieces of `hop` samples,
    so that the sum is ceil(n / hop) shifted additions, without a scatter.
    """
    *batch, count, n = frames.shape
    pieces = -(-n // hop)
    if pieces * hop != n:
        frames = mx.pad(frames, [(0, 0)] * (frames.ndim - 1) + [(0, pieces * hop - n)])
    frames = frames.reshape(*batch, count, pieces, hop)
    unpadded = [(0, 0)] * len(batch)
    total = mx.pad(frames[..., 0, :], [*unpadded, (0, pieces - 1), (0, 0)])
    for k in range(1, pieces):
        total = total + mx.pad(frames[..., k, :], [*unpadded, (k, pieces - 1 - k), (0, 0)])
    return total.reshape(*batch, -1)[..., : (count - 1) * hop + n]


@lru_cache(maxsize=8)
def _fourier_basis(n_fft: int) -> np.ndarray:
    """(n_fft, 2 * bins) float64: cosines, then negative sines, of the bins 0 to n_fft // 2."""
    angle = 2 * np.pi * np.outer(np.arange(n_fft), np.arange(n_fft // 2 + 1)) / n_fft
    basis = np.concatenate([np.cos(angle), -np.sin(angle)], axis=1)
    # The imaginary parts of bin 0 and of the Nyquist bin must be exactly zero.
    basis[np.abs(basis) < 1e-12] = 0.0
    return basis


@lru_cache(maxsize=8)
def _inverse_basis(n_fft: int) -> np.ndarray:
    """(2 * bins, n_fft) float64: real and imaginary parts to samples, as an inverse rfft."""
    bins = n_fft // 2 + 1
    weight = np.full(bins, 2.0 / n_fft)
    weight[0] = 1.0 / n_fft
    if n_fft % 2 == 0:
        weight[-1] = 1.0 / n_fft
    return _fourier_basis(n_fft).T * np.tile(weight, 2)[:, None]


def _float32(x: np.ndarray) -> mx.array:
    return mx.array(x.astype(np.float32))


def stft(
    x: mx.array, n_fft: int, hop: int, window: mx.array, center: bool = True
) -> tuple[mx.array, mx.array]:
    """Short-time Fourier transform, as `torch.stft(..., onesided=True)`.

    x: (..., n) float32; window: (n_fft,). Returns the real and the imaginary part, each
    (..., frames, n_fft // 2 + 1). With `center` the signal is first extended by n_fft // 2
    mirrored samples at both ends, and frames = 1 + n // hop.
    """
    if center:
        x = reflect_pad(x, n_fft // 2, n_fft // 2)
    frames = frame(x, n_fft, hop)
    if n_fft > _MATRIX_N_FFT:
        spectrum = mx.fft.rfft(frames * window, axis=-1)
        return mx.real(spectrum), mx.imag(spectrum)
    both = (frames * window) @ _float32(_fourier_basis(n_fft))
    real, imag = mx.split(both, 2, axis=-1)
    return real, imag


@with_gradient_of(lambda real, imag: real + 1j * imag)
def _as_complex(real: mx.array, imag: mx.array) -> mx.array:
    """The sum would multiply by i, number by number; side by side they lie there already."""
    return mx.stack([real, imag], axis=-1).view(mx.complex64)[..., 0]


def istft(real: mx.array, imag: mx.array, n_fft: int, hop: int, window: mx.array) -> mx.array:
    """Inverse of a centred `stft`, as `torch.istft`: least squares over the overlapping frames.

    real, imag: (..., frames, n_fft // 2 + 1); window: (n_fft,). Returns (..., n) with
    n = (frames - 1) * hop + n_fft - 2 * (n_fft // 2), so hop * (frames - 1) for an even n_fft.
    The shifted windows must not all vanish anywhere, or the result has NaNs there.
    """
    if n_fft > _MATRIX_N_FFT:
        frames = mx.fft.irfft(_as_complex(real, imag), n=n_fft, axis=-1)
    else:
        frames = mx.concatenate([real, imag], axis=-1) @ _float32(_inverse_basis(n_fft))
    squares = mx.broadcast_to(window * window, (real.shape[-2], n_fft))
    signal, envelope = overlap_add(frames * window, hop), overlap_add(squares, hop)
    # Trimmed before the division: at the very ends the envelope is zero.
    edge, end = n_fft // 2, signal.shape[-1] - n_fft // 2
    return signal[..., edge:end] / envelope[edge:end]
