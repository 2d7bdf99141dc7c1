"""Results of ChatTTS: the outcome of each piece, and whole texts assembled from pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ... import watermark
from ...audio.stretch import stretch
from ...text.unread import UnreadWarning, not_read
from ..result import Outcome, Result
from .request import ChatTTSRequest
from .writer import PieceWriter, PieceWriting

SAMPLE_RATE = 24000
EMPTY = "the model ended the speech at once"


@dataclass(frozen=True)
class ChatTTSOutcome(Outcome):
    """The outcome of a piece; its tokens are tuples, a code of each codebook.

    Attributes:
        text: that was spoken: normalised, and refined if it was to be.
    """

    text: str = ""


def outcome_of(one: PieceWriting) -> ChatTTSOutcome:
    """Report a piece that has ended."""
    codes = tuple(one.codes)
    is_empty = one.row is not None and not codes and one.row.end == "stop"
    return ChatTTSOutcome(
        codes, EMPTY if is_empty else "", one.tries, one.seed, one.stopped, one.unread, one.text
    )


def limit_of(request: ChatTTSRequest) -> int:
    """The most steps of a piece."""
    return 0 if request.speaking is None else request.speaking.max_new_tokens


def unread_warnings(pieces: Sequence[PieceWriting]) -> list[Warning]:
    """Warnings of what was left out of pieces, one for each that lacks something."""
    return [
        UnreadWarning(not_read(one.name or "the text", one.unread)) for one in pieces if one.unread
    ]


class WaveformAssembler:
    """Assembles the waveforms of a request's texts, each as soon as its last piece has ended."""

    def __init__(self, writer: PieceWriter, request: ChatTTSRequest):
        self._writer, self._request = writer, request
        self._sounds: dict[int, np.ndarray] = {}
        self._waveforms = [np.zeros(0, np.float32) for _ in request.texts]
        self._spans: list[list[tuple[int, int]]] = [[] for _ in request.texts]

    def add(self, one: PieceWriting) -> None:
        """Make the sound of a piece that has ended, and the text of it if it was the last.

        Raises:
            AudioError: samples that cannot be marked.
        """
        self._sounds[one.number] = self._writer.sound(self._writer.steps_of(one))
        pieces = self._writer.of_text(one.text_number)
        if not all(piece.number in self._sounds for piece in pieces):
            return
        number = one.text_number
        waveform, self._spans[number] = self._joined(pieces, self._request.speeds[number])
        if self._request.watermark and waveform.size:
            waveform = watermark.apply(waveform, SAMPLE_RATE)
        self._waveforms[number] = waveform
        if self._request.finished is not None:
            self._request.finished(number, waveform, tuple(map(outcome_of, pieces)))

    def result(self) -> Result:
        """Everything that the call produced, once all pieces have ended."""
        spans = [span for of_text in self._spans for span in of_text]
        result = Result(limit_of(self._request), waveforms=self._waveforms, spans=spans)
        for one in self._writer.pieces:
            add_outcome(result, one)
        return result

    def _joined(
        self, pieces: Sequence[PieceWriting], speed: float
    ) -> tuple[np.ndarray, list[tuple[int, int]]]:
        parts = [self._sounds.pop(one.number) for one in pieces]
        waveform = np.concatenate([np.zeros(0, np.float32), *parts])
        ends = np.cumsum([0, *map(len, parts)])
        before = max(1, len(waveform))
        if speed != 1.0 and waveform.size:
            waveform = stretch(waveform, SAMPLE_RATE, speed)
            ends = ends * len(waveform) // before
        return waveform, [(int(a), int(b)) for a, b in pairwise(ends)]


def add_outcome(result: Result, one: PieceWriting) -> None:
    """Add a piece that has ended to a result."""
    outcome = outcome_of(one)
    result.outcomes.append(outcome)
    result.tokens += outcome.tokens
    result.stopped = result.stopped and outcome.stopped
