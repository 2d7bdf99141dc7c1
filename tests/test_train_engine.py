"""The training engine, on a regression that stands for a network (`tests/train_stub.py`)."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.train.distributed import Group
from mlx_chatterbox.train.metrics import TIMINGS, Metrics, MissingExtra, read_metrics
from mlx_chatterbox.train.optimizer import (
    LossScale,
    NotFinite,
    Optimizer,
    OptimizerSettings,
    global_norm,
    has_weight_decay,
    schedule,
    warmup_length,
)
from mlx_chatterbox.train.state import Checkpoints, find_checkpoint, read_state
from mlx_chatterbox.train.trainer import Samples, Trainer, TrainingError, sample_key
from tests.train_stub import StubNetworks, StubPlan, StubTask, stub_config, stub_trainer

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch, request):
    """Drawing takes longer than these runs do."""
    if "everything_is_written" not in request.node.name and "plot" not in request.node.name:
        monkeypatch.setattr(Metrics, "plot", lambda self: None)


def lines_of(folder) -> list[dict]:
    """What was logged, without what depends on the machine."""
    lines = read_metrics(Path(folder) / "metrics.jsonl")
    return [{k: v for k, v in line.items() if k not in TIMINGS} for line in lines]


def run(folder, *tasks, **training):
    trainer = stub_trainer(stub_config(folder, **training), tasks or ("body",))
    trainer.fit()
    return trainer


def start(**settings) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.train_stub", json.dumps(settings)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


# --- Optimizer -----------------------------------------------------------------------------------


def test_schedules_have_their_known_values():
    cosine = schedule("cosine", 110, 10)
    assert [cosine(s) for s in (0, 5, 10, 60)] == pytest.approx([0.0, 0.5, 1.0, 0.5])
    assert cosine(110) == pytest.approx(0.0)
    linear = schedule("linear", 110, 10)
    assert [linear(s) for s in (5, 10, 60, 110)] == pytest.approx([0.5, 1.0, 0.5, 0.0])
    assert {schedule("constant", 9, 4)(s) for s in range(12)} == {1.0}
    rising = schedule("constant_with_warmup", 9, 4)
    assert [rising(s) for s in (0, 2, 4, 8)] == [0.0, 0.5, 1.0, 1.0]
    assert warmup_length(101, 0, 0.1) == 11
    assert warmup_length(101, 7, 0.0) == 7


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


def test_gradients_that_are_no_numbers_stop_a_float32_run():
    optimizer = Optimizer(OptimizerSettings(), {"w": mx.ones((2,))})
    with pytest.raises(NotFinite, match="learning_rate"):
        optimizer.step({"w": mx.array([math.nan, 1.0])}, 1e-3)


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


def test_an_unknown_metric_and_an_occupied_folder_are_told(tmp_path):
    with pytest.raises(TrainingError, match="eval_loss"):
        run(tmp_path / "a", metric_for_best_model="eval_wer")
    run(tmp_path / "b", max_steps=3)
    with pytest.raises(TrainingError, match="holds a run already"):
        run(tmp_path / "b", max_steps=3)


def test_samples_are_spoken_and_a_model_that_cannot_speak_is_no_error(tmp_path):
    from mlx_chatterbox.errors import TextError

    def fails(path):
        raise TextError("no token that has a sound")

    config = stub_config(tmp_path, max_steps=6, spoken_samples=True)
    stub_trainer(config, speakers=[lambda path: path.write_bytes(b"wave"), fails]).fit()
    names = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert names == ["step-5.wav", "step-6.wav"]


def test_a_missing_plot_library_is_said_once(tmp_path, monkeypatch):
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
    """SIGKILL from outside, while it computes or writes; then again, until it comes through."""
    run(tmp_path / "whole", "body", "other")
    folder = tmp_path / "killed"
    chance = random.Random(os.getpid())
    settings = {"folder": str(folder), "tasks": ["body", "other"], "announce": True}
    for _ in range(3):
        resume = folder.exists() and Checkpoints(folder).newest() is not None
        if folder.exists() and not resume:
            shutil.rmtree(folder)  # killed before the first checkpoint: begin anew
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
    """SIGKILL between any two of the steps that a checkpoint is written in."""
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


# --- Several machines ----------------------------------------------------------------------------


def test_one_machine_alone_needs_nothing():
    group = Group()
    assert (group.rank, group.size, group.is_first) == (0, 1, True)
    assert group.share([3, 1, 2]) == [3, 1, 2]
    assert group.sum_numbers({"a": 1.5}) == {"a": 1.5}
    assert group.bytes_from_first(b"abc") == b"abc"


def test_two_processes_by_mlx_launch_equal_one(tmp_path):
    """The ring backend over loopback. At the end of an epoch of 23 clips, the second of the two
    has no clip left: 23 = 11 * 2 + 1."""
    training = {"max_steps": 13, "eval_steps": 6, "save_steps": 6}
    one = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, **training}
    run(tmp_path / "one", "body", "other", **one)
    settings = {
        "folder": str(tmp_path / "two"),
        "tasks": ["body", "other"],
        "training": {**one, "per_device_train_batch_size": 1},
        "distributed": 2,
    }
    launch(settings)
    assert_close(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_two_processes_resume_from_the_first_ones_disk(tmp_path):
    one = {"gradient_accumulation_steps": 1, "per_device_train_batch_size": 4}
    run(tmp_path / "one", **one)
    two = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 1}
    settings = {"folder": str(tmp_path / "two"), "distributed": 2}
    launch({**settings, "training": {**two, "save_total_limit": None}})
    for checkpoint in (tmp_path / "two").glob("checkpoint-*"):
        if int(checkpoint.name[11:]) > 9:
            shutil.rmtree(checkpoint)
    launch({**settings, "training": two, "resume": True})
    assert_close(tmp_path / "two", tmp_path / "one")


def launch(settings) -> None:
    """Two processes on this machine, by MLX's own launcher."""
    assert mx.distributed.is_available("ring"), "this build of MLX has no ring backend"
    program = "import sys; from mlx._distributed_utils.launch import main; sys.exit(main())"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", program, "-n", "2", "--backend", "ring"]
    command += ["--starting-port", str(port), "--", sys.executable, "-m", "tests.train_stub"]
    result = subprocess.run(
        [*command, json.dumps(settings)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr


def assert_close(folder, other, tolerance: float = 1e-5) -> None:
    ours, theirs = lines_of(folder), lines_of(other)
    assert len(ours) == len(theirs) > 0
    for one, two in zip(ours, theirs, strict=True):
        assert one.keys() == two.keys()
        for key in one:
            assert one[key] == pytest.approx(two[key], rel=tolerance, abs=1e-7), key


def test_trained_keys_are_the_checkpoints_own(tmp_path):
    networks = StubNetworks()
    trainer = stub_trainer(stub_config(tmp_path), ("body",), networks=networks)
    inside = {key for key, _ in tree_flatten(networks.parameters()) if key.startswith("body.")}
    assert trainer.weights.keys() == inside | {"extra.body.weight", "extra.body.bias"}
    assert isinstance(StubTask().module(networks), nn.Module)


# --- The real tasks ------------------------------------------------------------------------------


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
    from mlx_chatterbox.train.config import LoraConfig

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
    from mlx_chatterbox.checkpoint import load_converted

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
    from mlx_chatterbox.checkpoint import load_converted

    checkpoint = load_converted(small_models("english"))
    real_trainer(tmp_path, checkpoint, clips, lora=True, max_steps=2).fit()
    saved = mx.load(str(tmp_path / "last" / "adapters.safetensors"))
    assert saved
    assert all(key.rpartition(".")[2] in ("lora_a", "lora_b") for key in saved)


def test_real_micro_batches_equal_one_batch(tmp_path, small_models, clips):
    """With dropout in the adapters, too: it is the sample's own."""
    from mlx_chatterbox.checkpoint import load_converted

    for name, size, steps in (("whole", 4, 1), ("parts", 1, 4)):
        sizes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
        checkpoint = load_converted(small_models("english"))
        real_trainer(tmp_path / name, checkpoint, clips, lora=True, max_steps=3, **sizes).fit()
    assert_close(tmp_path / "parts", tmp_path / "whole", 1e-4)


def test_nothing_is_dropped_in_an_evaluation(tmp_path, small_models, clips):
    """Text, condition and the adapters' inputs, of which training here loses all or half."""
    from mlx_chatterbox.checkpoint import load_converted
    from mlx_chatterbox.train.adapters import KeyedDropout

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
        found.append([trainer._judge(trained) for trained in trainer.tasks])
    assert found[0] == found[1]
    assert found[0][0]["text"] > 0
