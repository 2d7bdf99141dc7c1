"""Activations: MLX's own on the GPU, fused kernels on the CPU.

MLX computes `exp`, `erf`, `tanh` and `sin` on the CPU one element at a time, at 9 to 22 ns each;
in the networks here that would cost more than the matrix products. In kernels compiled for this
processor (`cpu_kernels.py`) `exp` and `erf` take less than 1 ns. Where these cannot be used,
`mx.compile` fuses the same functions written as polynomials, which also run on vector units, with
errors of about 1e-7. Without a C++ compiler nothing can be fused, and MLX's own functions serve.

Gradients are right everywhere. At 0 MLX gives `maximum(x, 0)` none; x - min(x, 0) and
(x + |x|) / 2 are equal to it and have the right one. No `exp` can overflow, which would make its
gradient NaN.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from ..runtime import device
from .cpu_kernels import kernel, tuned_for

# Layouts: all of one shape, and a vector for each row.
_PLAIN = ((64, 48),)
_WITH_VECTOR = ((2, 64, 48), (48,))

# Beyond this exponent 1 + e^x is e^x to the last digit; its square, in gradients, is still finite.
_LARGEST_EXPONENT = 40.0

_EXPM1_SERIES = (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0)


def _polynomial(x: mx.array) -> bool:
    """Return True where the polynomials are used: float32, on a CPU whose kernels can be fused."""
    return x.dtype == mx.float32 and device.on_cpu() and device.can_compile_on_cpu()


def _expm1_of_negative(x: mx.array, squarings: int = 7) -> mx.array:
    """exp(x) - 1 for x <= 0, to 2e-7; for x / 2 with one squaring less, and so on.

    The argument is divided by 2^7, a Taylor series gives expm1 there, and
    expm1(2a) = expm1(a) (2 + expm1(a)) brings it back; in this form rounding errors do not double
    with every squaring, as those of exp itself would.
    """
    small = mx.maximum(x, -87.0) * (1 / 2**7)
    value: mx.array | float = 1 / 5040
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


@mx.compile
def _exp_polynomial(x: mx.array) -> mx.array:
    return _exp_of_negative(x)


def exp_of_negative(x: mx.array) -> mx.array:
    """exp(x) for x <= 0, to 2e-7 of a unit."""
    return scaled_exp_of_negative(x, 1.0)


def scaled_exp_of_negative(x: mx.array, scale: float) -> mx.array:
    """exp(scale * x) for x <= 0, to 2e-7 of a unit."""
    if tuned_for(x):
        return _exp_scaled_kernel(x, mx.array(scale))
    if scale != 1.0:
        x = x * scale
    return _exp_polynomial(x) if _polynomial(x) else mx.exp(x)


@mx.compile
def _gelu_polynomial(x: mx.array) -> mx.array:
    # erfc after Abramowitz and Stegun 7.1.26, absolute error at most 1.5e-7.
    a = mx.abs(x) * math.sqrt(0.5)
    t = 1.0 / (1.0 + 0.3275911 * a)
    series: mx.array | float = 1.061405429
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = series * t + coefficient
    erfc = series * t * _exp_of_negative(-a * a)
    return 0.5 * (x + mx.abs(x)) - mx.abs(x) * (0.5 * erfc)


@mx.compile
def _silu_polynomial(x: mx.array) -> mx.array:
    size = mx.abs(x)
    u = _exp_of_negative(-size)
    return 0.5 * ((x + size) + (x - size) * u) / (1.0 + u)


@mx.compile
def _gelu_approx_polynomial(x: mx.array) -> mx.array:
    # (1 + tanh(z)) / 2 is the logistic function of 2 z.
    twice = (2 * math.sqrt(2 / math.pi)) * (x + 0.044715 * x * x * x)
    u = _exp_of_negative(-mx.abs(twice))
    return mx.where(twice < 0, x * u, x) / (1.0 + u)


@mx.compile
def _mish_polynomial(x: mx.array) -> mx.array:
    # tanh(log(1 + e^x)) is rational in e^-|x|, with one form for each sign.
    u = _exp_of_negative(-mx.abs(x))
    square = u * u
    above = (1.0 + 2.0 * u) / (1.0 + 2.0 * u + 2.0 * square)
    below = (square + 2.0 * u) / (square + 2.0 * u + 2.0)
    negative = mx.minimum(x, 0.0)
    return (x - negative) * above + negative * below


@mx.compile
def _elu_polynomial(x: mx.array) -> mx.array:
    below = mx.minimum(x, 0.0)
    return x - below + _expm1_of_negative(below)


@mx.compile
def _snake_polynomial(x: mx.array, alpha: mx.array, inverse_alpha: mx.array) -> mx.array:
    # sin^2 has period pi, so the nearest multiple of pi can be subtracted, whatever its sign.
    turns = x * alpha * (1 / math.pi)
    angle = (turns - mx.round(turns)) * math.pi
    square = angle * angle
    sine: mx.array | float = -1 / 39916800
    for coefficient in (1 / 362880, -1 / 5040, 1 / 120, -1 / 6, 1.0):
        sine = sine * square + coefficient
    sine = sine * angle
    return x + inverse_alpha * (sine * sine)


@mx.compile
def _snake_exact(x: mx.array, alpha: mx.array, inverse_alpha: mx.array) -> mx.array:
    sine = mx.sin(x * alpha)
    return x + inverse_alpha * (sine * sine)


# The following kernels are for `tuned_for` alone. MLX fuses at most eleven operations in a row: a
# polynomial becomes several kernels, and each of these is one.


@kernel((_PLAIN[0], ()))
def _exp_scaled_kernel(x: mx.array, scale: mx.array) -> mx.array:
    return mx.exp(x * scale)


@kernel(_WITH_VECTOR)
def _snake_turns_kernel(x: mx.array, turns: mx.array) -> mx.array:
    return x * turns - mx.round(x * turns)


@kernel((_WITH_VECTOR[0], *_WITH_VECTOR))
def _snake_kernel(x: mx.array, turn: mx.array, inverse_alpha: mx.array) -> mx.array:
    # sin(pi t) / t for t from -1/2 to 1/2: its Taylor series to 6e-8, in pairs.
    square = turn * turn
    fourth = square * square
    c = [(-1) ** k * math.pi ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(6)]
    high = c[2] + c[3] * square + fourth * (c[4] + c[5] * square)
    sine = c[0] + c[1] * square + fourth * high
    sine = sine * turn
    return x + inverse_alpha * (sine * sine)


@kernel(_PLAIN)
def _gelu_kernel(x: mx.array) -> mx.array:
    return x * 0.5 * (1.0 + mx.erf(x * math.sqrt(0.5)))


@kernel(_PLAIN)
def _gelu_approx_kernel(x: mx.array) -> mx.array:
    # (1 + tanh(z)) / 2 is the logistic function of 2 z.
    twice = (2 * math.sqrt(2 / math.pi)) * (x + 0.044715 * x * x * x)
    return x / (1.0 + mx.exp(mx.minimum(-twice, _LARGEST_EXPONENT)))


@kernel(_PLAIN)
def _silu_kernel(x: mx.array) -> mx.array:
    return x / (1.0 + mx.exp(mx.minimum(-x, _LARGEST_EXPONENT)))


@kernel(_PLAIN * 2)
def _gated_silu_kernel(gate: mx.array, x: mx.array) -> mx.array:
    return gate / (1.0 + mx.exp(mx.minimum(-gate, _LARGEST_EXPONENT))) * x


@kernel(_PLAIN)
def _mish_kernel(x: mx.array) -> mx.array:
    u = mx.exp(-mx.abs(x))
    square = u * u
    above = (1.0 + 2.0 * u) / (1.0 + 2.0 * u + 2.0 * square)
    below = (square + 2.0 * u) / (square + 2.0 * u + 2.0)
    negative = mx.minimum(x, 0.0)
    return (x - negative) * above + negative * below


@kernel(_PLAIN)
def _elu_kernel(x: mx.array) -> mx.array:
    below = mx.minimum(x, 0.0)
    return x - below + (mx.exp(below) - 1.0)


@kernel((_WITH_VECTOR[0], (48,), (48,)))
def _scaled_relu_kernel(x: mx.array, scale: mx.array, shift: mx.array) -> mx.array:
    return mx.maximum(x * scale + shift, 0.0)


@kernel((_WITH_VECTOR[0], (48,), (48,), _WITH_VECTOR[0]))
def _scaled_sum_relu_kernel(
    x: mx.array, scale: mx.array, shift: mx.array, residual: mx.array
) -> mx.array:
    return mx.maximum(x * scale + shift + residual, 0.0)


def scaled_relu(
    x: mx.array, scale: mx.array, shift: mx.array, residual: mx.array | None = None
) -> mx.array:
    """max(x * scale + shift + residual, 0) with a scale and a shift for each channel.

    Args:
        x, residual: (..., C).
        scale, shift: (C,).
    """
    if tuned_for(x):
        # One shape for all, as the kernels were compiled for.
        rows = (1, -1, x.shape[-1])
        if residual is None:
            out = _scaled_relu_kernel(x.reshape(rows), scale, shift)
        else:
            out = _scaled_sum_relu_kernel(x.reshape(rows), scale, shift, residual.reshape(rows))
        return out.reshape(x.shape)
    out = x * scale + shift
    return nn.relu(out if residual is None else out + residual)


def gelu(x: mx.array) -> mx.array:
    """Exact (error function) GELU."""
    if tuned_for(x):
        return _gelu_kernel(x)
    return _gelu_polynomial(x) if _polynomial(x) else nn.gelu(x)


def gelu_approx(x: mx.array) -> mx.array:
    """GELU by tanh, as GPT-2 has it."""
    if tuned_for(x):
        return _gelu_approx_kernel(x)
    return _gelu_approx_polynomial(x) if _polynomial(x) else nn.gelu_approx(x)


def silu(x: mx.array) -> mx.array:
    """x * sigmoid(x), also called Swish."""
    if tuned_for(x):
        return _silu_kernel(x)
    return _silu_polynomial(x) if _polynomial(x) else nn.silu(x)


def gated_silu(gate: mx.array, x: mx.array) -> mx.array:
    """silu(gate) * x, the activation of Llama's feed-forward layers (SwiGLU)."""
    return _gated_silu_kernel(gate, x) if tuned_for(gate) else silu(gate) * x


def mish(x: mx.array) -> mx.array:
    """x * tanh(softplus(x)) (https://arxiv.org/abs/1908.08681)."""
    if tuned_for(x):
        return _mish_kernel(x)
    return _mish_polynomial(x) if _polynomial(x) else nn.mish(x)


def elu(x: mx.array) -> mx.array:
    """x where positive, else exp(x) - 1."""
    if tuned_for(x):
        return _elu_kernel(x)
    if _polynomial(x):
        return _elu_polynomial(x)
    # exp only up to 0: beyond it overflows, in float16 from 11 on, and has no gradient.
    below = mx.minimum(x, 0.0)
    return x - below + nn.elu(below)


def snake(x: mx.array, alpha: mx.array) -> mx.array:
    """x + sin(alpha x)^2 / alpha, the periodic activation of https://arxiv.org/abs/2006.08195.

    Args:
        x: (B, T, C).
        alpha: (C,), a frequency for each channel; 1e-9 keeps the division defined, as upstream.
    """
    inverse = 1.0 / (alpha + 1e-9)
    if tuned_for(x):
        return _snake_kernel(x, _snake_turns_kernel(x, alpha * (1 / math.pi)), inverse)
    return (
        _snake_polynomial(x, alpha, inverse) if _polynomial(x) else _snake_exact(x, alpha, inverse)
    )
