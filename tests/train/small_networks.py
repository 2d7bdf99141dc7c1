"""Small seeded networks, made-up samples and plain training, for the tests of the tasks."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from mlx_chatterbox.train.tasks.flow import FlowTask
from mlx_chatterbox.train.tasks.t3 import T3Task
from mlx_chatterbox.weights.checkpoint import build
from tests.small import small_config


def small_networks(variant: str = "english", seed: int = 1):
    """GPT-2's 50,276 words are cut to the Llama's 704, for speed."""
    mx.random.seed(seed)
    config = small_config(variant)
    config.t3.text_tokens_dict_size = 704
    networks = build(config)
    mx.eval(networks.parameters())
    return networks


def sample(index: int, seed: int = 0, text: int = 9, speech: int = 14, prompt: int = 11) -> dict:
    """Features as the store would give them, of random contents; lengths differ by sample."""
    rng = np.random.default_rng([seed, index])
    text, speech = text + 3 * index, speech + 5 * index
    return {
        "id": f"clip{index}",
        "key": rng.integers(0, 2**32, 2, dtype=np.uint32),
        "speaker": f"speaker{index % 2}",
        "text_tokens": np.r_[255, rng.integers(1, 250, text), 0].astype(np.int32),
        "speech_tokens": rng.integers(0, 6561, speech).astype(np.int32),
        "speaker_embedding": unit(rng.random(256)),
        "xvector": rng.standard_normal(192).astype(np.float32),
        "mel": (rng.standard_normal((2 * speech, 80)) - 4).astype(np.float32),
        "prompt": {
            "speech_tokens": rng.integers(0, 6561, max(prompt - 2 * index, 0)).astype(np.int32),
            "speaker_embedding": unit(rng.random(256)),
            "xvector": rng.standard_normal(192).astype(np.float32),
        },
    }


def unit(x):
    return (x / np.linalg.norm(x)).astype(np.float32)


def small_task(name: str, variant: str = "english"):
    config = small_config(variant)
    return T3Task(config.t3, text_dropout=0.4) if name == "t3" else FlowTask(config.s3gen)


def gradients(task, networks, samples, totals=None):
    """Loss and gradients of a batch in training, by key."""
    batch = task.collate(samples)
    totals = totals or task.counts(batch)

    def loss_of(parameters):
        task.module(networks).update(parameters)
        return task.loss(networks, batch, totals)[0]

    module = task.module(networks)
    module.train()  # in evaluation two threads may share the work, each evaluating as it goes
    value, grads = mx.value_and_grad(loss_of)(module.trainable_parameters())
    mx.eval(value, grads)
    module.eval()
    return value.item(), {key: np.array(grad) for key, grad in tree_flatten(grads)}


def differences(ours: dict, theirs: dict) -> dict[str, float]:
    """Relative RMS difference by parameter; where both vanish, none."""
    assert ours.keys() == theirs.keys()
    return {
        key: float(np.linalg.norm(ours[key] - theirs[key]) / (np.linalg.norm(theirs[key]) or 1.0))
        for key in ours
    }


def train(task, networks, samples, steps: int, rate: float, extra=None) -> list[float]:
    """Plain AdamW on one batch; the losses of all steps."""
    from mlx.optimizers import AdamW

    batch = task.collate(samples)
    totals = task.counts(batch)
    modules = [task.module(networks), *([extra] if extra is not None else [])]
    optimizers = [AdamW(rate, weight_decay=0.0) for _ in modules]

    def loss_of(trees):
        for module, tree in zip(modules, trees, strict=True):
            module.update(tree)
        return task.loss(networks, batch, totals)[0]

    step = mx.value_and_grad(loss_of)
    losses = []
    for module in modules:
        module.train()
    for _ in range(steps):
        value, grads = step([module.trainable_parameters() for module in modules])
        for module, optimizer, grad in zip(modules, optimizers, grads, strict=True):
            optimizer.update(module, grad)
        mx.eval(value, [module.parameters() for module in modules], [o.state for o in optimizers])
        losses.append(value.item())
    for module in modules:
        module.eval()
    return losses


def spoken(networks, one) -> list[int]:
    """Greedy decoding of a sample's text in its own voice."""
    from mlx_chatterbox.models.t3.decoding import decode
    from mlx_chatterbox.models.t3.sampling import SamplingSettings

    t3 = networks.t3
    cond = t3.embed_conditioning(
        mx.array(one["prompt"]["speaker_embedding"])[None],
        mx.array(one["prompt"]["speech_tokens"])[None],
        0.5,
    )
    order = "penalty_last" if t3.config.is_gpt2 else "penalty_first"
    settings = SamplingSettings(
        temperature=0.0, repetition_penalty=1.0, min_p=0.0, top_p=1.0, order=order
    )
    return list(decode(t3, cond, mx.array(one["text_tokens"]), settings, 0.0, max_new_tokens=60))


def lora(**settings):
    from mlx_chatterbox.train.sections import LoraConfig

    return LoraConfig(**settings)
