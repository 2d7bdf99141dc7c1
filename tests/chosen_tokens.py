"""Tokens that a test has chosen, in the place of those that T3 would decode."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.models.decoder import engine
from mlx_chatterbox.models.decoder.cache import KVCache
from mlx_chatterbox.models.decoder.rows import Progress
from mlx_chatterbox.models.decoder.steppers import Stepper, Written
from mlx_chatterbox.models.t3.requests import RowRequest

# The tokens of a request; the number is that of the order of arrival in its engine.
TokensOf = Callable[[int, RowRequest], Sequence[int]]


class ChosenStepper(Stepper):
    """Draws chosen tokens, and the stop token after them; nothing is computed."""

    is_queued = False

    def __init__(self, t3, tokens_of: TokensOf):
        super().__init__(t3)
        self._stop = t3.config.stop_speech_token
        self._tokens_of, self._tokens = tokens_of, {}

    def join(self, row: Progress, logits: mx.array, hidden: mx.array, past: KVCache) -> None:
        self._tokens[row] = list(self._tokens_of(row.row.number, row.request))
        row.drawn = 1

    def leave(self, rows: Sequence[Progress]) -> None:
        for row in rows:
            self._tokens.pop(row, None)

    def advance(self, rows: Sequence[Progress]) -> None:
        for row in rows:
            row.drawn += 1

    def read(self, rows: Sequence[Progress]) -> list[Written]:
        own = [self._tokens[row] for row in rows]
        return [
            Written(one[row.read] if row.read < len(one) else self._stop)
            for row, one in zip(rows, own, strict=True)
        ]

    slots = 0

    def slots_after_step(self, rows, joining=(0, 0)) -> int:
        return 0


def choose_tokens(monkeypatch: pytest.MonkeyPatch, tokens_of: TokensOf) -> None:
    """Have every engine of this process deliver chosen tokens, with the engine's own rules."""
    zeros, nothing = mx.zeros((1, 1)), KVCache((), ())
    monkeypatch.setattr(engine, "prefill", lambda t3, request: (zeros, zeros, nothing))
    monkeypatch.setattr(engine, "stepper_of", lambda t3, *_: ChosenStepper(t3, tokens_of))


def key_of(request: RowRequest) -> tuple[int, ...]:
    """The numbers of a request's random key."""
    return tuple(np.array(request.key).tolist())
