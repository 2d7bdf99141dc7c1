"""The environment in which the PyTorch reference runs, and the error if there is none."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.parity import COMMAND
from mlx_chatterbox.parity.__main__ import main
from mlx_chatterbox.parity.dumps import write_dump
from mlx_chatterbox.parity.errors import ParityError, ReferenceMissing
from mlx_chatterbox.parity.torch import env
from mlx_chatterbox.parity.upstream import interpreter, setup


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A folder without an environment of `setup`; PyTorch is hidden."""
    find_spec = importlib.util.find_spec
    hidden = ("torch", "chatterbox")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in hidden else find_spec(name)
    )
    monkeypatch.setattr(interpreter, "default_venv", lambda: tmp_path / "reference")
    return tmp_path


def test_a_missing_reference_is_an_error_with_the_remedy(nowhere, capsys):
    assert main(["run"]) == 1
    error = capsys.readouterr().err
    assert f"{COMMAND} setup" in error
    assert "--reference-python" in error


def test_the_environment_of_setup_is_found(nowhere):
    python = interpreter.interpreter_of(nowhere / "reference")
    python.parent.mkdir(parents=True)
    python.touch()
    assert interpreter.find_interpreter() == str(python)


def test_a_given_interpreter_must_be_there(nowhere):
    with pytest.raises(ReferenceMissing, match="no such file"):
        interpreter.find_interpreter(nowhere / "python")


def test_an_interpreter_without_the_packages_names_them(tmp_path):
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    with pytest.raises(ParityError, match=r"torch==[\d.]+, chatterbox-tts==0\.1\.7"):
        interpreter.run_module(str(interpreter.interpreter_of(bare)), "parity.torch.env", [])


def test_the_stand_ins_are_registered_once_and_load_nothing(monkeypatch):
    spec = importlib.util.spec_from_loader("chatterbox", loader=None, is_package=True)
    spec.submodule_search_locations.append("/somewhere/chatterbox")
    monkeypatch.setattr(env, "missing_requirements", list)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with mock.patch.dict(sys.modules):
        for name in ("chatterbox", "torchaudio", "torchaudio._extension"):
            sys.modules.pop(name, None)
        env.prepare()
        package, extension = sys.modules["chatterbox"], sys.modules["torchaudio._extension"]
        assert list(package.__path__) == ["/somewhere/chatterbox"]
        assert extension._IS_TORCHAUDIO_EXT_AVAILABLE is False
        env.prepare()
        assert sys.modules["chatterbox"] is package
        assert sys.modules["torchaudio._extension"] is extension
        assert "torchaudio" not in sys.modules


def test_the_reference_module_loads_neither_mlx_nor_this_library():
    code = (
        "import sys, parity.torch.backend;"
        "print([m for m in ('mlx', 'mlx_chatterbox', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_setup_installs_pytorch_first_and_the_pinned_packages_without_dependencies():
    commands = setup.commands(Path("env"), torch_index="https://example.org/cpu")
    assert commands[0][1:] == ["-m", "venv", "env"]
    assert commands[1][-3].startswith("torch==")
    assert commands[1][-2:] == ["--index-url", "https://example.org/cpu"]
    assert "--no-deps" in commands[2]
    assert "chatterbox-tts==0.1.7" in commands[2]
    assert {"transformers==5.2.0", "librosa==0.11.0"} <= set(commands[3])


def test_a_missing_weights_folder_is_one_clear_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mlx_chatterbox.parity.run.find_interpreter", lambda given: sys.executable)
    assert main(["run", "--weights", str(tmp_path / "absent"), "--work", str(tmp_path)]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_a_missing_recording_is_reported_before_anything_is_made(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mlx_chatterbox.parity.run.find_interpreter", lambda given: sys.executable)
    work = tmp_path / "work"
    assert main(["run", "--audio", str(tmp_path / "absent.wav"), "--work", str(work)]) == 1
    assert "absent.wav" in capsys.readouterr().err
    assert not work.exists()


def test_a_converted_checkpoint_without_its_source_is_not_a_torch_checkpoint(tmp_path, capsys):
    ModelConfig(source={"folder": "/gone/for/good"}).save(tmp_path)
    (tmp_path / "model.safetensors").touch()
    dump = write_dump(tmp_path / "in.safetensors", {"audio/ref_24k": np.ones(9, np.float32)})
    arguments = ["--inputs", str(dump), "--output", str(tmp_path / "out.safetensors")]
    python = ["--reference-python", sys.executable]
    checkpoint = ["--checkpoint", str(tmp_path), "--backend", "torch"]
    assert main(["dump", *checkpoint, *arguments, *python]) == 1
    assert "original files are not here" in capsys.readouterr().err
