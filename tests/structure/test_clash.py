"""Programs started in a folder with other people's `convert.py`, `parity.py`, `benchmarks.py`."""

from __future__ import annotations

import subprocess
import sys

import pytest

NAMES = ("convert", "parity", "benchmarks")


@pytest.fixture
def run(tmp_path):
    """Run one of our modules in a folder where each of these names would raise."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"raise SystemExit('the wrong {name} was imported')\n")

    def run(module: str, *words) -> str:
        command = [sys.executable, "-m", f"mlx_chatterbox.{module}", *map(str, words)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    run.folder = folder
    return run


def test_the_wrong_packages_would_be_noticed(run):
    code = [sys.executable, "-c", "import convert"]
    done = subprocess.run(code, cwd=run.folder, capture_output=True, text=True)
    assert "the wrong convert was imported" in done.stderr


@pytest.mark.slow
def test_generation_and_watermarking_run(run):
    run("generate", "--model", "pocket", "--text", "Hi.", "--output", "a.wav")
    assert "yes" in run("watermark", "detect", "a.wav")


@pytest.mark.slow
def test_conversion_runs(run, small_checkpoint):
    run("convert", small_checkpoint, "out", "--dtype", "float16")
    assert (run.folder / "out" / "model.safetensors").is_file()


def test_a_script_that_loads_what_is_converted_first(run, small_upstream, small_checkpoint):
    script = run.folder / "script.py"
    script.write_text(
        f"""\
from mlx_chatterbox import S3GenModel
from mlx_chatterbox.models.config import ModelConfig

sizes = ModelConfig.load({str(small_checkpoint)!r})
file = {str(small_upstream / "s3gen.safetensors")!r}
S3GenModel.from_pretrained(file, config=sizes.s3gen, tokenizer_config=sizes.s3_tokenizer)
print("loaded")
"""
    )
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout == "loaded\n", done.stderr


@pytest.mark.slow
def test_training_runs(run, configuration):
    run("train", "--config", configuration(), "--set", "training.max_steps=1")


@pytest.mark.slow
def test_parity_runs(run):
    assert "parity" in run("parity", "--help")
