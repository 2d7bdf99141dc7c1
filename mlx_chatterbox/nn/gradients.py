"""Gradients of what MLX cannot differentiate."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx


def with_gradient_of(plain: Callable[..., mx.array]) -> Callable[[Callable], Callable]:
    """Decorator of a function of arrays: its gradients are those of another way to compute it.

    Args:
        plain: takes the same arrays.
    """

    def decorate(function: Callable[..., mx.array]) -> Callable[..., mx.array]:
        called = mx.custom_function(function)

        @called.vjp
        def _(primals, cotangent, _):
            # One array comes without a tuple around it.
            arrays = [primals] if isinstance(primals, mx.array) else primals
            return mx.vjp(lambda *given: [plain(*given)], arrays, [cotangent])[1]

        return called

    return decorate
