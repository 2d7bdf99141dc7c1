"""Norms (`nn/norm.py`): every way to compute one gives MLX's numbers and gradients."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_chatterbox.nn.norm import LayerNorm, RMSNorm

pytestmark = pytest.mark.numbers

KINDS = {"layer": (LayerNorm, nn.LayerNorm), "rms": (RMSNorm, nn.RMSNorm)}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_and_gradients_are_mlxs(kind, rows, training, rng):
    ours, theirs = KINDS[kind]
    norm, plain = ours(24), theirs(24)
    parameters = {name: mx.array(rng.normal(size=24), mx.float32) for name in norm.parameters()}
    for module in (norm, plain):
        module.update(parameters)
        module.train(training)
    x = mx.array(rng.normal(1.0, 2.0, (2, rows, 24)), mx.float32)

    def ours_loss(x, parameters):
        norm.update(parameters)
        return mx.square(norm(x)).sum()

    def plain_loss(x, parameters):
        plain.update(parameters)
        return mx.square(plain(x)).sum()

    np.testing.assert_allclose(norm(x), plain(x), atol=1e-5)
    found, wanted = (
        mx.grad(loss, argnums=(0, 1))(x, parameters) for loss in (ours_loss, plain_loss)
    )
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-3, atol=2e-4)
    for name in parameters:
        np.testing.assert_allclose(found[1][name], wanted[1][name], rtol=1e-3, atol=2e-4)
