"""The schedule of streaming: which steps to decode again for the next samples, each sample once.

A step of the GPT is two mel frames, 512 samples at 24 kHz; n steps make 512 n - 256 samples. The
decoder sees 75 frames to either side (its convolutions: 1 + 1 + 12 x 6 + 1), the vocoder 27
(3 + 8 x 3), the inverse STFT 2 more: 104 frames, which are 52 steps. Samples that lie so far within
a window of steps are those of the whole; so a stream needs 52 steps more than it plays. Fewer may
be asked for, for sound sooner: then the last frames of a window are those of a speech that ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import SettingError

FRAMES_PER_STEP = 2
SAMPLES_PER_FRAME = 256
SAMPLES_PER_STEP = FRAMES_PER_STEP * SAMPLES_PER_FRAME
# To either side, for samples equal to those of the whole.
CONTEXT_FRAMES = 104
CONTEXT_STEPS = CONTEXT_FRAMES // FRAMES_PER_STEP


@dataclass(frozen=True)
class StepWindow:
    """Steps to decode together, and the samples to keep of them.

    Attributes:
        start, stop: the steps, of which the last is not decoded.
        skip: samples of the window that were emitted before.
        samples: that are emitted now, after those.
    """

    start: int
    stop: int
    skip: int
    samples: int

    @property
    def slice(self) -> slice:
        """The part of the window's samples that is emitted."""
        return slice(self.skip, self.skip + self.samples)


def sample_count(steps: int) -> int:
    """The number of samples of so many steps."""
    return max(0, SAMPLES_PER_STEP * steps - SAMPLES_PER_FRAME)


def next_window(
    emitted: int, steps: int, is_end: bool = False, lookahead: int = CONTEXT_STEPS
) -> StepWindow | None:
    """The window for all samples that can be emitted now.

    Args:
        emitted: samples emitted before.
        steps: steps of the row so far.
        is_end: there will be no more steps.
        lookahead: steps after the last sample that must be there, from 0; from `CONTEXT_STEPS` on
            samples are exact.

    Returns:
        None if there is nothing to emit.

    Raises:
        SettingError: a negative lookahead.
    """
    if lookahead < 0:
        raise SettingError(f"the lookahead must be 0 steps or more; got {lookahead}.")
    whole = sample_count(steps)
    until = whole if is_end else min(whole, SAMPLES_PER_STEP * (steps - lookahead))
    if until <= emitted:
        return None
    start = max(0, emitted // SAMPLES_PER_STEP - CONTEXT_STEPS)
    return StepWindow(start, steps, emitted - SAMPLES_PER_STEP * start, until - emitted)


def windows(steps: int, every: int, lookahead: int = CONTEXT_STEPS) -> Iterator[StepWindow]:
    """The windows of a row that ends after so many steps.

    Args:
        every: a window is decoded after every so many steps, if it has anything to emit.
        lookahead: see `next_window`.

    Raises:
        SettingError: `every` is less than one step, or the lookahead negative.
    """
    if every < 1:
        raise SettingError(f"a window must come every step or more seldom; got {every} steps.")
    emitted = 0
    for so_far in [*range(every, steps, every), steps]:
        window = next_window(emitted, so_far, so_far == steps, lookahead)
        if window is not None:
            emitted += window.samples
            yield window


def steps_before_sound(every: int, lookahead: int = CONTEXT_STEPS) -> int:
    """The number of steps before the first samples of a stream that goes on for longer."""
    return -(-(lookahead + 1) // every) * every
