"""Flash's requests for proofs of batch invariance."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np

from ..models.flash.requests import FlashRequest
from ..models.flash.rows import BlockRow
from ..models.flash.settings import FlashSampling
from .repertoire import ONE_FAILS, drawn_sizes
from .t3_repertoire import T3Repertoire

_BLOCK_SIZES = (16, 16, 16, 8, 5, 32)


class FlashRepertoire(T3Repertoire):
    """Sentences in several voices, with blocks of several sizes; in some the voice is NaN.

    A draw is a step of a block that decides something.
    """

    def slots(self, number: int, tokens: int = 0) -> int:
        """See `Repertoire.slots`; `tokens` are deciding steps."""
        return super().slots(number, self._block_of(number, tokens) * self._size(number))

    def most_slots(self, number: int) -> int:
        """See `Repertoire.most_slots`."""
        return super().slots(number, self.requests[number].blocks * self._size(number))

    def prompt(self, number: int) -> int:
        return self.requests[number].prompt_slots

    def _size(self, number: int) -> int:
        return self.requests[number].block_size

    def _block_of(self, number: int, step: int) -> int:
        """The block, from 0, that a deciding step belongs to."""
        place = BlockRow(self.requests[number])
        while place.deciding < step and place.number + 1 < place.request.blocks:
            place.go_on()
        return place.number

    def _drawn_request(  # type: ignore[override]
        self, number: int, draw: np.random.Generator, has_long: bool
    ) -> FlashRequest:
        config, voice = self._t3.config, self._voices[self._picked[number]]
        limit, length = drawn_sizes(number, draw, has_long, voice.shape[1])
        tokens = draw.integers(1, config.text_tokens_dict_size - 1, length)
        return FlashRequest(
            text_tokens=mx.array(tokens.astype(np.int32)),
            conditioning=self._nothing if number % ONE_FAILS == ONE_FAILS - 1 else voice,
            sampling=_drawn_settings(draw),
            max_new_tokens=limit,
            block_size=int(draw.choice(_BLOCK_SIZES)),
            key=mx.random.key(int(draw.integers(2**31))),
        )


def _drawn_settings(draw: np.random.Generator) -> FlashSampling:
    settings = FlashSampling(
        num_steps=int(draw.choice([1, 4, 8, 10])),
        temperature=float(draw.choice([0.0, 0.2, 0.6, 1.0])),
        time_shift_tau=float(draw.choice([0.0, 0.1, 0.5, 1.0])),
        schedule_t_shift=float(draw.choice([0.0, 0.5, 1.0])),
        cfg_scale=float(draw.choice([0.0, 0.5, 1.0])),
        position_temperature=float(draw.choice([0.0, 1.0, 5.0])),
        prior_precompute=bool(draw.uniform() < 0.8),
    )
    return replace(settings, upstream_exact=bool(draw.uniform() < 0.2))
