"""Rotary position embedding (https://arxiv.org/abs/2104.09864), pairs of channels half apart."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

from ..runtime import device
from .cpu_kernels import kernel, tuned_for

# Takes (B, T, H, D) and a factor for all of it, and returns (B, H, T, D).
Rotate = Callable[[mx.array, float], mx.array]


@kernel(
    ((2, 3, 4, 48), (2, 3, 4, 48), (2, 3, 1, 48), (2, 3, 1, 48), ()),
    ((1, 1, 4, 48), (1, 1, 4, 48), (1, 1, 1, 48), (1, 1, 1, 48), ()),
)
def _turned_kernel(
    x: mx.array, swapped: mx.array, cosine: mx.array, sine: mx.array, scale: mx.array
) -> mx.array:
    return (x * cosine + swapped * sine) * scale


def rotation(wavelengths: mx.array, start: mx.array, length: int) -> Rotate:
    """The rotation at given positions.

    Args:
        wavelengths: (D / 2,), positions per radian.
        start: (B,) int32, the position of each row's first entry.

    Returns:
        A function of (B, length, H, D) and a factor, that gives (B, H, length, D). The angles are
        worked out once for all layers, except on the GPU, whose own kernel does it as it goes.
    """
    if not device.on_cpu():
        width = 2 * wavelengths.shape[0]

        def rotate_on_gpu(x: mx.array, scale: float) -> mx.array:
            turned = mx.fast.rope(
                x.swapaxes(1, 2),
                width,
                traditional=False,
                base=None,
                scale=1.0,
                offset=start,
                freqs=wavelengths,
            )
            return turned * scale

        return rotate_on_gpu

    positions = start[:, None] + mx.arange(length)
    angles = positions[:, :, None, None].astype(mx.float32) / wavelengths
    cosine, sine = mx.cos(angles), mx.sin(angles)
    both = mx.concatenate([cosine, cosine], axis=-1)
    across = mx.concatenate([-sine, sine], axis=-1)

    def rotate(x: mx.array, scale: float) -> mx.array:
        half = x.shape[-1] // 2
        swapped = mx.concatenate([x[..., half:], x[..., :half]], axis=-1)
        if tuned_for(x):
            turned = _turned_kernel(x, swapped, both, across, mx.array(scale))
        else:
            turned = (x * both.astype(x.dtype) + swapped * across.astype(x.dtype)) * scale
        return turned.swapaxes(1, 2)

    return rotate
