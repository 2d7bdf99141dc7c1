"""Windows of a stream: each sample once, and those of the whole."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mlx_chatterbox.errors import SettingError
from mlx_chatterbox.models.chattts import windows as module
from mlx_chatterbox.models.chattts.windows import (
    CONTEXT_STEPS,
    next_window,
    sample_count,
    steps_before_sound,
    windows,
)

# Decoder and vocoder together; see the module.
FIELD = 75 + 27
FRAME = 256


def waveform(steps: np.ndarray) -> np.ndarray:
    """Samples of (n, 2) frames that depend on exactly as much as upstream's, in whole numbers.

    Frames are padded with zeros at both ends, as by the convolutions; four frames overlap in a
    sample, of which 512 are cut off at either end, as by the inverse STFT.
    """
    frames = steps.reshape(-1)
    features = np.convolve(frames, np.arange(1, 2 * FIELD + 2))[FIELD : FIELD + len(frames)]
    total = FRAME * (len(frames) + 3)
    added = np.zeros(total, np.int64)
    for i, value in enumerate(features):
        added[FRAME * i : FRAME * (i + 4)] += value * np.arange(1, 4 * FRAME + 1)
    return added[2 * FRAME : total - 2 * FRAME]


def streamed(steps: np.ndarray, every: int, lookahead: int = CONTEXT_STEPS) -> list[np.ndarray]:
    return [
        waveform(steps[window.start : window.stop])[window.slice]
        for window in windows(len(steps), every, lookahead)
    ]


@pytest.fixture(scope="module")
def steps() -> np.ndarray:
    return np.random.default_rng(5).integers(-9, 10, (260, 2))


@pytest.mark.parametrize("count", [1, 2, 7, 51, 52, 53, 60, 104, 105, 157, 260])
@pytest.mark.parametrize("every", [1, 12, 24, 100, 300])
def test_a_stream_is_the_whole_to_the_bit(steps, count, every):
    if every == 1 and count > 60:
        count = 110
    whole = waveform(steps[:count])
    assert len(whole) == sample_count(count) == 512 * count - 256
    np.testing.assert_array_equal(np.concatenate(streamed(steps[:count], every)), whole)


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_step_less_is_too_little(steps, side, monkeypatch):
    whole = waveform(steps)
    if side == "before":
        monkeypatch.setattr(module, "CONTEXT_STEPS", CONTEXT_STEPS - 1)
    less = np.concatenate(streamed(steps, 24, CONTEXT_STEPS - (side == "after")))
    assert len(less) == len(whole)
    assert (less != whole).any()


@pytest.mark.parametrize("lookahead", [0, 1, 8, 24, 51, 60])
def test_each_sample_is_emitted_once_with_any_lookahead(steps, lookahead):
    schedule = list(windows(260, 24, lookahead))
    assert sum(window.samples for window in schedule) == sample_count(260)
    ends = [512 * window.start + window.skip + window.samples for window in schedule]
    starts = [512 * window.start + window.skip for window in schedule]
    assert starts[0] == 0
    assert all(end == start for end, (_, start) in zip(ends, pairwise(starts), strict=False))
    assert all(window.samples > 0 for window in schedule)
    # Every window's own samples are enough.
    assert all(w.skip + w.samples <= sample_count(w.stop - w.start) for w in schedule)


def test_windows_stay_short_however_long_the_stream(steps):
    longest = max(w.stop - w.start for w in windows(5000, 24))
    assert longest <= 2 * CONTEXT_STEPS + 2 * 24


@pytest.mark.parametrize(("every", "lookahead"), [(24, 52), (1, 52), (12, 8), (24, 0), (53, 52)])
def test_sound_begins_after_the_steps_that_are_announced(every, lookahead):
    first = next(iter(windows(1000, every, lookahead)))
    assert first.stop == steps_before_sound(every, lookahead)


def test_the_context_is_what_the_networks_see():
    assert module.CONTEXT_FRAMES == FIELD + 2 == 2 * CONTEXT_STEPS
    assert [sample_count(steps) for steps in (0, 1, 2)] == [0, 256, 768]


def test_nothing_new_is_no_window():
    assert next_window(0, 0) is None
    assert next_window(0, 0, is_end=True) is None
    assert next_window(0, CONTEXT_STEPS) is None
    assert next_window(0, CONTEXT_STEPS + 1) is not None
    assert next_window(sample_count(9), 9, is_end=True) is None


def test_wrong_settings_are_refused():
    with pytest.raises(SettingError, match="lookahead"):
        next_window(0, 9, lookahead=-1)
    with pytest.raises(SettingError, match="every step"):
        list(windows(9, 0))
