"""A training run that takes a second: a regression in place of a network, for tests of the engine.

As a program: `python -m tests.train.stub SETTINGS`, settings as JSON; see `main`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import mlx_chatterbox  # noqa: F401  (before mlx.core: a program's BLAS must be the tests' own)

# isort: split

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_chatterbox.train.config import TrainConfig
from mlx_chatterbox.train.metrics import TIMINGS, read_metrics
from mlx_chatterbox.train.samples import Samples
from mlx_chatterbox.train.trainer import Trainer

WIDTH, CLIPS = 6, 23


class StubNetworks(nn.Module):
    def __init__(self, seed: int = 0):
        super().__init__()
        keys = mx.random.split(mx.random.key(seed), 3)
        self.body = nn.Sequential(nn.Linear(WIDTH, 8), nn.RMSNorm(8), nn.Linear(8, 2))
        self.other = nn.Linear(WIDTH, 2)
        for key, layer in zip(keys, (*self.body.layers[::2], self.other), strict=True):
            layer.weight = 0.3 * mx.random.normal(layer.weight.shape, key=key)
            layer.bias = mx.zeros_like(layer.bias)


class StubTask:
    """Least squares over rows of different lengths, with noise from the sample's key."""

    features = frozenset({"x"})

    def __init__(self, name: str = "body"):
        self.name = name
        self.head = nn.Linear(2, 2)
        self.head.weight = mx.eye(2)
        self.head.bias = mx.zeros((2,))

    def module(self, networks):
        return getattr(networks, self.name)

    def extra_module(self, networks):
        return self.head if self.name == "body" else None

    def for_evaluation(self):
        return self

    def collate(self, samples):
        longest = max(len(sample["x"]) for sample in samples)
        x = np.zeros((len(samples), longest, WIDTH), np.float32)
        mask = np.zeros((len(samples), longest), np.float32)
        for row, sample in enumerate(samples):
            noise = np.random.default_rng(sample["key"]).standard_normal(sample["x"].shape)
            x[row, : len(sample["x"])] = sample["x"] + 0.01 * noise
            mask[row, : len(sample["x"])] = 1
        return {"x": mx.array(x), "mask": mx.array(mask)}

    def counts(self, batch):
        return {"left": float(np.array(batch["mask"]).sum()), "right": batch["x"].shape[0]}

    def loss(self, networks, batch, totals):
        dtype = self.head.weight.dtype if self.name == "body" else networks.other.weight.dtype
        x, mask = batch["x"].astype(dtype), batch["mask"]
        y = self.module(networks)(x)
        if self.name == "body":
            y = self.head(y)
        error = (y.astype(mx.float32) - batch["x"][..., :2]) ** 2
        left = (error[..., 0] * mask).sum() / totals["left"]
        right = (error[:, 0, 1]).sum() / totals["right"]
        return left + right, {"left": left, "right": right}


class StubPlan:
    def __init__(self, clips, size: int, seed: int):
        self._clips, self._size, self._seed = list(clips), size, seed

    def epoch(self, epoch: int):
        order = np.random.default_rng((self._seed, epoch)).permutation(self._clips).tolist()
        return [order[i : i + self._size] for i in range(0, len(order), self._size)]


def clip(index: int, key) -> dict:
    x = np.random.default_rng(index).standard_normal((3 + index % 5, WIDTH)).astype(np.float32)
    return {"x": x, "speech_tokens": np.zeros(len(x), np.int32)}


def stub_config(folder, **training) -> TrainConfig:
    config = TrainConfig()
    config.training.output_dir = str(folder)
    usual = {
        "num_train_epochs": 4,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 3,
        "logging_steps": 2,
        "eval_steps": 5,
        "save_steps": 3,
        "spoken_samples": False,
    }
    for name, value in {**usual, **training}.items():
        assert hasattr(config.training, name), name
        setattr(config.training, name, value)
    return config


def stub_trainer(config, tasks=("body",), group=None, networks=None, speakers=()) -> Trainer:
    size = config.training.per_device_train_batch_size * config.training.gradient_accumulation_steps
    size *= group.size if group is not None else 1
    return Trainer(
        config,
        networks or StubNetworks(),
        [StubTask(name) for name in tasks],
        Samples(StubPlan(range(CLIPS), size, config.seed), clip),
        Samples(StubPlan(range(CLIPS, CLIPS + 7), 3, 0), clip),
        group,
        speakers=speakers,
    )


def lines_of(folder) -> list[dict]:
    """Lines of the log, without figures that depend on the machine."""
    lines = read_metrics(Path(folder) / "metrics.jsonl")
    return [{k: v for k, v in line.items() if k not in TIMINGS} for line in lines]


def run(folder, *tasks, **training):
    trainer = stub_trainer(stub_config(folder, **training), tasks or ("body",))
    trainer.fit()
    return trainer


def assert_close(folder, other, tolerance: float = 1e-5) -> None:
    ours, theirs = lines_of(folder), lines_of(other)
    assert len(ours) == len(theirs) > 0
    for one, two in zip(ours, theirs, strict=True):
        assert one.keys() == two.keys()
        for key in one:
            assert one[key] == pytest.approx(two[key], rel=tolerance, abs=1e-7), key


def die_at(call: int) -> None:
    """Kill this process, by SIGKILL, at the n-th step of saving."""
    from mlx_chatterbox.train import state

    left = [call]

    def counted(function):
        def wrapped(*arguments, **settings):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **settings)

        return wrapped

    state.sync = counted(state.sync)
    state.mx.save_safetensors = counted(mx.save_safetensors)
    state.save_config = counted(state.save_config)
    state.link = counted(state.link)
    state.shutil.rmtree = counted(state.shutil.rmtree)
    state.os.rename = counted(os.rename)


def main() -> None:
    """Run or resume.

    Settings: `folder`; `training` (keys of that section); `tasks`; `resume`; `die_at`;
    `announce`: print each clip that is read, slowly enough to be killed in between;
    `distributed`: join the machines.
    """
    settings = json.loads(sys.argv[1])
    group = None
    if settings.get("distributed"):
        from mlx_chatterbox.train.distributed import Group

        group = Group.start()
        assert group.size == settings["distributed"]
    if settings.get("announce"):
        global clip
        quiet = clip

        def clip(index, key):
            print(index, flush=True)
            return quiet(index, key)

    if settings.get("die_at"):
        die_at(settings["die_at"])
    config = stub_config(Path(settings["folder"]), **settings.get("training", {}))
    trainer = stub_trainer(config, settings.get("tasks", ["body"]), group)
    if settings.get("resume"):
        trainer.resume(settings["folder"])
    trainer.fit()


if __name__ == "__main__":
    main()
