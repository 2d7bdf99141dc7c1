"""Adapters, quantised bases and gradient checkpointing, on small seeded networks."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from mlx_chatterbox.errors import SettingError
from mlx_chatterbox.train.tasks.t3 import T3Task
from mlx_chatterbox.weights.checkpoint import build
from tests.small import small_config
from tests.train.small_networks import (
    gradients,
    lora,
    sample,
    small_networks,
    small_task,
    spoken,
    train,
)


@pytest.fixture(scope="module")
def learnt():
    """Weights of a T3 that was overfitted to two samples, in place of pretraining.

    Adapters leave the heads alone, so these must know the tokens already.
    """
    networks = small_networks()
    task = T3Task(networks.t3.config, text_dropout=0.0)
    train(task, networks, [sample(0), sample(1)], steps=50, rate=5e-3)
    return dict(tree_flatten(networks.parameters()))


def swapped() -> list[dict]:
    """The two samples with each other's speech."""
    one, other = sample(0), sample(1)
    return [
        {**one, "speech_tokens": other["speech_tokens"]},
        {**other, "speech_tokens": one["speech_tokens"]},
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("dora", "bits"), [(False, None), (True, None), (False, 4)])
def test_lora_learns_other_samples_by_heart_and_is_fused(learnt, dora, bits):
    from mlx_chatterbox.train.adapters import (
        adapter_weights,
        apply_lora,
        fuse,
        quantize_base,
        trainable,
    )

    networks = small_networks()
    networks.update(tree_unflatten(list(learnt.items())))
    task = T3Task(networks.t3.config, text_dropout=0.0)
    before = dict(tree_flatten(networks.parameters()))
    if bits is not None:
        assert len(quantize_base(networks, "t3", bits)) == 2 * 6  # down_proj is 96 wide
    paths = apply_lora(networks, "t3", lora(rank=16, alpha=32.0, dora=dora))
    assert len(paths) == 2 * 7
    trained = trainable(networks, [networks.t3])
    assert trained.keys() == adapter_weights(networks).keys()
    assert len(trained) == len(paths) * (3 if dora else 2)
    samples = swapped()
    losses = train(task, networks, samples, steps=80, rate=2e-3)
    assert losses[-1] < losses[0] / 10, losses[::5]
    for one in samples:
        assert spoken(networks, one) == one["speech_tokens"].tolist()
    batch = task.collate(samples)
    adapted = task.loss(networks, batch, task.counts(batch))[0].item()
    fuse(networks)
    after = dict(tree_flatten(networks.parameters()))
    assert after.keys() == before.keys()
    for key, value in after.items():
        assert (value.shape, value.dtype) == (before[key].shape, before[key].dtype)
    assert task.loss(networks, batch, task.counts(batch))[0].item() == pytest.approx(
        adapted, rel=2e-3, abs=2e-4
    )
    untouched = [key for key in before if "tfmr" not in key or "norm" in key]
    assert all(mx.array_equal(before[key], after[key]) for key in untouched)


def test_fusing_into_the_original_weights_loses_nothing_to_the_quantised():
    from mlx_chatterbox.train.adapters import apply_lora, fuse, quantize_base

    networks = small_networks()
    original = dict(tree_flatten(networks.parameters()))
    quantize_base(networks, "t3", 4)
    apply_lora(networks, "t3", lora())
    fuse(networks, original)
    after = dict(tree_flatten(networks.parameters()))
    assert all(mx.array_equal(original[key], after[key]) for key in original)


@pytest.mark.numbers
@pytest.mark.parametrize("component", ["t3", "flow"])
@pytest.mark.parametrize("dora", [False, True])
def test_new_adapters_change_nothing(component, dora):
    from mlx_chatterbox.train.adapters import apply_lora

    networks, task = small_networks(), small_task(component)
    batch = task.collate([sample(0), sample(1)])
    before = task.loss(networks, batch, task.counts(batch))[0].item()
    assert apply_lora(networks, component, lora(dora=dora, dropout=0.5))
    after = task.loss(networks, batch, task.counts(batch))[0].item()
    assert after == pytest.approx(before, rel=1e-6)


@pytest.mark.numbers
def test_adapters_dropout_comes_from_the_samples_keys():
    """Dropout is the same in any batch, off in evaluation, and different for another key."""
    from mlx_chatterbox.train.adapters import apply_lora, trainable

    networks, task = small_networks(), T3Task(small_config().t3, text_dropout=0.0)
    apply_lora(networks, "t3", lora(dropout=0.3))
    for path, part in networks.t3.named_modules():
        if "lora_b" in part:
            part.lora_b = mx.random.normal(part.lora_b.shape, key=mx.random.key(len(path))) * 0.2
    trainable(networks, [networks.t3])
    samples = [sample(0), sample(2)]
    batch = task.collate(samples)
    totals = task.counts(batch)
    still = task.loss(networks.eval(), batch, totals)[0].item()
    whole, _ = gradients(task, networks, samples, totals)
    assert whole != pytest.approx(still, rel=1e-4)
    apart = [gradients(task, networks, [one], totals)[0] for one in samples]
    assert sum(apart) == pytest.approx(whole, rel=1e-6)
    other = [{**samples[0], "key": np.array([1, 2], np.uint32)}, samples[1]]
    assert gradients(task, networks, other, totals)[0] != pytest.approx(whole, rel=1e-4)


def test_keyed_dropout_drops_its_share():
    from mlx_chatterbox.train.adapters import KeyedDropout, _Keys

    source = _Keys()
    source.keys = mx.array(np.array([[1, 2], [3, 4]], dtype=np.uint32))
    dropped = np.array(KeyedDropout(0.3, 11, source)(mx.ones((2, 200, 100))))
    assert np.unique(dropped).tolist() == pytest.approx([0.0, 1 / 0.7])
    assert (dropped == 0).mean() == pytest.approx(0.3, abs=0.01)
    zeros = dropped == 0
    assert (zeros[0] & zeros[1]).mean() == pytest.approx(0.09, abs=0.01)
    assert (zeros[:, 1:] & zeros[:, :-1]).mean() == pytest.approx(0.09, abs=0.01)


def test_targets_and_layers_are_chosen_by_name():
    from mlx_chatterbox.train.adapters import targets

    networks = small_networks()
    chosen = targets(networks, "t3", lora(targets=["q_proj"], layers=1))
    assert [path for path, _ in chosen] == ["tfmr.model.layers.1.self_attn.q_proj"]
    with pytest.raises(SettingError, match="ends in query"):
        targets(networks, "t3", lora(targets=["query"]))
    with pytest.raises(SettingError, match="train vocoder in full"):
        targets(networks, "vocoder", lora())
    assert len(targets(small_networks("nano"), "t3", lora())) == 2 * 4


def test_only_what_is_asked_for_is_trained():
    from mlx_chatterbox.train.adapters import apply_lora, quantize_base, trainable

    networks = small_networks()
    keys = trainable(networks, [networks.s3gen.flow])
    assert keys
    assert all(key.startswith("s3gen.flow.") for key in keys)
    apply_lora(networks, "t3", lora(targets=["q_proj"]))
    keys = trainable(networks, [networks.t3], also=["t3.text_emb.weight"])
    assert {key.rsplit(".", 1)[1] for key in keys} == {"lora_a", "lora_b", "weight"}
    assert len(keys) == 5
    with pytest.raises(SettingError, match="nothing is left"):
        trainable(networks, [])
    quantised = small_networks()
    quantize_base(quantised, "t3", 8)
    with pytest.raises(SettingError, match="add `lora`"):
        trainable(quantised, [quantised.t3])


# --- Gradient checkpointing --------------------------------------------------------------------


@pytest.mark.numbers
@pytest.mark.parametrize(
    ("variant", "name"), [("english", "t3"), ("nano", "t3"), ("english", "flow")]
)
@pytest.mark.parametrize("adapted", [False, True])
def test_checkpointing_keeps_the_gradients(variant, name, adapted):
    from mlx_chatterbox.train import checkpointing
    from mlx_chatterbox.train.adapters import apply_lora, trainable

    networks, task = small_networks(variant), small_task(name, variant)
    module, samples = task.module(networks), [sample(0), sample(1)]
    if adapted:
        apply_lora(networks, name, lora(dropout=0.2))
        for part in module.modules():
            if "lora_b" in part:
                part.lora_b = part.lora_b + 0.1
    trainable(networks, [module])
    module.train()
    value, expected = gradients(task, networks, samples)
    keys = [key for key, _ in tree_flatten(module.parameters())]
    assert checkpointing.enable(module) >= 2
    assert [key for key, _ in tree_flatten(module.parameters())] == keys
    again, grads = gradients(task, networks, samples)
    assert again == pytest.approx(value, rel=1e-6)
    largest = max(np.abs(grad).max() for grad in expected.values())
    for key, grad in grads.items():
        assert np.allclose(grad, expected[key], rtol=1e-4, atol=1e-6 * largest), key
    checkpointing.disable(module)
    assert gradients(task, networks, samples)[0] == pytest.approx(value, rel=1e-6)


def test_checkpointing_saves_memory():
    from mlx_chatterbox.train import checkpointing

    config = small_config()
    config.t3.num_hidden_layers = 8
    networks = build(config)
    mx.eval(networks.t3.parameters())
    task = T3Task(config.t3, text_dropout=0.0)
    samples = [sample(0, text=240, speech=240)]
    networks.t3.train()

    def peak() -> int:
        gradients(task, networks, samples)
        mx.clear_cache()
        mx.reset_peak_memory()
        held = mx.get_active_memory()
        gradients(task, networks, samples)
        return mx.get_peak_memory() - held

    kept = peak()
    checkpointing.enable(networks.t3)
    assert peak() < 0.6 * kept
