"""The processor that code is compiled for, and the folder of its compiled code."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

from . import code_cache

_VARIABLE = "MLX_CHATTERBOX_ISA"
# Extensions that compilers and Linux name differently; all other names are equal.
_LINUX_NAMES = {"sse3": "pni", "bmi": "bmi1"}
_EXTENSION = r"__((?:SSE|SSSE|AVX|FMA|F16C|BMI)[A-Z0-9_]*)__ "


@cache
def instruction_set(compiler: str) -> str | None:
    """Choose the instruction set for compiling our code.

    `MLX_CHATTERBOX_ISA` names one as GCC does (`x86-64`, `haswell`, `armv8-a`); the default is
    `native`, everything that the processor has.

    Returns:
        The compiler's flag, or None, after a warning, if the compiler does not know the name or the
        processor lacks the instructions.
    """
    name = os.environ.get(_VARIABLE, "") or "native"
    flag = f"-march={name}"
    if name != "native":
        problem = _problem(compiler, flag)
        if problem:
            import warnings

            warnings.warn(
                f"{_VARIABLE}={name}: {problem}. Nothing is compiled; MLX computes everything.",
                stacklevel=2,
            )
            return None
    return flag


def _problem(compiler: str, flag: str) -> str:
    """State why code compiled with a flag cannot be made or run; "" if it can."""
    # Here, since the package's import waits for this module.
    import re
    import subprocess

    command = [compiler, flag, "-dM", "-E", "-x", "c", os.devnull]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if result.returncode:
        return f"{Path(compiler).name} does not know it"
    defined = {name.lower() for name in re.findall(_EXTENSION, result.stdout)}
    needed = {_LINUX_NAMES.get(name, name) for name in defined if not name.endswith("_math")}
    present = {flag for line in _description() for flag in line.partition(":")[2].split()}
    # GCC writes avx512vnni, Linux avx512_vnni.
    present = {flag.replace("_", "") for flag in present}
    missing = sorted(name for name in needed if name.replace("_", "") not in present)
    return f"the processor lacks {', '.join(missing)}" if missing else ""


def _description() -> list[str]:
    """Read the lines of /proc/cpuinfo that state the processor's abilities."""
    return sorted(
        {
            line
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith(("model name", "flags", "Features", "CPU part"))
        }
    )


def compiled_folder(compiler: str, *parts: str) -> Path:
    """Make a folder, ours alone, for code that `compiler` compiles for this processor.

    Other processors and other versions of the compiler have other folders, as machines may share a
    home directory.

    Args:
        parts: all that the compiled code depends on: flags and sources.

    Raises:
        OSError: it cannot be made.
    """
    real = Path(compiler).resolve()
    version = [str(real), str(real.stat().st_mtime_ns)]
    key = "\n".join([*_description(), *version, *parts])
    folder = code_cache.root() / hashlib.sha256(key.encode()).hexdigest()[:16]
    code_cache.own(folder)
    return folder
