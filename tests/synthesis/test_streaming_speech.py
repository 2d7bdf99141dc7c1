"""Streaming by the pocket voice: length, seams, and how near to the whole."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from benchmarks.streaming import (
    SENTENCE,
    distances,
    speak_whole,
)
from mlx_chatterbox import ChatterboxTTS, Chunks
from mlx_chatterbox.watermark import detect

PLAIN = {"seed": 1, "watermark": False}
# Log-mel RMS of a stream against the whole of the same tokens and noise: the figure in
# docs/streaming.md and a margin.
MOST_DECIBELS = 2.0


@pytest.fixture(scope="module")
def tts() -> ChatterboxTTS:
    return ChatterboxTTS.from_pretrained("pocket")


@pytest.fixture(scope="module")
def both(tts) -> tuple[np.ndarray, list[np.ndarray]]:
    """A sentence as a whole, and as a stream."""
    whole = tts.generate(SENTENCE, seed=1)
    tokens = tts.last_tokens
    chunks = list(tts.stream(SENTENCE, seed=1))
    assert tts.last_tokens == tokens
    return whole, chunks


def test_a_stream_is_as_long_as_the_whole(both):
    whole, chunks = both
    assert len(chunks) >= 3
    assert sum(map(len, chunks)) == len(whole)


def test_a_stream_is_marked(both):
    assert detect(np.concatenate(both[1]), 24000) > 0.9


@pytest.fixture(scope="module")
def compared(tts):
    return distances(tts, speak_whole(tts, [SENTENCE], {}), Chunks())


def test_no_step_at_a_seam_is_beyond_the_signals_own_largest(compared):
    assert 0.0 < compared["worst_seam"] <= 1.0


def test_a_stream_sounds_as_the_whole(compared):
    assert 0.0 < compared["to_whole"]["mel_db"] <= MOST_DECIBELS


def test_the_first_sound_comes_after_a_quarter_of_the_tokens(tts):
    """`benchmarks.streaming` measures the time of that, and of the first window."""
    written = []
    chunks = tts.stream(SENTENCE, seed=1, progress=lambda stage, done, limit: written.append(done))
    next(chunks)
    early = len(written)
    for _ in chunks:
        pass
    assert early <= 0.25 * len(written)


@pytest.mark.slow
def test_memory_of_a_long_text_is_that_of_a_short_one():
    """Peak memory of the process, over ten sentences and over sixty."""
    script = """
import sys
from mlx_chatterbox import ChatterboxTTS
from benchmarks.worker import peak_resident
from mlx_chatterbox.recognition.held_out import HELD_OUT
tts = ChatterboxTTS.from_pretrained("pocket")
for _ in tts.stream(" ".join(HELD_OUT[:10] * int(sys.argv[1])), seed=1): pass
print(peak_resident())
"""
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", script, times])) for times in ("1", "6")
    ]
    assert peaks[1] <= 1.1 * peaks[0]
