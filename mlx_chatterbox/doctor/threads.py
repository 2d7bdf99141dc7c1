"""Several threads of one program: two that speak at once, and a stream that changes its thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np

from .examination import Examination
from .findings import Section
from .pocket import OTHER_TEXT, TEXT, open_pocket, say

TITLE = "Threads"
# Seconds without which it is not begun.
LEAST = 3.0
_LONGER_TEXT = f"{TEXT} {OTHER_TEXT} The sea was calm, and nobody said a word until the morning."


def examine(exam: Examination, section: Section) -> None:
    """Speak in threads and compare, to the last bit."""
    with section.guarded("at_once", "two threads that speak at once"):
        tts = open_pocket()
        texts = (TEXT, OTHER_TEXT)
        alone = [say(tts, text) for text in texts]
        barrier = threading.Barrier(len(texts), timeout=60)

        def together(text: str) -> np.ndarray:
            barrier.wait()
            return say(tts, text)

        with ThreadPoolExecutor(len(texts)) as pool:
            spoken = list(pool.map(together, texts))
        _prove_equal(
            section, "at_once", "two threads that speak at once: as one after the other",
            spoken, alone,
        )  # fmt: skip
    with section.guarded("stream", "a stream asked for by changing threads"):
        tts = open_pocket()
        text = TEXT if exam.is_short else _LONGER_TEXT
        expected = list(tts.stream(text, seed=1, guard=False))
        chunks = list(_by_changing_threads(tts.stream(text, seed=1, guard=False)))
        section.figure("chunks", "chunks of the stream", len(expected))
        _time_first_sound(section, tts, text)
        _prove_equal(
            section, "stream", "a stream asked for by changing threads: as by one",
            chunks, expected,
        )  # fmt: skip
    with section.guarded("elsewhere", "a model loaded in another thread"):
        elsewhere = say(open_pocket(), OTHER_TEXT)
        tts = _in_a_thread(open_pocket)
        _prove_equal(
            section, "elsewhere", "a model loaded in another thread speaks in this one",
            [say(tts, OTHER_TEXT)], [elsewhere],
        )  # fmt: skip


def _time_first_sound(section: Section, tts, text: str) -> None:
    began = time.perf_counter()
    with closing(tts.stream(text, seed=1, guard=False)) as chunks:
        next(chunks)
        seconds = time.perf_counter() - began
    section.figure("first_sound", "pocket: first sound of a stream", 1000 * seconds, "ms")


def _prove_equal(section: Section, name: str, title: str, spoken: list, expected: list) -> None:
    are_equal = len(spoken) == len(expected) and all(
        np.array_equal(a, b) for a, b in zip(spoken, expected, strict=True)
    )
    section.proof(name, title, are_equal, "equal to the bit" if are_equal else "it differs")


def _in_a_thread(work: Callable):
    """Run `work` in a thread of its own that has ended; return or raise what it does."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def _by_changing_threads(chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Take each chunk in another thread of a pool, as a web framework does."""
    nothing = object()
    while True:
        chunk = _in_a_thread(lambda: next(chunks, nothing))
        if chunk is nothing:
            return
        yield chunk
