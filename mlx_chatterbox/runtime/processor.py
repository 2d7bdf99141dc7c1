"""For which processor code is compiled, and where what was compiled is kept."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

from . import code_cache

_VARIABLE = "MLX_CHATTERBOX_ISA"
# Extensions that compilers name otherwise than Linux does; of all others the names are alike.
_LINUX_NAMES = {"sse3": "pni", "bmi": "bmi1"}
_EXTENSION = r"__((?:SSE|SSSE|AVX|FMA|F16C|BMI)[A-Z0-9_]*)__ "


@cache
def instruction_set(compiler: str) -> str | None:
    """Choose the instruction set that code of ours is compiled for.

    `MLX_CHATTERBOX_ISA` names one in GCC's words (`x86-64`, `haswell`, `armv8-a`); by default it is
    `native`, all that the processor has.

    Returns:
        The compiler's flag, or None, after a warning, where the compiler does not know what was
        named or the processor cannot run it.
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
    """Say what speaks against compiling with such a flag and running the result; "" if nothing."""
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
    """The lines of Linux's description that say what the processor can do."""
    return sorted(
        {
            line
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith(("model name", "flags", "Features", "CPU part"))
        }
    )


def compiled_folder(compiler: str, *parts: str) -> Path:
    """A folder, ours alone, for what `compiler` makes, for this processor, of what `parts` say.

    A home directory may be shared by machines, and a compiler be replaced by another version.

    Raises:
        OSError: it cannot be made.
    """
    real = Path(compiler).resolve()
    version = [str(real), str(real.stat().st_mtime_ns)]
    key = "\n".join([*_description(), *version, *parts])
    folder = code_cache.root() / hashlib.sha256(key.encode()).hexdigest()[:16]
    code_cache.own(folder)
    return folder
