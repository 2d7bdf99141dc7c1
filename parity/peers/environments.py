"""Environments of other ports: one each, made when first needed.

PyTorch's is that of `python -m parity setup`. mlx-audio's has the same build of MLX as ours, so
that the two differ by their own code and nothing else.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
from pathlib import Path

from ..errors import ParityError, PeerError, PeerMissing, ReferenceMissing
from ..progress import say
from ..upstream.interpreter import default_venv, find_interpreter, interpreter_of
from ..upstream.setup import make_environment
from .processes import output_of

MLX_AUDIO = "mlx-audio==0.6.2"
# MLX and its backends, of which a machine has one or two.
MLX_DISTRIBUTIONS = ("mlx", "mlx-cpu", "mlx-metal", "mlx-cuda-12", "mlx-cuda-13")
STAMP = "benchmarks-environment.json"
IMPORTABLE = "import mlx.core, safetensors, mlx_audio.tts.models.chatterbox"


def mlx_audio_venv() -> Path:
    """Folder of mlx-audio's environment, beside the reference's."""
    return default_venv().with_name("mlx-audio")


def mlx_audio_requirements() -> list[str]:
    """Requirements of mlx-audio's environment, with MLX exactly as it is installed here."""
    requirements = [MLX_AUDIO]
    for name in MLX_DISTRIBUTIONS:
        try:
            requirements.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return requirements


def interpreter(peer: str, python: Path | None) -> str:
    """Python that has a peer; its environment is made if none is given or present.

    Raises:
        PeerMissing: there is no such file, or the environment cannot be made; the message says
            what failed.
    """
    if python is not None and not python.is_file():
        raise PeerMissing(f"{peer}: {python}: no such file.")
    if peer == "torch":
        return _torch(python)
    return str(python) if python is not None else str(_mlx_audio(mlx_audio_venv()))


def _torch(python: Path | None) -> str:
    try:
        return find_interpreter(python)
    except ReferenceMissing:
        pass
    say(f"making PyTorch's environment in {default_venv()} (1 to 6 GB, once) ...")
    try:
        return str(make_environment(default_venv()))
    except (ParityError, OSError) as error:
        raise PeerMissing(f"torch: its environment cannot be made: {error}") from error


def _mlx_audio(venv: Path) -> Path:
    wanted = mlx_audio_requirements()
    python = interpreter_of(venv)
    if python.is_file() and _stamp(venv) == wanted:
        return python
    say(f"making mlx-audio's environment in {venv} (0.6 GB, once) ...")
    # An environment without its stamp, or with another MLX, is made anew.
    shutil.rmtree(venv, ignore_errors=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", str(venv)],
        [*pip, *wanted],
        [str(python), "-c", IMPORTABLE],
    ):
        _step(command)
    (venv / STAMP).write_text(json.dumps(wanted) + "\n", encoding="utf-8")
    return python


def _step(command: list[str]) -> None:
    say("$ " + " ".join(command))
    try:
        output_of(command)
    except PeerError as error:
        raise PeerMissing(f"mlx-audio: this step failed: {' '.join(command)}: {error}") from error


def _stamp(venv: Path) -> list[str] | None:
    try:
        return json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
