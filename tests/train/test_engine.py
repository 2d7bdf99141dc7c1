"""The training engine, on a regression that stands for a network (`tests/train/stub.py`)."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.train.metrics import Metrics, MissingExtra, read_metrics
from mlx_chatterbox.train.samples import TrainingError, sample_key
from mlx_chatterbox.train.state import Checkpoints, find_checkpoint, read_state
from tests.train.stub import StubNetworks, StubTask, lines_of, run, stub_config, stub_trainer

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch, request):
    """Drawing takes longer than these runs do."""
    if "everything_is_written" not in request.node.name and "plot" not in request.node.name:
        monkeypatch.setattr(Metrics, "plot", lambda self: None)


def start(**settings) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.train.stub", json.dumps(settings)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


# --- Training ------------------------------------------------------------------------------------


def test_the_loss_falls_and_everything_is_written(tmp_path):
    trainer = run(tmp_path, "body", "other", num_train_epochs=12)
    lines = lines_of(tmp_path)
    train = [line for line in lines if "train_loss" in line]
    judged = [line for line in lines if "eval_loss" in line]
    assert train[-1]["train_loss"] < 0.5 * train[0]["train_loss"]
    assert judged[-1]["eval_loss"] < 0.5 * judged[0]["eval_loss"]
    expected = {
        "train_body_loss",
        "train_body_left_loss",
        "body_learning_rate",
        "other_gradient_norm",
    }
    assert expected <= train[0].keys()
    assert train[0]["train_loss"] == pytest.approx(
        train[0]["train_body_loss"] + train[0]["train_other_loss"]
    )
    full = read_metrics(tmp_path / "metrics.jsonl")[0]
    assert full["tokens_per_second"] > 0
    assert full["peak_memory_gb"] >= 0
    assert trainer.state.step == 12 * 6
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    kept = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    assert kept == ["checkpoint-66", "checkpoint-69", "checkpoint-72"]
    assert (tmp_path / "last").resolve().name == "checkpoint-72"
    assert (tmp_path / "best").resolve().name == f"best-{trainer.state.best_step}"


def test_the_same_seed_is_the_same_run_and_another_is_not(tmp_path):
    for name in ("a", "b"):
        run(tmp_path / name)
    assert lines_of(tmp_path / "a") == lines_of(tmp_path / "b")
    config = stub_config(tmp_path / "c")
    config.seed = 7
    stub_trainer(config).fit()
    assert lines_of(tmp_path / "a") != lines_of(tmp_path / "c")


@pytest.mark.parametrize(("epochs", "steps"), [(0.5, 3), (1.4, 9), (2.0, 12), (0.01, 1)])
def test_a_part_of_an_epoch_is_trained(tmp_path, epochs, steps):
    """An epoch has 6 steps; the last part of one is trained too."""
    trainer = run(tmp_path, num_train_epochs=epochs, warmup_steps=0)
    assert trainer.total_steps == trainer.state.step == steps
    assert lines_of(tmp_path)[-1]["step"] == steps


@pytest.mark.parametrize(
    ("settings", "logged", "judged", "saved"),
    [
        ({"logging_steps": 0.25, "eval_steps": 0.5, "save_steps": 0.5}, [3, 6, 9, 12], [6, 12], 6),
        ({"logging_strategy": "epoch", "save_steps": 5}, [6, 12], [5, 10, 12], 10),
        ({"logging_strategy": "no", "eval_strategy": "epoch"}, [12], [6, 12], 9),
        ({"logging_steps": 5, "logging_first_step": True}, [1, 5, 10, 12], [5, 10, 12], 9),
    ],
)
def test_logging_evaluation_and_checkpoints_come_when_they_are_due(
    tmp_path, settings, logged, judged, saved
):
    run(tmp_path, num_train_epochs=2, **settings)
    lines = lines_of(tmp_path)
    assert [line["step"] for line in lines if "train_loss" in line] == logged
    assert [line["step"] for line in lines if "eval_loss" in line] == judged
    assert sorted(Checkpoints(tmp_path)._all("checkpoint"))[-2:] == [saved, 12]


def test_the_learning_rate_follows_its_schedule(tmp_path):
    run(
        tmp_path,
        num_train_epochs=2,
        warmup_steps=0,
        logging_steps=1,
        lr_scheduler_type="polynomial",
        lr_scheduler_kwargs={"lr_end": 4e-3, "power": 2},
    )
    rates = [line["learning_rate"] for line in lines_of(tmp_path) if "learning_rate" in line]
    expected = [4e-3 + 6e-3 * (1 - step / 12) ** 2 for step in range(12)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("workers", [0, 3])
def test_threads_that_prepare_batches_change_nothing(tmp_path, workers):
    run(tmp_path / "one")
    run(tmp_path / "other", dataloader_num_workers=workers)
    assert lines_of(tmp_path / "one") == lines_of(tmp_path / "other")


def test_accumulation_equals_one_large_batch(tmp_path):
    for name, size, steps in (("whole", 4, 1), ("parts", 1, 4), ("uneven", 3, 2)):
        trainer = stub_trainer(
            stub_config(
                tmp_path / name,
                per_device_train_batch_size=size,
                gradient_accumulation_steps=steps,
                max_steps=5,
            )
        )
        if name == "uneven":
            trainer._train.plan._size = 4
        trainer.fit()
    whole = lines_of(tmp_path / "whole")
    for name in ("parts", "uneven"):
        for ours, theirs in zip(lines_of(tmp_path / name), whole, strict=True):
            assert ours == pytest.approx(theirs, rel=2e-5)


def test_frozen_parameters_stay_and_are_kept_in_whole_modules(tmp_path):
    networks = StubNetworks()
    networks.body.layers[0].freeze()
    before = np.array(networks.body.layers[0].weight)
    trainer = stub_trainer(stub_config(tmp_path, max_steps=4), networks=networks)
    trainer.fit()
    assert np.array_equal(np.array(networks.body.layers[0].weight), before)
    assert "body.layers.0.weight" in mx.load(str(tmp_path / "last" / "weights.safetensors"))
    assert "body.layers.0.weight" not in trainer.tasks[0].optimizer.master


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_half_precision_learns_with_float32_masters(tmp_path, kind):
    trainer = run(tmp_path, num_train_epochs=12, **{kind: True})
    lines = [line for line in lines_of(tmp_path) if "eval_loss" in line]
    assert lines[-1]["eval_loss"] < 0.5 * lines[0]["eval_loss"]
    assert trainer.networks.body.layers[0].weight.dtype != mx.float32
    saved = mx.load(str(tmp_path / "last" / "weights.safetensors"))
    assert {value.dtype for value in saved.values()} == {mx.float32}


def test_early_stopping_and_the_best_weights_at_the_end(tmp_path):
    trainer = run(
        tmp_path,
        num_train_epochs=50,
        learning_rate=1e-2,
        early_stopping_patience=2,
        early_stopping_threshold=0.02,
        eval_steps=4,
    )
    lines = [line for line in lines_of(tmp_path) if "eval_loss" in line]
    assert trainer.state.step < trainer.total_steps
    assert lines[-1]["step"] - trainer.state.best_step == 8
    best = mx.load(str(tmp_path / "best" / "weights.safetensors"))
    assert all(bool((trainer.weights[key] == best[key]).all()) for key in best)


def test_strategies_by_epoch_and_no(tmp_path):
    run(tmp_path / "epoch", eval_strategy="epoch", save_strategy="epoch", save_total_limit=None)
    steps = [line["step"] for line in lines_of(tmp_path / "epoch") if "eval_loss" in line]
    assert steps == [6, 12, 18, 24]
    assert {int(p.name[11:]) for p in (tmp_path / "epoch").glob("checkpoint-*")} == set(steps)
    run(tmp_path / "no", eval_strategy="no", save_strategy="no")
    assert not any("eval_loss" in line for line in lines_of(tmp_path / "no"))
    assert [p.name for p in (tmp_path / "no").glob("checkpoint-*")] == ["checkpoint-24"]


def test_an_unknown_metric_and_an_occupied_folder_are_reported(tmp_path):
    with pytest.raises(TrainingError, match="eval_loss"):
        run(tmp_path / "a", metric_for_best_model="eval_wer")
    run(tmp_path / "b", max_steps=3)
    with pytest.raises(TrainingError, match="holds a run already"):
        run(tmp_path / "b", max_steps=3)


def test_samples_are_spoken_and_a_model_that_cannot_speak_is_accepted(tmp_path):
    from mlx_chatterbox.errors import TextError

    def fails(path):
        raise TextError("no token that has a sound")

    config = stub_config(tmp_path, max_steps=6, spoken_samples=True)
    stub_trainer(config, speakers=[lambda path: path.write_bytes(b"wave"), fails]).fit()
    names = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert names == ["step-5.wav", "step-6.wav"]


def test_a_missing_plot_library_is_reported_once(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    said = []
    monkeypatch.setattr(Metrics, "say", lambda self, text: said.append(text))
    run(tmp_path)
    assert sum("matplotlib" in text for text in said) == 1
    assert not (tmp_path / "loss.png").exists()


def test_tensorboard_is_asked_for_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    with pytest.raises(MissingExtra, match="pip install"):
        run(tmp_path, max_steps=4, report_to=["tensorboard"])


def test_tensorboard_reads_back_what_was_written(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, max_steps=4, report_to=["tensorboard"])
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    written = {event.step: event.value for event in events.Scalars("train_loss")}
    logged = {line["step"]: line["train_loss"] for line in lines_of(tmp_path) if "clips" in line}
    assert written == pytest.approx(logged)


def test_keys_differ_by_seed_purpose_epoch_and_clip():
    keys = {
        tuple(sample_key(seed, purpose, epoch, clip))
        for seed in range(3)
        for purpose in range(2)
        for epoch in range(3)
        for clip in range(5)
    }
    assert len(keys) == 90
    assert sample_key(1, 0, 2, 3).dtype == np.uint32


# --- Going on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [{}, {"fp16": True}, {"early_stopping_patience": 1}])
def test_resuming_from_any_checkpoint_is_the_run_that_never_stopped(tmp_path, training):
    whole = tmp_path / "whole"
    run(whole, "body", "other", save_total_limit=None, **training)
    for checkpoint in (whole / "checkpoint-6", whole / "checkpoint-15"):
        again = tmp_path / checkpoint.name
        shutil.copytree(whole, again, symlinks=True)
        config = stub_config(again, save_total_limit=None, **training)
        trainer = stub_trainer(config, ("body", "other"))
        trainer.resume(again / checkpoint.name)
        trainer.fit()
        assert lines_of(again) == lines_of(whole)
        assert (again / "best").resolve().name == (whole / "best").resolve().name


def test_killed_at_random_moments_and_resumed(tmp_path):
    """SIGKILL from outside, while it computes or writes; repeated until a run finishes."""
    run(tmp_path / "whole", "body", "other")
    folder = tmp_path / "killed"
    chance = random.Random(os.getpid())
    settings = {"folder": str(folder), "tasks": ["body", "other"], "announce": True}
    for _ in range(3):
        resume = folder.exists() and Checkpoints(folder).newest() is not None
        if folder.exists() and not resume:
            shutil.rmtree(folder)  # killed before the first checkpoint: start again
        process = start(**settings, resume=resume)
        for _ in range(chance.randrange(20, 60)):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    resume = Checkpoints(folder).newest() is not None
    if not resume:
        shutil.rmtree(folder)
    finish(start(**settings, resume=resume))
    assert lines_of(folder) == lines_of(tmp_path / "whole")
    for name in ("last", "best"):
        ours = mx.load(str(folder / name / "weights.safetensors"))
        whole = mx.load(str(tmp_path / "whole" / name / "weights.safetensors"))
        assert ours.keys() == whole.keys()
        assert all(bool((ours[key] == whole[key]).all()) for key in whole)


def test_killed_in_the_middle_of_writing_a_checkpoint(tmp_path):
    """SIGKILL between any two steps of writing a checkpoint."""
    run(tmp_path / "whole")
    chance = random.Random(os.getpid() + 1)
    moments = chance.sample(range(22, 60), 3)
    killed = []
    for moment in moments:
        folder = tmp_path / f"at-{moment}"
        killed.append((folder, start(folder=str(folder), die_at=moment)))
        if len(killed) % 2 == 0:
            killed[-2][1].wait(timeout=120)
    for folder, process in killed:
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
        trainer = stub_trainer(stub_config(folder))
        trainer.resume(folder)
        trainer.fit()
        assert lines_of(folder) == lines_of(tmp_path / "whole"), folder
        leftovers = [p.name for p in folder.iterdir() if p.name.startswith(".")]
        assert not leftovers


def test_a_foreign_or_damaged_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="nothing to resume"):
        find_checkpoint(tmp_path)
    run(tmp_path / "a", max_steps=3)
    assert find_checkpoint(tmp_path / "a").name == "checkpoint-3"
    trainer = stub_trainer(stub_config(tmp_path / "a"), ("body", "other"))
    with pytest.raises(CheckpointError, match="another run: 2 tensor"):
        trainer.resume(tmp_path / "a")
    (tmp_path / "a" / "checkpoint-3" / "weights.safetensors").write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match="damaged"):
        stub_trainer(stub_config(tmp_path / "a")).resume(tmp_path / "a")
    assert read_state(tmp_path / "a" / "checkpoint-3").step == 3


def test_trained_keys_are_the_checkpoints_own(tmp_path):
    networks = StubNetworks()
    trainer = stub_trainer(stub_config(tmp_path), ("body",), networks=networks)
    inside = {key for key, _ in tree_flatten(networks.parameters()) if key.startswith("body.")}
    assert trainer.weights.keys() == inside | {"extra.body.weight", "extra.body.bias"}
    assert isinstance(StubTask().module(networks), nn.Module)
