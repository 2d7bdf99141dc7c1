"""Requests to ChatTTS's GPT: for refined text, and for codes of sound."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ...errors import SettingError, TextError
from ..decoder.cache import KVCache
from ..decoder.network import DecoderNetwork
from ..decoder.rows import DecodingRequest
from .networks import ChatTTSNetworks
from .sampling import ChatTTSSampling


class _GPTRequest(DecodingRequest):
    """A request to one of the GPT's two writers."""

    networks: ChatTTSNetworks
    ids: np.ndarray
    sampling: ChatTTSSampling

    @abstractmethod
    def network(self, of_engine: DecoderNetwork | None = None) -> DecoderNetwork:
        """The writer; the engine needs none of its own."""

    @abstractmethod
    def _embedded(self) -> mx.array:
        """The prompt, (1, T, C)."""

    def check(self, network: DecoderNetwork) -> None:
        """Check that there are positions for the prompt and all that may be written.

        Raises:
            SettingError, TextError: there are not, or a setting is of another kind of request.
        """
        room = self.networks.gpt.config.max_position_embeddings
        length = self.prompt_slots
        if not 0 < length < room:
            raise TextError(
                f"the prompt has {length} tokens, and the model reads from 1 to {room - 1} at "
                "once; split the text."
            )
        if not 1 <= self.max_new_tokens <= room - length:
            raise SettingError(
                f"max_new_tokens must be from 1 to {room - length}, since the model has {room} "
                f"positions and the prompt takes {length}; got {self.max_new_tokens}."
            )
        numbers = network.sampler.numbers or 1
        if len(self.sampling.temperatures) not in (1, numbers):
            raise SettingError(
                f"temperature must be a number{f', or {numbers}' if numbers > 1 else ''} here; "
                f"got {len(self.sampling.temperatures)}."
            )

    @property
    def prompt_slots(self) -> int:
        return self.ids.shape[0]

    def arrays(self) -> list:
        return []

    def prefill(self, network: DecoderNetwork) -> tuple[mx.array, mx.array, KVCache]:
        """See `DecodingRequest.prefill`."""
        hidden, past = network.hidden_states(self._embedded())
        return network.predict(hidden[:, -1]), hidden[:, -1], past


@dataclass(frozen=True, eq=False)
class TextRow(_GPTRequest):
    """A text to be refined: tokens that follow a prompt of text.

    Attributes:
        ids: (T,) int32, the prompt.
        sampling, max_new_tokens, key, on_token, on_logits: see `DecodingRequest`.
    """

    networks: ChatTTSNetworks
    ids: np.ndarray
    sampling: ChatTTSSampling
    max_new_tokens: int = 384
    key: mx.array | None = None
    on_token: Callable[[int], object] | None = None
    on_logits: Callable[[int, np.ndarray], None] | None = None

    def network(self, of_engine: DecoderNetwork | None = None) -> DecoderNetwork:
        return self.networks.text

    def _embedded(self) -> mx.array:
        return self.networks.gpt.emb_text(mx.array(np.asarray(self.ids, np.int32)))[None]


@dataclass(frozen=True, eq=False)
class CodeRow(_GPTRequest):
    """A text to be spoken: codes of sound, four at a time, that follow a prompt.

    Attributes:
        ids: (T, 4) int32, the prompt: text in the first column, or codes of an audio prompt.
        is_text: (T,) bool.
        speaker: (C,) normalised, which takes the place of the speaker token; or None.
        sampling, max_new_tokens, key, on_token, on_logits: see `DecodingRequest`.
    """

    networks: ChatTTSNetworks
    ids: np.ndarray
    is_text: np.ndarray
    speaker: np.ndarray | None
    sampling: ChatTTSSampling
    max_new_tokens: int = 2048
    key: mx.array | None = None
    on_token: Callable[[tuple[int, ...]], object] | None = None
    on_logits: Callable[[int, np.ndarray], None] | None = None

    def network(self, of_engine: DecoderNetwork | None = None) -> DecoderNetwork:
        return self.networks.codes

    def _embedded(self) -> mx.array:
        ids, is_text = np.asarray(self.ids, np.int32), np.asarray(self.is_text, bool)
        speaker = None if self.speaker is None else mx.array(self.speaker)
        return self.networks.gpt.embed_prompt(mx.array(ids)[None], mx.array(is_text)[None], speaker)
