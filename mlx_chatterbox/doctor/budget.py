"""The time and memory that the doctor may take, and what is left of them."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import mlx.core as mx

from ..runtime import device
from ..runtime.memory import all_memory

# Share of the memory that is left to the system and to other programs.
_SPARED = 0.2


class Budget:
    """Counts from its creation.

    Args:
        seconds: for everything.
        memory: bytes at most, or None for whatever the machine has free.
    """

    def __init__(
        self,
        seconds: float,
        memory: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        free: Callable[[], int] | None = None,
    ):
        self.seconds, self._memory = seconds, memory
        self._clock, self._free = clock, free or free_memory
        self._began = clock()

    def used(self) -> float:
        """Seconds so far."""
        return self._clock() - self._began

    def left(self) -> float:
        """Seconds; negative when it is overdrawn."""
        return self.seconds - self.used()

    def memory(self) -> int:
        """Bytes that may be taken now."""
        free = int(self._free() * (1.0 - _SPARED))
        return free if self._memory is None else min(free, int(self._memory))

    def objection(self, seconds: float = 0.0, memory: float = 0.0, reserve: float = 0.0) -> str:
        """The reason to leave out work of that size; "" where it fits.

        Args:
            reserve: seconds that are kept for other work.
        """
        left, room = max(0.0, self.left() - reserve), self.memory()
        if seconds > left:
            total = f"{self.seconds:.0f} s (--minutes)"
            return f"about {seconds:.0f} s; {left:.0f} s are left for it of {total}"
        if memory > room:
            return f"about {memory / 1e9:.1f} GB of memory; {room / 1e9:.1f} GB may be taken"
        return ""


def free_memory() -> int:
    """Bytes that can be taken without swapping: the machine's, the container's, the GPU's."""
    if sys.platform == "darwin":
        free = _free_on_mac(_output("vm_stat"))
    else:
        free = _free_on_linux(_read("/proc/meminfo"))
        limit, used = _cgroup_limit()
        if limit is not None:
            free = min(free, max(0, limit - used))
    if device.is_gpu_there():
        known = mx.device_info()
        working_set = known.get("max_recommended_working_set_size") or known.get("free_memory")
        if working_set:
            free_there = int(working_set) - mx.get_active_memory()
            # A discrete GPU has memory of its own.
            is_unified = sys.platform == "darwin"
            free = min(free, free_there) if is_unified else free_there
    return free


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _output(*command: str) -> str:
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout
    return ""


def _free_on_linux(meminfo: str) -> int:
    available = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    return 1024 * int(available[1]) if available else _half_of_all()


def _free_on_mac(vm_stat: str) -> int:
    """Bytes that are unused, or can be dropped without being written."""
    page = re.search(r"page size of (\d+) bytes", vm_stat)
    kinds = ("free", "inactive", "speculative", "purgeable")
    counts = [re.search(rf"^Pages {kind}:\s+(\d+)", vm_stat, re.MULTILINE) for kind in kinds]
    if page is None or counts[0] is None:
        return _half_of_all()
    return int(page[1]) * sum(int(count[1]) for count in counts if count is not None)


def _half_of_all() -> int:
    return all_memory() // 2


def _cgroup_limit() -> tuple[int | None, int]:
    """A container's limit in bytes, or None, and the bytes in use."""
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    if not limit.isdigit():
        return None, 0
    used = _read("/sys/fs/cgroup/memory.current").strip()
    stat = re.search(r"^inactive_file (\d+)", _read("/sys/fs/cgroup/memory.stat"), re.MULTILINE)
    # Pages of files are given up when memory runs short.
    droppable = int(stat[1]) if stat else 0
    return int(limit), max(0, int(used) - droppable) if used.isdigit() else 0
