"""Results: everything that a call produces."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import local
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Outcome:
    """The outcome of a piece of text.

    Attributes:
        tokens: speech tokens of the audio; of ChatTTS tuples, a code of each codebook.
        verdict: the guards' finding, "" for none.
        tries: number of attempts; more than one if an earlier one had a finding.
        seed: of the attempt that was kept: the piece alone with this seed gives this audio.
        stopped: True if the speech ended before the limit of its tokens, the caller's or the
            model's own.
        unread: letters, symbols and tags of the text that the model does not know and did not
            read; each once, in order.
    """

    tokens: tuple[Any, ...]
    verdict: str
    tries: int
    seed: int
    stopped: bool = True
    unread: tuple[str, ...] = ()


@dataclass
class Result:
    """Everything that a call produces.

    Attributes:
        limit: most tokens that could be decoded for a piece, of any text.
        waveforms: for each text (samples,) float32 at the model's rate. Empty for a stream, whose
            chunks are not kept.
        tokens: speech tokens of the audio, of all texts in order.
        outcomes: one for each piece of the audio, in the order of the texts.
        spans: place of each of these pieces in its text's waveform, (first sample, end). Empty for
            a stream.
        stopped: True if all pieces ended before the limit of their text.

    The result of a stream grows while that is taken, and is complete when it ends.
    """

    limit: int
    waveforms: list[np.ndarray] = field(default_factory=list)
    tokens: list[Any] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    stopped: bool = True

    @property
    def waveform(self) -> np.ndarray:
        """The waveform of the only text, (samples,) float32.

        Raises:
            ValueError: there are several texts, or it is the result of a stream.
        """
        if len(self.waveforms) != 1:
            raise ValueError(f"this result has {len(self.waveforms)} waveforms: see `waveforms`.")
        return self.waveforms[0]


class LatestResult:
    """The result of the latest call, for each thread its own.

    A thread that made no call reads the result of the latest call of any thread, so that work may
    be handed to another thread.
    """

    def __init__(self, before_any: Result):
        self._of_any_thread = before_any
        self._of_this_thread = local()

    def get(self) -> Result:
        return getattr(self._of_this_thread, "result", self._of_any_thread)

    def set(self, result: Result) -> None:
        self._of_this_thread.result = self._of_any_thread = result
