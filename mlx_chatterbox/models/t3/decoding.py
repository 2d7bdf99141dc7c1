"""Decoding as generators, of one sentence or of several: tokens as the engine delivers them."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence

import mlx.core as mx

from ...errors import SettingError
from ..decoder.cache import KVCache
from ..decoder.engine import DecodingEngine
from ..decoder.rows import Row
from .requests import RowRequest
from .sampling import SamplingSettings
from .t3 import T3


def decode(
    t3: T3,
    cond: mx.array | KVCache,
    text_tokens: mx.array,
    settings: SamplingSettings,
    cfg_weight: float = 0.5,
    max_new_tokens: int = 1000,
    key: mx.array | None = None,
) -> Generator[int]:
    """Decode speech tokens until the stop token, as upstream's `inference` or `inference_turbo`.

    Args:
        text_tokens, ...: see `RowRequest`.

    Yields:
        Speech tokens, also those of 6561 and over that have no sound; not the stop token.

    Raises:
        SettingError, TextError: see `DecodingEngine.join`.
        CheckpointError: the model predicts NaN.
    """
    keys = None if key is None else [key]
    steps = decode_batch(t3, cond, [text_tokens], settings, cfg_weight, max_new_tokens, keys)
    for written in steps:
        for _, token in written:
            yield token


def decode_batch(
    t3: T3,
    cond: mx.array | KVCache,
    texts: Sequence[mx.array],
    settings: SamplingSettings,
    cfg_weight: float = 0.5,
    max_new_tokens: int = 1000,
    keys: Sequence[mx.array] | None = None,
    ended: Collection[int] = (),
) -> Generator[list[tuple[int, int]]]:
    """Decode the speech tokens of several sentences of one voice together.

    Args:
        cond, ...: see `RowRequest`, of every sentence.
        texts: (n,) tokens each.
        keys: source of each sentence's draws; those of the seeds 0, 1, ... without.
        ended: sentences to end now; the caller may add some after each step.

    Yields:
        At each step (sentence, token) for those that still speak, also tokens of 6561 and over
        that have no sound; not the stop token.

    Raises:
        SettingError, TextError: see `DecodingEngine.join`; also for not a key a sentence.
        CheckpointError: the model predicts NaN.
    """
    keys = [mx.random.key(i) for i in range(len(texts))] if keys is None else keys
    if len(keys) != len(texts):
        raise SettingError(f"{len(texts)} sentences need as many keys; got {len(keys)}.")
    engine = DecodingEngine(t3, rows=max(1, len(texts)), prefills=None)
    rows: list[Row] = []
    for text, key in zip(texts, keys, strict=True):
        request = RowRequest(text, cond, settings, cfg_weight, max_new_tokens, key)
        rows.append(engine.join(request))
    numbers = {row: number for number, row in enumerate(rows)}
    while not engine.is_idle:
        step = engine.step()
        for row in rows:
            if row.error is not None:
                raise row.error
        if step:
            yield [(numbers[row], token) for row, token in step]
        for number in ended:
            engine.leave(rows[number])
