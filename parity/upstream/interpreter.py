"""The interpreter that has upstream's PyTorch package, and our modules run in it.

That may be this very interpreter or another environment; either way the two programs share no
state, and the reference's gigabytes are given back when it ends.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mlx_chatterbox.runtime.folders import cache_folder

from .. import COMMAND
from ..errors import ParityError, ReferenceMissing

# Gives the other interpreter the named packages alone, not what else lies beside them.
_BOOTSTRAP = """\
import importlib.util, runpy, sys
folders, module = sys.argv[1].split(";"), sys.argv[2]
sys.argv = sys.argv[2:]
for folder in folders:
    name = folder.replace("\\\\", "/").rsplit("/", 1)[-1]
    spec = importlib.util.spec_from_file_location(
        name, folder + "/__init__.py", submodule_search_locations=[folder])
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
runpy.run_module(module, run_name="__main__", alter_sys=False)
"""


def default_venv() -> Path:
    """Folder of the environment that `python -m parity setup` makes."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mlx-chatterbox" / "reference"
    return cache_folder() / "reference"


def interpreter_of(venv: Path) -> Path:
    """Path of a virtual environment's Python."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def find_interpreter(explicit: str | Path | None = None) -> str:
    """Find the reference's Python: the one given, this one, or that of `parity setup`.

    Raises:
        ReferenceMissing: there is none; the message says how to get one.
    """
    if explicit is not None:
        if not Path(explicit).is_file():
            raise ReferenceMissing(f"--reference-python {explicit}: no such file.")
        return str(explicit)
    if all(importlib.util.find_spec(name) is not None for name in ("torch", "chatterbox")):
        return sys.executable
    installed = interpreter_of(default_venv())
    if installed.is_file():
        return str(installed)
    raise ReferenceMissing(
        f"upstream's PyTorch package is not installed here. Run `{COMMAND} setup` once (1 to 6 GB, "
        "by the build of PyTorch), or name an interpreter that has it by --reference-python."
    )


def module_command(
    python: str, module: str, arguments: Sequence[str], packages: Sequence[str] = ("parity",)
) -> list[str]:
    """Command that runs a module of these packages of ours in another interpreter."""
    beside = Path(__file__).resolve().parents[2]
    folders = ";".join(str(beside / package) for package in packages)
    return [python, "-c", _BOOTSTRAP, folders, module, *arguments]


def run_module(python: str, module: str, arguments: Sequence[str]) -> None:
    """Run one of this package's modules in another interpreter, quietly unless it fails."""
    environment = os.environ | {
        "TQDM_DISABLE": "1",
        "PYTHONWARNINGS": "ignore",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONIOENCODING": "utf-8",
    }
    command = module_command(python, module, arguments)
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, encoding="utf-8"
        )
    except OSError as error:
        raise ReferenceMissing(f"{python} cannot be run: {error}.") from error
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        message = next((line for line in lines if line.startswith("error: ")), None)
        reason = message.removeprefix("error: ") if message else "\n".join(lines[-15:])
        raise ParityError(f"the PyTorch reference failed ({python}): {reason}")
