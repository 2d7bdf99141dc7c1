"""Rounding that depends on the company, as some machine's might.

Whether the last digit of a product depends on the number of its rows, on a row's place among them
or on what an attention is padded with is up to the BLAS, the GPU and the shapes; a machine on which
it does not would let a broken engine pass. Here it does: each product, softmax and attention is
nudged by a unit in the last place, up, down or not at all, by a hash of all that is not the row's
own.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache

import mlx.core as mx
import numpy as np

from mlx_chatterbox.models.decoder.native_step import MOST_ROWS, NativeStep
from mlx_chatterbox.nn import attention

from ..taps.replacing import replaced

_UNITS = {mx.float32: 2.0**-23, mx.float16: 2.0**-10, mx.bfloat16: 2.0**-7}
# An odd number of 32 bits, by which to multiply scatters all bits.
_ODD = 2654435761


def nudge(result: mx.array, depth: int, places: bool) -> mx.array:
    """Nudge a result (..., N) by a hash of the number of its rows, a row's place, N and `depth`.

    Args:
        places: False leaves a row's place out of it.
    """
    if result.dtype not in _UNITS or result.ndim < 2:
        return result
    rows, columns = math.prod(result.shape[:-1]), result.shape[-1]
    factors = mx.array(_factors(rows, columns, depth, places, _UNITS[result.dtype]))
    if places:
        factors = factors.reshape(result.shape)
    return (result * factors).astype(result.dtype)


@lru_cache(maxsize=256)
def _factors(rows: int, columns: int, depth: int, places: bool, unit: float) -> np.ndarray:
    """Factors (rows, columns), or (columns,) for all rows; each 1, or a unit more or less."""
    draw = np.random.default_rng([rows, columns, depth])
    steps = draw.integers(0, 3, columns, np.int8)
    if places:
        steps = (steps + draw.integers(0, 3, (rows, 1), np.int8)) % 3
    return (1.0 + unit * (steps - 1.0)).astype(np.float32)


def nudge_by_padding(result: mx.array, bias: mx.array | None) -> mx.array:
    """Nudge an attention (B, H, T, D) by a hash of the masked slots before and after the others."""
    unit = _UNITS.get(result.dtype)
    if unit is None or bias is None:
        return result
    seen = (bias > -1.0).astype(mx.uint32)
    first = mx.argmax(seen, axis=-1, keepdims=True).astype(mx.uint32)
    mixed = _ODD * (first + 8191 * seen.sum(axis=-1, keepdims=True).astype(mx.uint32))
    step = ((mixed >> 12) % 3).astype(mx.float32)
    return (result * (1.0 + unit * (step - 1.0))).astype(result.dtype)


@contextmanager
def nudged(places: bool = True) -> Iterator[None]:
    """Nudge what MLX computes until the block ends, and products of too many rows in C.

    Networks whose step was compiled before would not be nudged: make new ones, and drop them.

    Args:
        places: False leaves a row's place out of it, so that results depend on the number of rows
            and on padding alone, and a step of a fixed number of rows can be invariant.
    """

    def product(function: Callable) -> Callable:
        def multiplied(left, right, *others, **settings):
            return nudge(function(left, right, *others, **settings), left.shape[-1], places)

        return multiplied

    def addmm(added, left, right, *others, **settings):
        return nudge(plain_addmm(added, left, right, *others, **settings), left.shape[-1], places)

    def softmax(array, *others, **settings):
        return nudge(plain_softmax(array, *others, **settings), 0, places)

    def fused(queries, keys, values, *, scale, mask=None, **settings):
        result = plain_fused(queries, keys, values, scale=scale, mask=mask, **settings)
        return nudge(result, keys.shape[-2], places)

    def attend(queries, keys, values, scale, bias=None):
        return nudge_by_padding(plain_attend(queries, keys, values, scale, bias), bias)

    def native_step(step, tokens, *others, **settings):
        logits, hidden = plain_native_step(step, tokens, *others, **settings)
        if len(tokens) <= MOST_ROWS:
            return logits, hidden
        return np.array(nudge(mx.array(logits), 0, places)), hidden

    plain_addmm, plain_softmax, plain_fused = mx.addmm, mx.softmax, _fused_attention()
    plain_attend, plain_native_step = attention.attend, NativeStep.__call__
    with ExitStack() as stack:
        for owner, name, value in (
            (mx.array, "__matmul__", product(mx.array.__matmul__)),
            (mx, "matmul", product(mx.matmul)),
            (mx, "quantized_matmul", product(mx.quantized_matmul)),
            (mx, "addmm", addmm),
            (mx, "softmax", softmax),
            (mx.fast, "scaled_dot_product_attention", fused),
            (NativeStep, "__call__", native_step),
            *((module, "attend", attend) for module in _modules_with(plain_attend)),
        ):
            stack.enter_context(replaced(owner, name, value))
        yield


def _fused_attention() -> Callable:
    return mx.fast.scaled_dot_product_attention


def _modules_with(function: Callable) -> list:
    """Modules of the library that know a function by its own name."""
    return [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("mlx_chatterbox.") and vars(module).get("attend") is function
    ]
