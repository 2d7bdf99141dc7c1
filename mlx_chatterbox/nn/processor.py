"""Where code that was compiled for this very processor is kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..folders import cache_folder


def compiled_folder(compiler: str, *parts: str) -> Path:
    """A folder for what `compiler` makes, for this processor, of what `parts` say.

    A home directory may be shared by machines, and a compiler be replaced by another version.
    """
    processor = {
        line
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith(("model name", "flags", "Features", "CPU part"))
    }
    real = Path(compiler).resolve()
    version = [str(real), str(real.stat().st_mtime_ns)]
    key = "\n".join([*sorted(processor), *version, *parts])
    return cache_folder() / "kernels" / hashlib.sha256(key.encode()).hexdigest()[:16]
