"""Decoding of one sentence or of several, whose blocks share a pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence

from ...errors import SettingError
from ..t3.t3 import T3
from .prior import PriorMemory
from .requests import FlashRequest
from .rows import BlockRow
from .writer import BlockWriter


def decode(
    t3: T3, request: FlashRequest, priors: PriorMemory | None = None
) -> Generator[list[int]]:
    """Decode a sentence.

    Yields:
        The tokens of each block, up to the stop token; those of 6561 and over have no sound.

    Raises:
        SettingError, TextError: see `FlashRequest.check`.
        CheckpointError: the model predicts NaN.
    """
    for written in decode_together(t3, [request], priors):
        for _, tokens in written:
            yield tokens


def decode_together(
    t3: T3,
    requests: Sequence[FlashRequest],
    priors: PriorMemory | None = None,
    sentences: int = 8,
) -> Generator[list[tuple[BlockRow, list[int]]]]:
    """Decode sentences that share every pass, each at a step of its own.

    Attention and draws are each sentence's own. Its products are rounded as they are alone where
    a row's product does not depend on the number of rows, and in any case with `sentences` 1.

    Args:
        priors: those that are known; None: they are computed again.
        sentences: most of a pass.

    Yields:
        After each round of passes the rows that finished a block, with its tokens, in the order
        of the requests. Rows know what was asked of them.

    Raises:
        SettingError, TextError, CheckpointError: as `decode`.
    """
    if sentences < 1:
        raise SettingError(f"sentences must be 1 or more; got {sentences}.")
    priors = PriorMemory() if priors is None else priors
    writer, rows = BlockWriter(t3), []
    for request in requests:
        request.check(t3)
        prior = None
        if request.sampling.prior_precompute:
            prior = priors.log_prior(writer, request.block_size)
        rows.append(BlockRow(writer, request, prior))
    while rows := [row for row in rows if not row.end]:
        written = {}
        for group in _groups(rows, sentences):
            blocks, caches = [row.block for row in group], [row.cache for row in group]
            results = writer.run(blocks, caches, group[0].width)
            for row, hidden in zip(group, results, strict=True):
                tokens = row.take(hidden)
                if tokens or row.end:
                    written[row] = _deliver(row, tokens)
        if written:
            yield [(row, written[row]) for row in rows if row in written]


def _groups(rows: Sequence[BlockRow], most: int) -> Iterator[list[BlockRow]]:
    """Rows that share a pass: those with blocks of one size."""
    by_width = defaultdict(list)
    for row in rows:
        by_width[row.width].append(row)
    for alike in by_width.values():
        for first in range(0, len(alike), most):
            yield alike[first : first + most]


def _deliver(row: BlockRow, tokens: list[int]) -> list[int]:
    """Call a row's `on_token` with each token; those after its end are dropped."""
    if row.request.on_token is not None:
        for number, token in enumerate(tokens, start=1):
            if row.request.on_token(token):
                row.end = "watch"
                return tokens[:number]
    return tokens
