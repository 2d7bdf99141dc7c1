"""Other ports' environments: what is installed and kept, and the error when neither works."""

import json

import pytest

from mlx_chatterbox.parity.errors import PeerMissing
from mlx_chatterbox.parity.peers import environments


def test_mlx_audio_gets_the_mlx_that_is_here():
    wanted = environments.mlx_audio_requirements()
    assert wanted[0] == environments.MLX_AUDIO
    assert any(line.startswith("mlx==") for line in wanted)


def test_an_environment_that_cannot_be_made_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(environments, "mlx_audio_venv", lambda: tmp_path / "mlx-audio")
    monkeypatch.setattr(environments, "mlx_audio_requirements", lambda: ["./no-such-package"])
    monkeypatch.setattr(environments.sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(PeerMissing, match=r"this step failed.*venv"):
        environments.interpreter("mlx-audio", None)
    with pytest.raises(PeerMissing, match="no such file"):
        environments.interpreter("mlx-audio", tmp_path / "python")


def test_an_environment_is_kept_while_its_requirements_stay(monkeypatch, tmp_path):
    venv = tmp_path / "mlx-audio"
    monkeypatch.setattr(environments, "mlx_audio_venv", lambda: venv)
    python = environments.interpreter_of(venv)
    python.parent.mkdir(parents=True)
    python.touch()
    (venv / environments.STAMP).write_text(json.dumps(environments.mlx_audio_requirements()))
    assert environments.interpreter("mlx-audio", None) == str(python)
