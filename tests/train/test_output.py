"""A run has its folder to itself; errors of the disk are one line and lose no checkpoint."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import soundfile

from mlx_chatterbox.errors import ConfigError
from mlx_chatterbox.train.__main__ import main
from mlx_chatterbox.train.config import TrainConfig
from mlx_chatterbox.train.distributed import Group
from mlx_chatterbox.train.metrics import read_metrics
from mlx_chatterbox.train.output import alone_in, check_folders, plain_disk_errors, refuse_busy
from mlx_chatterbox.train.samples import TrainingError
from mlx_chatterbox.train.state import Checkpoints, read_arrays, read_state, weights_file
from tests.train.data import without_timings

ROOT = Path(__file__).parents[2]
NOBODY = 65534


def errors_of(arguments: list[str], capsys) -> list[str]:
    """Run the command line, which must fail; the lines of its error."""
    capsys.readouterr()
    assert main(arguments) == 1
    return [line for line in capsys.readouterr().err.splitlines() if "error: " in line]


# --- One run at a time ---------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from mlx_chatterbox.train.distributed import Group
from mlx_chatterbox.train.output import alone_in
with alone_in(Path(sys.argv[1]), Group()):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that is using an output folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_refused_until_the_first_has_gone(configuration, holder, tmp_path, capsys):
    file, run = configuration(), tmp_path / "run"
    for command in (["--config", str(file)], ["validate", "--config", str(file)]):
        (error,) = errors_of(command, capsys)
        assert f"another run (process {holder.pid}) is using {run}" in error
    assert not list(run.glob("checkpoint*"))
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    refuse_busy(run)
    with alone_in(run, Group()), pytest.raises(TrainingError, match="is using"):
        refuse_busy(run)
    refuse_busy(run)


def test_a_run_that_goes_on_is_alone_too(configuration, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["--config", str(configuration()), "--set", "training.max_steps=1"]) == 0
    with alone_in(run, Group()):
        (error,) = errors_of(["resume", str(run)], capsys)
    assert f"another run (process {os.getpid()}) is using {run}" in error


# --- What cannot be written ----------------------------------------------------------------------


@pytest.mark.parametrize("key", ["training.output_dir", "dataset.feature_cache_dir"])
def test_a_file_in_the_way_is_found_before_any_work(configuration, tmp_path, capsys, key):
    (tmp_path / "file").write_text("mine")
    name = key.rpartition(".")[2]
    for where in ("file", "file/deep/inside"):
        for command in ([], ["validate"]):
            arguments = ["--config", str(configuration()), "--set", f"{key}={tmp_path / where}"]
            (error,) = errors_of([*command, *arguments], capsys)
            assert f"{name} {tmp_path / where} cannot be written: {tmp_path / 'file'}" in error
            assert "is a file" in error
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture
def closed_folder():
    """A folder that this process may not write into during the test."""
    folder = Path(tempfile.mkdtemp(prefix="closed"))
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:  # root may write anywhere
        os.setresgid(NOBODY, NOBODY, 0)
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield folder
    finally:
        if root:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_closed_folder_is_found_before_any_work(closed_folder):
    config = TrainConfig()
    for folder in (closed_folder, closed_folder / "deep" / "run"):
        config.training.output_dir = str(folder)
        with pytest.raises(ConfigError, match=f"no permission to write into {closed_folder}"):
            check_folders(config)
    with (
        pytest.raises(TrainingError, match="cannot be written: there is no permission"),
        plain_disk_errors(closed_folder),
        alone_in(closed_folder, Group()),
    ):
        pass


@contextlib.contextmanager
def files_of_at_most(size: int):
    """Limit every file to `size` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


QUICK = "eval_strategy: no"


def test_a_full_disk_costs_no_checkpoint(configuration, tmp_path, capsys):
    """The disk is full at any point of a checkpoint: the previous one is whole, and resumes to the
    same result."""
    file, run = configuration("lora: {rank: 2}", QUICK), tmp_path / "run"
    assert main(["--config", str(file)]) == 0, capsys.readouterr().err
    whole = without_timings(read_metrics(run / "metrics.jsonl"))
    sizes = {path.name: path.stat().st_size for path in (run / "checkpoint-6").iterdir()}
    features = max(path.stat().st_size for path in (run / "features").rglob("*.safetensors"))
    clips = (run / "clips.json").stat().st_size
    metrics = (run / "metrics.jsonl").stat().st_size
    assert (
        max(features, clips, metrics)
        < sizes["adapters.safetensors"]
        < (sizes["optimizer.safetensors"])
    )
    for size in (sizes["adapters.safetensors"] // 2, sizes["optimizer.safetensors"] - 1):
        with files_of_at_most(size):
            (error,) = errors_of(["resume", str(run / "checkpoint-3")], capsys)
        assert "cannot be written" in error
        assert "checkpoint-3 is complete; continue with: " in error
        assert f"train resume {run}" in error
        assert Checkpoints(run).newest() == run / "checkpoint-3"
        assert read_state(run / "checkpoint-3").step == 3
        assert read_arrays(weights_file(run / "checkpoint-3"))
        assert not list(run.glob(".*.tmp"))
    assert main(["resume", str(run)]) == 0, capsys.readouterr().err
    assert without_timings(read_metrics(run / "metrics.jsonl")) == whole


@pytest.mark.parametrize("size", [0, 5_000])
def test_a_disk_that_is_full_from_the_beginning(configuration, tmp_path, capsys, size):
    arguments = ["--config", str(configuration())]
    with files_of_at_most(size):
        (error,) = errors_of(arguments, capsys)
        assert "cannot be written: " in error
        assert "disk is full" in error or "is the disk full?" in error
        if size == 0:  # features of a recording cannot be cached
            (error,) = errors_of(["validate", *arguments], capsys)
            assert "cannot be written: the disk is full" in error
    assert not (tmp_path / "run" / "final_model").exists()


# --- Going on with other clips, and when nothing is left -----------------------------------------


def test_resuming_with_other_clips_is_reported(configuration, voice_data, tmp_path, capsys):
    clips, run = tmp_path / "clips", tmp_path / "run"
    shutil.copytree(voice_data, clips)
    arguments = ["--config", str(configuration()), "--set", f"dataset.dataset_path={clips}"]
    assert main([*arguments, "--set", "training.max_steps=2"]) == 0
    assert main(["resume", str(run)]) == 0
    assert "the clips differ from those" not in capsys.readouterr().err
    (clips / "0.txt").write_text("Another text altogether.")
    (clips / "1.wav").unlink()
    samples, rate = soundfile.read(clips / "2.wav")
    soundfile.write(clips / "new.wav", 0.5 * samples, rate)
    (clips / "new.txt").write_text("Something new.")
    soundfile.write(clips / "3.wav", 0.5 * soundfile.read(clips / "3.wav")[0], rate)
    assert main(["resume", str(run)]) == 0
    error = capsys.readouterr().err
    assert "1 added (new), 1 removed (1), 2 changed (0, 3)" in error
    assert main(["resume", str(run)]) == 0  # with the clips that it used last
    assert "the clips differ from those" not in capsys.readouterr().err


def test_no_step_is_left(configuration, tmp_path, capsys):
    file, run = configuration(training=QUICK), tmp_path / "run"
    assert main(["--config", str(file)]) == 0
    assert "no step is left" not in capsys.readouterr().err
    last = read_metrics(run / "metrics.jsonl")[-1]["step"]
    assert main(["resume", str(run)]) == 0
    error = capsys.readouterr().err
    assert f"no step is left: step {last} of {last} is done" in error
    assert "a higher num_train_epochs" in error
    # As the message advises.
    more = ["--set", f"training.resume_from_checkpoint={run}", "--set"]
    assert main(["--config", str(file), *more, "training.num_train_epochs=3"]) == 0
    assert "no step is left" not in capsys.readouterr().err
    assert read_metrics(run / "metrics.jsonl")[-1]["step"] > last
