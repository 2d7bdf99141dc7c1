"""Results: everything that a call produces."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import local

import numpy as np


@dataclass(frozen=True)
class Outcome:
    """The outcome of a piece of text.

    Attributes:
        tokens: speech tokens that are heard in the audio.
        verdict: what was found wrong with it, "" for nothing.
        tries: how often it was spoken; more than one if something was found before.
        seed: of the attempt that was kept: the piece alone with this seed gives this audio.
        stopped: whether the speech came to its end before the limit of its tokens, the caller's or
            the model's own.
        unread: what of the text the model does not know and did not read: letters, symbols, tags;
            each once, in order.
    """

    tokens: tuple[int, ...]
    verdict: str
    tries: int
    seed: int
    stopped: bool = True
    unread: tuple[str, ...] = ()


@dataclass
class Result:
    """Everything that a call produces.

    Attributes:
        limit: how many tokens could be decoded for a piece.
        waveforms: for each text (samples,) float32 at the model's rate; (0,) for one that is
            decoded only. None of a stream, whose chunks nobody keeps.
        tokens: speech tokens that are heard, of all texts in order.
        outcomes: one for each piece that is heard, in the order of the texts.
        spans: where each of these pieces lies in its text's waveform, (first sample, end). None of
            a stream.
        stopped: whether all pieces ended before the limit.

    The result of a stream grows while that is taken, and is complete when it ends.
    """

    limit: int
    waveforms: list[np.ndarray] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
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

    A thread reads what its own call left, and one that made none what was left by the latest of
    any, so that work may be handed to another thread.
    """

    def __init__(self, before_any: Result):
        self._of_any_thread = before_any
        self._of_this_thread = local()

    def get(self) -> Result:
        return getattr(self._of_this_thread, "result", self._of_any_thread)

    def set(self, result: Result) -> None:
        self._of_this_thread.result = self._of_any_thread = result
