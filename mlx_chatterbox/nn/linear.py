"""Linear layers that are quick for a few rows too, as in decoding.

A decoding step multiplies two rows, or a few, by every weight of the network, and takes as long as
reading the weights does. OpenBLAS first copies a weight into the order its kernels want, which
costs as much again. Its kernels for small matrices, which it has for processors with AVX-512, do
not copy, but serve products under a size and work on one thread. So there the weight is taken in
blocks under that size (a view, nothing is moved), half of them on a second stream: two rows through
2 GB of weights take 109 ms instead of 191, sixteen 224 instead of 243. On any other processor or
device a product is a product.
"""

from __future__ import annotations

import threading
from functools import cache

import mlx.core as mx
import mlx.nn as nn

from .._linux_cpu import blas_core
from .device import on_cpu

# OpenBLAS's cores with kernels for small matrices, and the largest products these take
# (`kernel/x86_64/sgemm_small_kernel_permit_skylakex.c`): rows * columns * depth, rows * columns.
_SMALL_KERNEL_CORES = ("skylakex", "cooperlake", "sapphirerapids")
_LARGEST_PRODUCT = 10**6
_LARGEST_RESULT = 1200
# Beyond, the copy is shared by so many rows that the ordinary kernels win.
_FEW_ROWS = 16

_local = threading.local()


@cache
def _has_small_kernels() -> bool:
    return blas_core().lower() in _SMALL_KERNEL_CORES


def _second_stream() -> mx.Stream:
    """A CPU stream beside the default one; streams belong to the thread that made them."""
    if not hasattr(_local, "stream"):
        _local.stream = mx.new_stream(mx.cpu)
    return _local.stream


def _block(rows: int, depth: int, columns: int) -> int:
    """Columns in a block, or 0 where blocks do not serve."""
    largest = min(_LARGEST_PRODUCT // (rows * depth), _LARGEST_RESULT // rows)
    block = 1 << max(largest, 1).bit_length() - 1
    block = min(block, columns & -columns)
    return block if 16 <= block < columns else 0


def _in_blocks(x: mx.array, weight: mx.array) -> mx.array | None:
    """x (rows, depth) by weight (columns, depth), transposed; None where blocks do not serve."""
    columns, depth = weight.shape
    rows = x.shape[0]
    # What does not divide into blocks, such as a vocabulary of 8194, is done apart.
    even = columns // 256 * 256
    block = _block(rows, depth, even) if even else 0
    if not block:
        return None
    blocks = weight[:even].reshape(even // block, block, depth).swapaxes(1, 2)
    half = blocks.shape[0] // 2
    second = mx.matmul(x[None], blocks[half:], stream=_second_stream())
    out = mx.concatenate([x[None] @ blocks[:half], second])
    out = out.transpose(1, 0, 2).reshape(rows, even)
    if even < columns:
        out = mx.concatenate([out, x @ weight[even:].T], axis=-1)
    return out


def linear(x: mx.array, weight: mx.array, bias: mx.array | None = None) -> mx.array:
    """x (..., depth) by weight (columns, depth), transposed, plus bias (columns,)."""
    rows = x.size // x.shape[-1]
    if rows <= _FEW_ROWS and x.dtype == mx.float32 and on_cpu() and _has_small_kernels():
        out = _in_blocks(x.reshape(rows, x.shape[-1]), weight)
        if out is not None:
            out = out if bias is None else out + bias
            return out.reshape(*x.shape[:-1], weight.shape[0])
    return x @ weight.T if bias is None else mx.addmm(bias, x, weight.T)


class Linear(nn.Linear):
    """`nn.Linear` through `linear`; `nn.quantize` takes it as it takes that."""

    def __call__(self, x: mx.array) -> mx.array:
        """(..., input) to (..., output)."""
        return linear(x, self.weight, self.bias if "bias" in self else None)
