"""The training loop with T3 and the flow, small."""

from __future__ import annotations

import shutil

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.train.samples import Samples
from mlx_chatterbox.train.trainer import Trainer
from tests.train.stub import StubPlan, assert_close, lines_of, stub_config


@pytest.fixture(scope="module")
def clips():
    """Samples of T3 and the flow, made of numbers instead of recordings."""
    rng = np.random.default_rng(0)
    samples = []
    for index in range(12):
        count = 16 + index
        samples.append(
            {
                "id": str(index),
                "speech_tokens": rng.integers(0, 40, count).astype(np.int32),
                "text_tokens": np.array([255, *rng.integers(20, 40, 6), 0], np.int32),
                "speaker_embedding": rng.standard_normal(256).astype(np.float32) / 16,
                "xvector": rng.standard_normal(192).astype(np.float32),
                "mel": np.tile(np.linspace(-2, 2, 80, dtype=np.float32), (2 * count, 1)),
                "prompt": {},
            }
        )
    return samples


def real_trainer(folder, checkpoint, clips, names=("t3", "flow"), **training) -> Trainer:
    from mlx_chatterbox.train import adapters
    from mlx_chatterbox.train.components import make_tasks
    from mlx_chatterbox.train.sections import LoraConfig

    lora = training.pop("lora", False)
    config = stub_config(
        folder,
        **{
            "num_train_epochs": 4,
            "learning_rate": 3e-3,
            "lr_scheduler_type": "constant",
            "eval_steps": 7,
            "save_steps": 4,
            "condition_dropout": 0.0,
            "text_dropout": 0.0,
            **training,
        },
    )
    config.model.lora = LoraConfig(rank=4, dropout=0.1) if lora else None
    config.model.freeze_components = [name for name in ("t3", "flow") if name not in names]
    tasks = make_tasks(config, checkpoint.config)
    if lora:
        for task in tasks:
            adapters.apply_lora(checkpoint.networks, task.name, config.model.lora)
    adapters.trainable(checkpoint.networks, [task.module(checkpoint.networks) for task in tasks])
    return Trainer(
        config,
        checkpoint.networks,
        tasks,
        Samples(StubPlan(range(10), 4, 0), lambda index, key: clips[index]),
        Samples(StubPlan([10, 11], 2, 0), lambda index, key: clips[index]),
    )


@pytest.mark.parametrize(
    "training", [{}, {"lora": True}, pytest.param({"bf16": True}, marks=pytest.mark.slow)]
)
def test_t3_and_flow_learn_and_resume_exactly(tmp_path, small_models, clips, training):
    from mlx_chatterbox.weights.checkpoint import load_converted

    base = small_models("english")
    real_trainer(tmp_path / "a", load_converted(base), clips, **training).fit()
    lines = [line for line in lines_of(tmp_path / "a") if "clips" in line]
    for name in ("train_t3_loss", "train_flow_loss", "train_speech_loss"):
        assert lines[-1][name] < (0.98 if training.get("lora") else 0.8) * lines[0][name]
    again = tmp_path / "b"
    shutil.copytree(tmp_path / "a", again, symlinks=True)
    trainer = real_trainer(again, load_converted(base), clips, **training)
    trainer.resume(again / "checkpoint-8")
    trainer.fit()
    assert lines_of(again) == lines_of(tmp_path / "a")


def test_adapters_are_all_that_is_saved(tmp_path, small_models, clips):
    from mlx_chatterbox.weights.checkpoint import load_converted

    checkpoint = load_converted(small_models("english"))
    real_trainer(tmp_path, checkpoint, clips, lora=True, max_steps=2).fit()
    saved = mx.load(str(tmp_path / "last" / "adapters.safetensors"))
    assert saved
    assert all(key.rpartition(".")[2] in ("lora_a", "lora_b") for key in saved)


@pytest.mark.numbers
def test_real_micro_batches_equal_one_batch(tmp_path, small_models, clips):
    """Dropout in the adapters is included: it is the sample's own."""
    from mlx_chatterbox.weights.checkpoint import load_converted

    for name, size, steps in (("whole", 4, 1), ("parts", 1, 4)):
        sizes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
        checkpoint = load_converted(small_models("english"))
        real_trainer(tmp_path / name, checkpoint, clips, lora=True, max_steps=3, **sizes).fit()
    assert_close(tmp_path / "parts", tmp_path / "whole", 1e-4)


def test_nothing_is_dropped_in_an_evaluation(tmp_path, small_models, clips):
    """Text, condition and the adapters' inputs, of which training drops all or half here."""
    from mlx_chatterbox.train.adapters import KeyedDropout
    from mlx_chatterbox.weights.checkpoint import load_converted

    found = []
    for share, adapters_share in ((1.0, 0.5), (0.0, 0.0)):
        checkpoint = load_converted(small_models("english"))
        dropouts = {"text_dropout": share, "condition_dropout": share}
        trainer = real_trainer(tmp_path / str(share), checkpoint, clips, lora=True, **dropouts)
        for path, part in checkpoint.networks.named_modules():
            if "lora_b" in part:
                key = mx.random.key(len(path))
                part.lora_b = 0.2 * mx.random.normal(part.lora_b.shape, key=key)
            if isinstance(part, KeyedDropout):
                part._p = adapters_share
        assert trainer.tasks[0].task.text_dropout == share
        found.append([trainer.judge(trained) for trained in trainer.tasks])
    assert found[0] == found[1]
    assert found[0][0]["text"] > 0


@pytest.mark.parametrize("options", [[], ["--checkpointing", "--bits", "4", "--batch", "2"]])
def test_a_steps_benchmark(small_checkpoint, capsys, options):
    from benchmarks.training import main

    settings = ["--steps", "2", "--speech", "20", "--text", "8", "--rank", "2"]
    assert main(["--model", str(small_checkpoint), *settings, *options]) == 0
    out = capsys.readouterr().out
    assert "x 20 speech tokens" in out
    assert f"checkpointing {'on' if options else 'off'}: median" in out
