"""Requests for speech tokens of T3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ...errors import SettingError, TextError
from ..decoder.cache import KVCache
from ..decoder.network import DecoderNetwork
from ..decoder.rows import DecodingRequest
from .sampling import SamplingSettings
from .t3 import T3

# Beyond it float32 cannot tell guided logits apart.
MAX_CFG_WEIGHT = 1_000_000


@dataclass(frozen=True, eq=False)
class RowRequest(DecodingRequest):
    """A sentence to be spoken by T3.

    Attributes:
        text_tokens: (n,), for the Llama with start and stop.
        conditioning: of the voice: (1, L, C) from `T3.embed_conditioning`, or its
            `T3.conditioning_cache`.
        cfg_weight: 0 turns guidance, and its second row, off (upstream crashes there). GPT-2 has
            none in any case.
        sampling, max_new_tokens, key, on_token, on_logits: see `DecodingRequest`.
    """

    text_tokens: mx.array
    conditioning: mx.array | KVCache
    sampling: SamplingSettings
    cfg_weight: float = 0.5
    max_new_tokens: int = 1000
    key: mx.array | None = None
    on_token: Callable[[int], object] | None = None
    on_logits: Callable[[int, np.ndarray], None] | None = None

    def check(self, network: DecoderNetwork) -> None:
        """See `check_lengths`."""
        check_lengths(_t3(network), self.text_tokens, self.cfg_weight, self.max_new_tokens)

    def weight(self, network: DecoderNetwork) -> float:
        """The weight of guidance; GPT-2 has none."""
        return 0.0 if _t3(network).config.is_gpt2 else self.cfg_weight

    @property
    def prompt_slots(self) -> int:
        one = self.conditioning
        length = one.length if isinstance(one, KVCache) else one.shape[1]
        return length + self.text_tokens.shape[0] + 2

    def arrays(self) -> list:
        one = self.conditioning
        return [self.text_tokens, *((one.keys, one.values) if isinstance(one, KVCache) else (one,))]

    def prefill(self, network: DecoderNetwork) -> tuple[mx.array, mx.array, KVCache]:
        """See `DecodingRequest.prefill`."""
        t3, conditioning = _t3(network), self.conditioning
        if not isinstance(conditioning, KVCache):
            conditioning = t3.conditioning_cache(conditioning)
        embeddings = t3.sentence_embeddings(self.text_tokens, self.weight(t3) > 0)
        hidden, past = t3.hidden_states(embeddings, conditioning)
        return t3.predict(hidden[:, -1]), hidden[:, -1], past


def _t3(network: DecoderNetwork) -> T3:
    if not isinstance(network, T3):
        raise SettingError("a sentence of T3 needs an engine whose network is one.")
    return network


def check_lengths(t3: T3, text_tokens: mx.array, cfg_weight: float, max_new_tokens: int) -> None:
    """Check that a row can read a text and decode that many tokens.

    Raises:
        SettingError, TextError: see `DecodingEngine.join`.
    """
    if t3.config.has_mask:
        raise SettingError("this T3 writes blocks of tokens, not one token at a time.")
    longest = t3.config.max_speech_tokens
    if not 1 <= max_new_tokens <= longest:
        raise SettingError(f"max_new_tokens must be from 1 to {longest}; got {max_new_tokens}.")
    if not 0 <= cfg_weight <= MAX_CFG_WEIGHT:
        raise SettingError(f"cfg_weight must be from 0 to {MAX_CFG_WEIGHT}; got {cfg_weight}.")
    room = t3.config.max_text_tokens + 2
    if t3.config.is_gpt2:
        prompt = t3.config.speech_cond_prompt_len + 2
        room = t3.config.max_position_embeddings - prompt - max_new_tokens
    check_text(t3, text_tokens, room)


def check_text(t3: T3, text_tokens: mx.array, room: int) -> None:
    """Check that a text has at most `room` tokens, and none outside the vocabulary.

    Raises:
        TextError: it is not so.
    """
    if text_tokens.shape[0] > room:
        raise TextError(
            f"the text has {text_tokens.shape[0]} tokens, more than the {room} that the model can "
            "read at once; split it."
        )
    largest = int(text_tokens.max())
    if largest >= t3.config.text_tokens_dict_size or int(text_tokens.min()) < 0:
        raise TextError(
            f"text token {largest} is outside the model's vocabulary of "
            f"{t3.config.text_tokens_dict_size}: the tokenizer belongs to another checkpoint."
        )
