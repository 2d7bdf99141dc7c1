"""Decoding as generators, of one sentence or of several: blocks as the engine delivers them."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from ..decoder.engine import DecodingEngine
from ..decoder.rows import Row
from ..t3.t3 import T3
from .requests import FlashRequest


def decode(t3: T3, request: FlashRequest) -> Generator[list[int]]:
    """Decode a sentence.

    Yields:
        The tokens of each block, up to the stop token; those of 6561 and over have no sound.

    Raises:
        SettingError, TextError: see `FlashRequest.check`.
        CheckpointError: the model predicts NaN.
    """
    for written in decode_together(t3, [request]):
        for _, tokens in written:
            yield tokens


def decode_together(
    t3: T3, requests: Sequence[FlashRequest], mode: str = "fast"
) -> Generator[list[tuple[Row, list[int]]]]:
    """Decode sentences that share every pass, each at a step of its own.

    Args:
        mode: see `DecodingEngine`.

    Yields:
        After each pass the rows that finished a block, with its tokens, in the order of the
        requests.

    Raises:
        SettingError, TextError, CheckpointError: as `decode`.
    """
    engine = DecodingEngine(t3, rows=max(1, len(requests)), mode=mode, prefills=None)
    rows = [engine.join(request) for request in requests]
    while not engine.is_idle:
        written: dict[Row, list[int]] = {row: [] for row in rows}
        for row, token in engine.step():
            written[row].append(token)
        for row in rows:
            if row.error is not None:
                raise row.error
        if any(written.values()):
            yield [(row, tokens) for row, tokens in written.items() if tokens]
