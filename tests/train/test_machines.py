"""Several machines: MLX's ring over loopback, on the regression of `tests/train/stub.py`."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.train.distributed import Group
from tests.rounding import FACTOR, nudged, rms
from tests.train.stub import assert_close, run

ROOT = Path(__file__).parents[2]


def test_one_machine_alone_needs_no_communication():
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
    """Two processes of the stub on this machine."""
    launch_program(["-m", "tests.train.stub", json.dumps(settings)])


def launch_program(arguments: list[str]) -> None:
    """Two processes of a Python program on this machine, by MLX's own launcher."""
    assert mx.distributed.is_available("ring"), "this build of MLX has no ring backend"
    program = "import sys; from mlx._distributed_utils.launch import main; sys.exit(main())"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", program, "-n", "2", "--backend", "ring"]
    command += ["--starting-port", str(port), "--", sys.executable]
    result = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("model", ["lora: {rank: 2, dropout: 0.1}", "freeze_components: [s3gen]"])
def test_two_processes_of_the_command_line_equal_one(
    tmp_path, configuration, two_voices, small_checkpoint, model
):
    """T3 and the flow, small: the same metrics, and the same weights in the end.

    A weight whose gradient is only rounding still moves by the learning rate, in either direction,
    so the effect of rounding is measured by training that starts one last digit away.
    """
    from mlx_chatterbox.train.__main__ import main
    from mlx_chatterbox.weights.checkpoint import read_weights

    common = ["--config", str(configuration(model)), "--set", f"dataset.dataset_path={two_voices}"]
    common += ["--set", "training.max_steps=4", "--set", "training.eval_steps=2"]
    assert main([*common, "--set", f"training.output_dir={tmp_path / 'one'}"]) == 0
    two = ["--set", f"training.output_dir={tmp_path / 'two'}"]
    two += ["--set", "training.per_device_train_batch_size=1"]
    launch_program(["-m", "mlx_chatterbox.train", *common, *two])
    assert_close(tmp_path / "two", tmp_path / "one")

    def learned(name: str, start: Path) -> dict[str, np.ndarray]:
        before, after = read_weights(start), read_weights(tmp_path / name / "final_model")
        return {key: np.array(after[key]) - np.array(before[key]) for key in before}

    one, moved = learned("one", small_checkpoint), {}
    for seed in range(2):
        start = Path(shutil.copytree(small_checkpoint, tmp_path / f"start{seed}"))
        draw = np.random.default_rng(seed)
        weights = {key: nudged(value, draw) for key, value in read_weights(start).items()}
        mx.save_safetensors(str(start / "model.safetensors"), weights)
        again = ["--set", f"training.output_dir={tmp_path / f'again{seed}'}"]
        again += ["--set", f"model.local_model_dir={start}"]
        assert main([*common, *again]) == 0
        for key, change in learned(f"again{seed}", start).items():
            moved[key] = max(moved.get(key, 0.0), rms(change - one[key]))
    scale = max(map(rms, one.values()))
    # Together: rounding may move few numbers of a single small tensor.
    assert 0 < max(moved.values()) < 0.1 * scale
    for key, change in learned("two", small_checkpoint).items():
        assert rms(change - one[key]) <= FACTOR * moved[key] + 1e-3 * scale, key
