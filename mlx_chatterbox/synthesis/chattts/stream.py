"""Speech of ChatTTS while its codes are still being written.

One piece after the other for a listener, or, as upstream does, several side by side. Either way
windows are decoded with all the steps around them that their samples depend on
(`models/chattts/windows.py`), so that each sample is emitted once and is that of the whole.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np

from ...watermark.marker import Marker
from ..result import Result
from .outcome import SAMPLE_RATE, add_outcome
from .request import StreamSettings
from .sound import WindowedSound
from .writer import PieceWriter, PieceWriting


def piece_chunks(
    writer: PieceWriter, settings: StreamSettings, result: Result
) -> Generator[tuple[np.ndarray, bool]]:
    """Yield the pieces' sound one after the other, (n,) float32, and True with the last.

    Later pieces are written meanwhile. When this generator is closed, all end.

    Args:
        result: grows with the pieces.
    """
    try:
        last = writer.pieces[-1] if writer.pieces else None
        for one in writer.pieces:
            sound = WindowedSound(writer.sound, settings.lookahead)
            while not one.is_ended:
                _step_until_due(writer, [one], settings)
                if one.is_ended:
                    break
                sound.advance(writer.steps_of(one), is_end=False)
                chunk = sound.take(settings.largest)
                if chunk.size:
                    yield chunk, False
            sound.advance(writer.steps_of(one), is_end=True)
            add_outcome(result, one)
            yield sound.take(sound.samples), one is last
    finally:
        writer.stop()


def row_chunks(
    writer: PieceWriter, settings: StreamSettings, together: int, is_marked: bool, result: Result
) -> Generator[np.ndarray]:
    """Yield the sound of several pieces side by side, (B, n) float32, n > 0, group by group.

    A row that has ended is zeros until the longest of its group ends.

    Args:
        together: most rows of a group.
    """
    try:
        for i in range(0, len(writer.pieces), together):
            group = writer.pieces[i : i + together]
            markers = [Marker(SAMPLE_RATE) for _ in group] if is_marked else []
            for rows, is_last in _group_chunks(writer, group, settings):
                if markers:
                    rows = _marked(markers, rows, is_last)
                if rows.shape[1]:
                    yield rows
            for one in group:
                add_outcome(result, one)
    finally:
        writer.stop()


def _group_chunks(
    writer: PieceWriter, group: Sequence[PieceWriting], settings: StreamSettings
) -> Generator[tuple[np.ndarray, bool]]:
    sounds = [WindowedSound(writer.sound, settings.lookahead) for _ in group]
    emitted, is_over = 0, False
    while not is_over:
        _step_until_due(writer, group, settings)
        is_over = all(one.is_ended for one in group)
        for one, sound in zip(group, sounds, strict=True):
            sound.advance(writer.steps_of(one), one.is_ended)
        if is_over:
            until = max(sound.samples for sound in sounds)
        else:
            running = [
                sound.samples for one, sound in zip(group, sounds, strict=True) if not one.is_ended
            ]
            until = max(emitted, min(*running, emitted + settings.largest))
        rows = np.zeros((len(group), until - emitted), np.float32)
        for row, sound in zip(rows, sounds, strict=True):
            part = sound.take(until - emitted)
            row[: len(part)] = part
        emitted = until
        yield rows, is_over


def _step_until_due(
    writer: PieceWriter, group: Sequence[PieceWriting], settings: StreamSettings
) -> None:
    """Step until something may be emitted, or all of a group have ended."""
    while not all(one.is_ended for one in group):
        before = _shortest(writer, group)
        writer.step()
        after = _shortest(writer, group)
        if after != before and settings.is_due(after):
            return


def _shortest(writer: PieceWriter, group: Sequence[PieceWriting]) -> int:
    return min((len(writer.steps_of(one)) for one in group if not one.is_ended), default=0)


def _marked(markers: Sequence[Marker], rows: np.ndarray, is_last: bool) -> np.ndarray:
    """Mark rows of one length, which come out later and still of one length."""
    parts = [marker.push(row) for marker, row in zip(markers, rows, strict=True)]
    if is_last:
        parts = [
            np.concatenate([part, marker.finish()])
            for part, marker in zip(parts, markers, strict=True)
        ]
    return np.stack(parts)
