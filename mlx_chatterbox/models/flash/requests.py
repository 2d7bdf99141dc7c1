"""Requests for speech tokens of Flash."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from ..decoder.cache import KVCache
from ..decoder.network import DecoderNetwork
from .sentences import FlashSentence, masked_t3
from .steppers import block_stepper_of
from .stepping import BlocksStepper
from .writer import BlockWriter


@dataclass(frozen=True, eq=False)
class FlashRequest(FlashSentence):
    """A sentence for the decoding engine; see `FlashSentence`."""

    def stepper(self, network: DecoderNetwork, mode: str) -> BlocksStepper:
        """See `block_stepper_of`."""
        return block_stepper_of(masked_t3(network), mode)

    def prefill(self, network: DecoderNetwork) -> tuple[mx.array, mx.array, KVCache]:
        """See `DecodingRequest.prefill`."""
        t3, conditioning = masked_t3(network), self.conditioning
        if not isinstance(conditioning, KVCache):
            conditioning = t3.conditioning_cache(conditioning)
        writer, is_guided = BlockWriter(t3), self.sampling.rows == 2
        before, past = writer.prefill(conditioning, self.text_tokens, is_guided)
        return t3.predict(before), before, past
