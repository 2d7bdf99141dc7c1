"""Activations: MLX's own on the GPU, polynomials on the CPU.

MLX computes `exp`, `erf`, `tanh` and `sin` on the CPU one element at a time, at 9 to 22 ns each;
in the networks here that would cost more than the matrix products. The same functions written in
multiplications and additions are fused by `mx.compile` and run on vector units, several times
faster, to about 1e-7 of a unit. Without a C++ compiler nothing can be fused, and MLX's own serve.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from .device import can_compile_on_cpu, on_cpu

# Not `shapeless`: then even the constants are broadcast at run time, by strides, which nothing can
# vectorise and which is ten times slower. A new shape costs a retrace of about a millisecond.
_fuse = mx.compile

_EXPM1_SERIES = (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0)


def _polynomial(x: mx.array) -> bool:
    """Whether the polynomials serve: they need float32, and half precision has other devices."""
    return x.dtype == mx.float32 and on_cpu() and can_compile_on_cpu()


def _expm1_of_negative(x: mx.array, squarings: int = 7) -> mx.array:
    """exp(x) - 1 for x <= 0, to 2e-7; for x / 2 with one squaring less, and so on.

    The argument is divided by 2^7, a Taylor series gives expm1 there, and
    expm1(2a) = expm1(a) (2 + expm1(a)) brings it back; in this form rounding errors do not double
    with every squaring, as those of exp itself would.
    """
    small = mx.maximum(x, -87.0) * (1 / 2**7)
    value = 1 / 5040
    for coefficient in _EXPM1_SERIES:
        value = value * small + coefficient
    value = value * small
    for _ in range(squarings):
        value = value * (2.0 + value)
    return value


def _exp_of_negative(x: mx.array) -> mx.array:
    """exp(x) for x <= 0, to 2e-7.

    The last squaring is that of exp itself: what rounding leaves of 1 + expm1 far below zero,
    6e-8, is squared away with it, and masked scores come out as nothing.
    """
    root = 1.0 + _expm1_of_negative(x, squarings=6)
    return root * root


@_fuse
def _exp_polynomial(x: mx.array) -> mx.array:
    return _exp_of_negative(x)


def exp_of_negative(x: mx.array) -> mx.array:
    """exp(x) for x <= 0, to 2e-7 of a unit."""
    return _exp_polynomial(x) if _polynomial(x) else mx.exp(x)


@_fuse
def _gelu_polynomial(x: mx.array) -> mx.array:
    # erfc after Abramowitz and Stegun 7.1.26, absolute error at most 1.5e-7.
    a = mx.abs(x) * math.sqrt(0.5)
    t = 1.0 / (1.0 + 0.3275911 * a)
    series = 1.061405429
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = series * t + coefficient
    erfc = series * t * _exp_of_negative(-a * a)
    return mx.maximum(x, 0.0) - mx.abs(x) * (0.5 * erfc)


@_fuse
def _silu_polynomial(x: mx.array) -> mx.array:
    u = _exp_of_negative(-mx.abs(x))
    return (mx.maximum(x, 0.0) + mx.minimum(x, 0.0) * u) / (1.0 + u)


@_fuse
def _gelu_approx_polynomial(x: mx.array) -> mx.array:
    # (1 + tanh(z)) / 2 is the logistic function of 2 z.
    twice = (2 * math.sqrt(2 / math.pi)) * (x + 0.044715 * x * x * x)
    u = _exp_of_negative(-mx.abs(twice))
    return mx.where(twice < 0, x * u, x) / (1.0 + u)


@_fuse
def _mish_polynomial(x: mx.array) -> mx.array:
    # tanh(log(1 + e^x)) is rational in e^-|x|, with one form for each sign.
    u = _exp_of_negative(-mx.abs(x))
    square = u * u
    above = (1.0 + 2.0 * u) / (1.0 + 2.0 * u + 2.0 * square)
    below = (square + 2.0 * u) / (square + 2.0 * u + 2.0)
    return mx.maximum(x, 0.0) * above + mx.minimum(x, 0.0) * below


@_fuse
def _elu_polynomial(x: mx.array) -> mx.array:
    return mx.maximum(x, 0.0) + _expm1_of_negative(mx.minimum(x, 0.0))


@_fuse
def _snake_polynomial(x: mx.array, alpha: mx.array, inverse_alpha: mx.array) -> mx.array:
    # sin^2 has period pi, so the nearest multiple of pi can be taken off without minding its sign.
    turns = x * alpha * (1 / math.pi)
    angle = (turns - mx.round(turns)) * math.pi
    square = angle * angle
    sine = -1 / 39916800
    for coefficient in (1 / 362880, -1 / 5040, 1 / 120, -1 / 6, 1.0):
        sine = sine * square + coefficient
    sine = sine * angle
    return x + inverse_alpha * (sine * sine)


@_fuse
def _snake_exact(x: mx.array, alpha: mx.array, inverse_alpha: mx.array) -> mx.array:
    sine = mx.sin(x * alpha)
    return x + inverse_alpha * (sine * sine)


def gelu(x: mx.array) -> mx.array:
    """Exact (error function) GELU."""
    return _gelu_polynomial(x) if _polynomial(x) else nn.gelu(x)


def gelu_approx(x: mx.array) -> mx.array:
    """GELU by tanh, as GPT-2 has it."""
    return _gelu_approx_polynomial(x) if _polynomial(x) else nn.gelu_approx(x)


def silu(x: mx.array) -> mx.array:
    """x * sigmoid(x), also called Swish."""
    return _silu_polynomial(x) if _polynomial(x) else nn.silu(x)


def mish(x: mx.array) -> mx.array:
    """x * tanh(softplus(x)) (https://arxiv.org/abs/1908.08681)."""
    return _mish_polynomial(x) if _polynomial(x) else nn.mish(x)


def elu(x: mx.array) -> mx.array:
    """x where positive, else exp(x) - 1."""
    return _elu_polynomial(x) if _polynomial(x) else nn.elu(x)


def snake(x: mx.array, alpha: mx.array) -> mx.array:
    """x + sin(alpha x)^2 / alpha, the periodic activation of https://arxiv.org/abs/2006.08195.

    Args:
        x: (B, T, C).
        alpha: (C,), a frequency for each channel; 1e-9 keeps the division defined, as upstream.
    """
    inverse = 1.0 / (alpha + 1e-9)
    return (
        _snake_polynomial(x, alpha, inverse) if _polynomial(x) else _snake_exact(x, alpha, inverse)
    )
