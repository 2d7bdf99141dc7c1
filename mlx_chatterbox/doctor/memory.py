"""Memory after sentences of many lengths: in use, kept by MLX, resident."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx

from ..models.s3gen.s3gen import S3GenConditionals
from ..runtime import device
from ..runtime.memory import bound_cache, cache_limit, clear_device_cache
from .examination import Examination
from .findings import Section
from .made_up import configuration, fill, networks_of, size_of
from .pocket import open_pocket, say
from .timing import finish

TITLE = "Memory"
# Seconds without which it is not begun.
LEAST = 3.0
SENTENCES, SENTENCES_SHORT = 20, 8
_WORDS = ("the ferry leaves the island at seven and the last bus of the evening waits " * 2).split()
# A reference of 10 s.
_PROMPT_TOKENS = 250
# What a process may keep of a sentence: remembered prefixes, traces, small tables.
_KEPT = 16e6
# 20 sentences of 1 to 8 s in an order in which neighbours differ.
_TOKENS = [25 + (7 * index) % SENTENCES * 9 for index in range(SENTENCES)]


def resident() -> int:
    """Bytes of memory that this process has now; 0 where that is not to be found out."""
    if sys.platform.startswith("linux"):
        match = re.search(r"^VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
        return 1024 * int(match[1]) if match else 0
    done = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, timeout=10
    )
    kilobytes = done.stdout.strip()
    return 1024 * int(kilobytes) if kilobytes.isdigit() else 0


def examine(exam: Examination, section: Section) -> None:
    """Speak sentences of many lengths, and look after each."""
    count = SENTENCES_SHORT if exam.is_short else SENTENCES
    with section.guarded("pocket", "pocket"):
        tts = open_pocket()

        def speak(index: int) -> None:
            words = 3 + (7 * index) % count * (len(_WORDS) - 3) // count
            say(tts, " ".join(_WORDS[:words]).capitalize() + ".")

        _watch(exam, section, "pocket", f"pocket, {count} lengths", count, speak)
    name, title = "s3gen", "S3Gen at full size, 20 lengths"
    if device.on_cpu():
        section.not_applicable(
            name, title, "on a CPU the pocket model shows as much: nothing is kept for a length"
        )
        return
    nbytes = size_of("turbo", "float16", "s3gen")
    if exam.allows(section, name, title, 10.0, 4 * nbytes):
        with section.guarded(name, title):
            _at_full_size(exam, section, count)


def _at_full_size(exam: Examination, section: Section, count: int) -> None:
    """Turbo's, in half precision: other convolutions for each length, as a GPU meets them."""
    config = configuration("turbo", "float16")
    s3gen = networks_of("turbo", "float16").s3gen
    fill(s3gen, "float16")
    bound_cache()
    prompt = mx.random.randint(0, config.s3gen.vocab_size, (1, _PROMPT_TOKENS))
    mel = mx.zeros((1, 2 * _PROMPT_TOKENS, config.s3gen.mel_bins))
    reference = S3GenConditionals(
        prompt, mel, mx.random.normal((1, config.s3gen.speaker_embed_dim))
    )

    def speak(index: int) -> None:
        tokens = mx.random.randint(0, config.s3gen.vocab_size, (_TOKENS[index],))
        finish(s3gen(tokens, reference, n_timesteps=2))
        clear_device_cache()

    _watch(exam, section, "s3gen", f"S3Gen at full size, {count} lengths", count, speak)


def _watch(
    exam: Examination,
    section: Section,
    name: str,
    title: str,
    count: int,
    speak: Callable[[int], None],
) -> None:
    columns: dict[str, list[float]] = {"peak": [], "in use": [], "kept by MLX": [], "resident": []}
    for index in range(count):
        if index > 2 and exam.budget.left() < 1.0:
            section.left_out(
                f"{name}_rest", f"{count - index} of the lengths", exam.budget.objection(1.0)
            )
            break
        mx.reset_peak_memory()
        speak(index)
        finish()
        figures = (
            mx.get_peak_memory(), mx.get_active_memory(), mx.get_cache_memory(), resident()
        )  # fmt: skip
        for values, figure in zip(columns.values(), figures, strict=True):
            values.append(figure / 1e6)
    done = len(columns["peak"])
    shown = sorted({0, done // 4, done // 2, 3 * done // 4, done - 1})
    section.table(
        f"{name}_memory", title, "MB", [f"after {index + 1}" for index in shown],
        {name: [values[index] for index in shown] for name, values in columns.items()},
    )  # fmt: skip
    judge(section, name, title, columns)


def judge(section: Section, name: str, title: str, columns: dict[str, list[float]]) -> None:
    """Check that no memory accumulates.

    Args:
        columns: megabytes after each sentence.
    """
    in_use = columns["in use"]
    growth = in_use[-1] - in_use[0]
    section.proof(
        f"{name}_growth", f"{title}: more in use after the last than after the first",
        growth * 1e6 <= _KEPT, growth, "MB", f"at most {_KEPT / 1e6:.0f} MB",
    )  # fmt: skip
    limit = None if device.on_cpu() else cache_limit()
    most = max(columns["kept by MLX"])
    if limit is None:
        section.figure(f"{name}_cache", f"{title}: kept by MLX at most", most, "MB")
    else:
        section.proof(
            f"{name}_cache", f"{title}: kept by MLX at most", most * 1e6 <= limit, most, "MB",
            f"bounded at {limit / 1e6:.0f} MB (MLX_CHATTERBOX_CACHE_MB)",
        )  # fmt: skip
