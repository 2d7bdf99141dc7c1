"""`python -m parity setup`: a virtual environment that the PyTorch reference can run in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ..errors import ParityError
from ..torch.env import REQUIREMENTS, WITHOUT_DEPENDENCIES
from .interpreter import interpreter_of, run_module


def commands(venv: Path, torch_index: str | None = None) -> list[list[str]]:
    """Commands that make the environment, in order.

    PyTorch comes first and alone, so that its index can be chosen; then what must come without
    what it declares (the pins exclude each other, or pull in what is never used); then the rest.
    """
    python = str(interpreter_of(venv))
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    torch = [*pip, REQUIREMENTS["torch"]]
    if torch_index:
        torch += ["--index-url", torch_index]
    rest = [
        package
        for module, package in REQUIREMENTS.items()
        if module != "torch" and module not in WITHOUT_DEPENDENCIES
    ]
    return [
        [sys.executable, "-m", "venv", str(venv)],
        torch,
        [*pip, "--no-deps", *(REQUIREMENTS[module] for module in WITHOUT_DEPENDENCIES)],
        [*pip, *rest],
    ]


def make_environment(venv: Path, torch_index: str | None = None) -> Path:
    """Create the environment, printing each step, and check that upstream's modules import.

    Returns:
        Its interpreter.

    Raises:
        ParityError: a step failed.
    """
    print("pip will name conflicts with pins that are not followed; that is expected.")
    for command in commands(venv, torch_index):
        print("$", " ".join(command), flush=True)
        if subprocess.run(command).returncode:
            raise ParityError(f"this step failed: {' '.join(command)}")
    python = interpreter_of(venv)
    print("checking that upstream's modules import ...", flush=True)
    run_module(str(python), "parity.torch.env", [])
    return python
