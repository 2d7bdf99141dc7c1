"""From finished pieces to whole texts, each as soon as its last piece is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Lock

import numpy as np

from .. import watermark
from ..audio.silence import silence
from ..audio.stretch import stretch
from ..errors import AudioError
from ..text.pauses import Breath
from .request import Batch
from .retries import Spoken, Utterance


class Joining:
    """The texts of one call, on their way.

    Args:
        said: the pieces of each text.
        marks: whether whole texts are watermarked.
        speed: how much faster they become before.

    Attributes:
        spans: of each text, where its pieces stand in it: first sample, and behind the last.
        waveforms: of each text, (samples,) float32; nothing of one that is not needed.
        failure: why a text could not be marked. The others go on, so that which of them are
            finished does not depend on which was sooner.
    """

    def __init__(
        self,
        batch: Batch,
        said: Sequence[Sequence[Breath]],
        sr: int,
        marks: bool,
        speed: float = 1.0,
    ):
        self._batch, self._said, self._sr, self._marks = batch, said, sr, marks
        self._speed = speed
        self._places = [
            (text, at) for text, of_text in enumerate(said) for at in range(len(of_text))
        ]
        self._spoken: list[list[Spoken | None]] = [[None] * len(of_text) for of_text in said]
        self._lock = Lock()
        self.spans: list[list[tuple[int, int]]] = [[] for _ in said]
        self.waveforms = [np.zeros(0, np.float32) for _ in said]
        self.failure: AudioError | None = None

    def is_needed(self, number: int) -> bool:
        """Whether a piece, counted through all texts, is to be sounded."""
        return self._places[number][0] not in self._batch.unneeded

    def add(self, utterance: Utterance, spoken: Spoken) -> None:
        """Take a finished piece; in any thread. The last of a text finishes that."""
        text, at = self._places[utterance.number]
        with self._lock:
            self._spoken[text][at] = spoken
            is_whole = all(one is not None for one in self._spoken[text])
        if is_whole:
            self._finish(text)

    def _finish(self, text: int) -> None:
        waveform = np.concatenate(list(self._parts(text)))
        if self._speed != 1.0:
            before, waveform = len(waveform), stretch(waveform, self._sr, self._speed)
            self.spans[text] = [
                (start * len(waveform) // before, end * len(waveform) // before)
                for start, end in self.spans[text]
            ]
        if self._marks:
            try:
                waveform = watermark.apply(waveform, self._sr)
            except AudioError as error:
                self.failure = error
                return
        self.waveforms[text] = waveform
        if self._batch.finished is not None:
            outcomes = tuple(one.outcome for one in self._spoken[text])
            self._batch.finished(text, waveform, outcomes)

    def _parts(self, text: int) -> Iterator[np.ndarray]:
        at = 0
        for breath, one in zip(self._said[text], self._spoken[text], strict=True):
            before, behind = silence(breath.before, self._sr), silence(breath.behind, self._sr)
            start = at + len(before)
            self.spans[text].append((start, start + len(one.waveform)))
            at = self.spans[text][-1][1] + len(behind)
            yield from (before, one.waveform, behind)

    def spoken(self) -> list[Spoken]:
        """All finished pieces, in order."""
        return [one for of_text in self._spoken for one in of_text if one is not None]
