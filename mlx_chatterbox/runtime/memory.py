"""Limits on memory that is kept for reuse, and its release between sentences.

**On a GPU** MLX keeps every freed buffer for the next array of nearly its size, and by default
begins to release them when 95 % of the memory that the system recommends is in use. Sentences have
different sizes, so that on a Mac with little memory a long job fills it and the system swaps. So
the cache is limited, to 1 GB unless `MLX_CHATTERBOX_CACHE_MB` states another size: flow and vocoder
at full size need about half of that for a sentence, so that nothing is allocated twice within one,
and every machine that holds the weights has it. Between sentences it is emptied.

**On a Linux CPU** it is the C library that keeps freed memory (`runtime/linux_cpu.py` says why).
"""

from __future__ import annotations

import os
import threading

import mlx.core as mx

from ..errors import SettingError
from . import device
from .linux_cpu import trim_heap

LIMIT_VARIABLE = "MLX_CHATTERBOX_CACHE_MB"
DEFAULT_LIMIT_MB = 1024

_bounding = threading.Lock()
_is_bounded = False


def cache_limit() -> int | None:
    """Return the bytes of freed buffers that MLX may keep on a GPU; None leaves MLX's own limit.

    Raises:
        SettingError: `MLX_CHATTERBOX_CACHE_MB` is neither a whole number of 0 or more nor `none`.
    """
    text = os.environ.get(LIMIT_VARIABLE, "").strip().lower()
    if text == "none":
        return None
    if text and not (text.isascii() and text.isdigit()):
        raise SettingError(
            f"{LIMIT_VARIABLE} must be a whole number of megabytes, or none; got {text!r}."
        )
    return int(text or DEFAULT_LIMIT_MB) * 2**20


def bound_cache() -> None:
    """Limit MLX's cache of freed buffers, once a process; nothing on a CPU.

    A tighter limit that the program has set already is left as it is.

    Raises:
        SettingError: see `cache_limit`.
    """
    global _is_bounded
    with _bounding:
        if device.on_cpu() or _is_bounded:
            return
        limit = cache_limit()
        if limit is not None:
            before = mx.set_cache_limit(limit)
            if before < limit:
                mx.set_cache_limit(before)
        _is_bounded = True


def clear_device_cache() -> None:
    """Release a GPU's freed buffers, after a sentence; nothing on a CPU, where MLX keeps none."""
    if not device.on_cpu():
        mx.clear_cache()


def give_back_memory() -> None:
    """Return to the system all memory that is kept for reuse, between pieces of long work."""
    clear_device_cache()
    trim_heap()


def all_memory() -> int:
    """Return the bytes of memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
