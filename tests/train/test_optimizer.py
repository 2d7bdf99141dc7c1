"""AdamW, its schedules, clipping, and float16's loss scale."""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.train.optimizer import (
    LossScale,
    NotFinite,
    Optimizer,
    OptimizerSettings,
    global_norm,
    has_weight_decay,
)

pytestmark = pytest.mark.numbers


@pytest.mark.parametrize(
    ("path", "shape", "decays"),
    [
        ("t3.tfmr.q_proj.weight", (4, 4), True),
        ("a.conv.weight", (4, 3, 2), True),
        ("a.q_proj.lora_a", (4, 2), True),
        ("a.q_proj.bias", (4,), False),
        ("a.norm.weight", (4,), False),
        ("t3.text_emb.weight", (9, 4), False),
        ("t3.text_pos_emb.emb.weight", (9, 4), False),
        ("t3.cond_enc.perceiver.pre_attention_query", (1, 4, 4), True),
        ("a.pos_bias_u", (2, 4), False),
        ("a.activations.0.alpha", (1, 1, 4), False),
    ],
)
def test_weight_decay_spares_biases_norms_and_embeddings(path, shape, decays):
    assert has_weight_decay(path, mx.zeros(shape)) == decays


def test_one_update_is_adamw_by_hand():
    settings = OptimizerSettings(learning_rate=0.1, weight_decay=0.5, max_grad_norm=0.0)
    start = {"w.weight": mx.array([[1.0, -2.0], [3.0, 0.5]]), "w.bias": mx.array([1.0, 2.0])}
    optimizer = Optimizer(settings, start)
    gradients = {key: value * 0.3 for key, value in start.items()}
    for _ in range(2):
        optimizer.step(gradients, 0.1)
    for key, value in start.items():
        weight, gradient = np.array(value, np.float64), np.array(gradients[key], np.float64)
        m = v = np.zeros_like(weight)
        for step in (1, 2):
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            weight = weight * (1 - 0.1 * (0.5 if key == "w.weight" else 0.0))
            move = (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
            weight = weight - 0.1 * move
        np.testing.assert_allclose(optimizer.master[key], weight, rtol=1e-5)


def test_clipping_shortens_to_the_norm_and_reports_it_before():
    optimizer = Optimizer(OptimizerSettings(max_grad_norm=1.0), {"w": mx.zeros((2,))})
    norm, _ = optimizer.step({"w": mx.array([3.0, 4.0])}, 1e-3)
    assert norm == pytest.approx(5.0)
    assert float(global_norm({"w": optimizer.arrays["m.w"]})) == pytest.approx(0.1, rel=1e-4)


def test_float16_overflow_skips_and_halves_then_the_scale_grows(monkeypatch):
    monkeypatch.setattr(LossScale, "GROWTH_INTERVAL", 3)
    optimizer = Optimizer(OptimizerSettings(dtype="float16"), {"w": mx.ones((2, 2))})
    before = optimizer.loss_scale.value
    norm, updated = optimizer.step({"w": mx.full((2, 2), math.inf)}, 1e-3)
    assert not updated
    assert optimizer.loss_scale.value == before / 2
    assert bool((optimizer.master["w"] == 1).all())
    for _ in range(3):
        norm, updated = optimizer.step({"w": mx.full((2, 2), before / 2)}, 1e-3)
        assert updated
    assert norm == pytest.approx(2.0)
    assert optimizer.loss_scale.value == before
    assert optimizer.weights()["w"].dtype == mx.float16
    assert optimizer.master["w"].dtype == mx.float32


def test_master_weights_keep_what_float16_would_round_away():
    optimizer = Optimizer(OptimizerSettings(dtype="bfloat16"), {"w": mx.ones((1,))})
    for _ in range(100):
        optimizer.step({"w": mx.ones((1,))}, 1e-4)
    assert float(optimizer.master["w"][0]) == pytest.approx(0.99, abs=1e-4)


def test_non_finite_gradients_stop_a_float32_run():
    optimizer = Optimizer(OptimizerSettings(), {"w": mx.ones((2,))})
    with pytest.raises(NotFinite, match="learning_rate"):
        optimizer.step({"w": mx.array([math.nan, 1.0])}, 1e-3)
