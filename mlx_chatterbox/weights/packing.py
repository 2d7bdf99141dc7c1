"""Weights with 8 bits on disk and floating point in memory, for the model in the package.

This makes a file small, not a network: layers that compute with quantised weights are the subject
of `weights/quantization.py`, which says why both exist. A packed tensor `KEY` is stored as
`KEY` (uint32), `KEY.scales` and `KEY.offsets`, as `mx.quantize` makes them along the last axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import mlx.core as mx

from ..errors import CheckpointError
from ..models.config import PackingConfig

_SCALES, _OFFSETS = ".scales", ".offsets"


def pack(
    weights: Mapping[str, mx.array], packing: PackingConfig, is_packed: Callable[[str], bool]
) -> dict[str, mx.array]:
    """Pack tensors that `is_packed` selects by key and whose last axis divides into groups."""
    packed: dict[str, mx.array] = {}
    for key, value in weights.items():
        fits = value.ndim >= 2 and value.shape[-1] % packing.group_size == 0
        if not (fits and is_packed(key)):
            packed[key] = value
            continue
        codes, scales, offsets = mx.quantize(
            value.astype(mx.float32), packing.group_size, packing.bits
        )
        packed[key] = codes
        packed[key + _SCALES] = scales.astype(mx.float16)
        packed[key + _OFFSETS] = offsets.astype(mx.float16)
    return packed


def unpack(
    weights: Mapping[str, mx.array], packing: PackingConfig, dtype: mx.Dtype
) -> dict[str, mx.array]:
    """Restore the tensors that `pack` packed, up to rounding, in `dtype`.

    Raises:
        CheckpointError: parts of a packed tensor are missing or do not fit each other.
    """
    unpacked: dict[str, mx.array] = {}
    for key, value in weights.items():
        if key.endswith((_SCALES, _OFFSETS)):
            continue
        if key + _SCALES in weights:
            try:
                scales, offsets = (
                    weights[key + part].astype(mx.float32) for part in (_SCALES, _OFFSETS)
                )
                value = mx.dequantize(value, scales, offsets, packing.group_size, packing.bits)
            except (KeyError, ValueError) as error:
                raise CheckpointError(f"packed tensor {key} is damaged: {error}") from None
        # One dtype in memory, whatever each tensor's precision on the disk.
        unpacked[key] = value.astype(dtype) if mx.issubdtype(value.dtype, mx.floating) else value
    return unpacked
