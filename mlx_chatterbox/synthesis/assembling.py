"""Assemble whole texts from finished pieces, each as soon as its last piece is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from .. import watermark
from ..audio.silence import silence
from ..audio.stretch import stretch
from ..errors import AudioError, errors_about
from .request import Request, Utterance
from .result import Outcome, Result
from .tokens import DecodedTokens


@dataclass
class FinishedPiece:
    """A piece of which nothing can change any more.

    Attributes:
        waveform: (samples,) float32.
        decoded: tokens of the attempt that was kept.
    """

    waveform: np.ndarray
    decoded: DecodedTokens
    outcome: Outcome


class TextAssembler:
    """Collects the finished pieces of a request's texts.

    Attributes:
        waveforms: of each text, (samples,) float32; (0,) before it is whole.
        spans: of each text, where its pieces lie in it: (first sample, end).
        failures: for each text that could not be decoded or marked the reason. The others go on, so
            that which of them are finished does not depend on which was sooner.
    """

    def __init__(self, request: Request, sample_rate: int):
        self._request, self._sample_rate = request, sample_rate
        self._settings = request.settings
        self._places = [at for pieces in request.texts for at in range(len(pieces))]
        self._finished: list[list[FinishedPiece | None]] = [
            [None] * len(pieces) for pieces in request.texts
        ]
        self._lock = Lock()
        self.spans: list[list[tuple[int, int]]] = [[] for _ in request.texts]
        self.waveforms = [np.zeros(0, np.float32) for _ in request.texts]
        self.failures: dict[int, Exception] = {}

    def add(self, utterance: Utterance, finished: FinishedPiece) -> None:
        """Take a finished piece; in any thread. The last of a text finishes that."""
        text, at = utterance.text, self._places[utterance.number]
        with self._lock:
            self._finished[text][at] = finished
            pieces = [one for one in self._finished[text] if one is not None]
        if len(pieces) == len(self._finished[text]):
            self._finish(text, pieces, utterance.name)

    def fail(self, utterance: Utterance, error: Exception) -> None:
        """Note why a piece could not be decoded; in any thread."""
        try:
            with errors_about(utterance.name):
                raise error
        except Exception as named:
            with self._lock:
                self.failures.setdefault(utterance.text, named)

    def _finish(self, text: int, pieces: Sequence[FinishedPiece], name: str) -> None:
        waveform, settings = np.concatenate(list(self._parts(text, pieces))), self._settings[text]
        if settings.speed != 1.0:
            before = len(waveform)
            waveform = stretch(waveform, self._sample_rate, settings.speed)
            self.spans[text] = [
                (start * len(waveform) // before, end * len(waveform) // before)
                for start, end in self.spans[text]
            ]
        if settings.watermark:
            try:
                with errors_about(name):
                    waveform = watermark.apply(waveform, self._sample_rate)
            except AudioError as error:
                self.failures[text] = error
                return
        self.waveforms[text] = waveform
        for one in pieces:  # not twice in memory while others are spoken
            one.waveform = silence(0, self._sample_rate)
        if self._request.finished is not None:
            outcomes = tuple(one.outcome for one in pieces)
            self._request.finished(text, waveform, outcomes)

    def _parts(self, text: int, pieces: Sequence[FinishedPiece]) -> Iterator[np.ndarray]:
        at = 0
        for piece, one in zip(self._request.texts[text], pieces, strict=True):
            before = silence(piece.pause_before, self._sample_rate)
            after = silence(piece.pause_after, self._sample_rate)
            start = at + len(before)
            self.spans[text].append((start, start + len(one.waveform)))
            at = self.spans[text][-1][1] + len(after)
            yield from (before, one.waveform, after)

    def finished(self) -> list[FinishedPiece]:
        """All finished pieces, in order."""
        return [one for of_text in self._finished for one in of_text if one is not None]

    def result(self) -> Result:
        """Everything that the request has become.

        Raises:
            Exception: the first text's of `failures`.
        """
        if self.failures:
            raise self.failures[min(self.failures)]
        outcomes = [one.outcome for one in self.finished()]
        return Result(
            self._request.limit,
            waveforms=self.waveforms,
            tokens=[token for one in outcomes for token in one.tokens],
            outcomes=outcomes,
            spans=[span for of_text in self.spans for span in of_text],
            stopped=all(one.stopped for one in outcomes),
        )
