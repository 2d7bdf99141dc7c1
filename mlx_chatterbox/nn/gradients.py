"""Gradients of what MLX cannot differentiate."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import mlx.core as mx


def with_gradient_of(plain: Callable[..., mx.array]) -> Callable[[Callable], Callable]:
    """Decorator: give a function of arrays the gradients of `plain`.

    Args:
        plain: takes the same arrays and computes the same by operations that MLX differentiates.
    """

    def decorate(function: Callable[..., mx.array]) -> Callable[..., mx.array]:
        called = mx.custom_function(function)

        @called.vjp
        def _(primals, cotangent, _):
            # One array comes without a tuple around it.
            arrays = [primals] if isinstance(primals, mx.array) else primals
            return mx.vjp(lambda *inputs: [plain(*inputs)], arrays, [cotangent])[1]

        # MLX's stubs let it return any object.
        return cast(Callable[..., mx.array], called)

    return decorate
