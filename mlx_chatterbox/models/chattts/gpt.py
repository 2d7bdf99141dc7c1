"""ChatTTS's GPT: one Llama that writes text tokens, or codes of sound four at a time.

Every position of a prompt has four numbers. Where there is text the first is a token; elsewhere
there are the codes of an audio prompt, one of each codebook, whose embeddings are summed. A step
goes on with what was written, a token or four codes. Hidden states are always those after the
final norm; the decoder makes sound of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..decoder.llama import LlamaModel
from ..decoder.network import DecoderNetwork, Lookup
from ..decoder.sampler import Sampler
from .config import GPTConfig
from .sampler import CodeSampler, TextSampler


class GPT(nn.Module):
    """The Llama with tables and heads for text and for codes."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        width, books = config.hidden_size, range(config.num_vq)
        self.model = LlamaModel(config)
        self.emb_text = nn.Embedding(config.num_text_tokens, width)
        self.emb_code = [nn.Embedding(config.num_audio_tokens, width) for _ in books]
        self.head_text = nn.Linear(width, config.num_text_tokens, bias=False)
        self.head_code = [nn.Linear(width, config.num_audio_tokens, bias=False) for _ in books]

    def embed_prompt(
        self, ids: mx.array, is_text: mx.array, speaker: mx.array | None = None
    ) -> mx.array:
        """Embed prompts.

        Args:
            ids: (B, T, 4) int32.
            is_text: (B, T) bool; at padding the result is of no use.
            speaker: (C,), normalised; it takes the place of each speaker token's embedding.

        Returns:
            (B, T, C)
        """
        first = mx.where(is_text, ids[..., 0], 0)
        text = self.emb_text(first)
        # A table has no entry for most of the text's tokens.
        codes = mx.where(is_text[..., None], 0, ids)
        summed = reduce(add, (table(codes[..., i]) for i, table in enumerate(self.emb_code)))
        embedded = mx.where(is_text[..., None], text, summed)
        if speaker is None:
            return embedded
        is_speaker = ids[..., :1] == self.config.speaker_token
        return mx.where(is_speaker, speaker.astype(embedded.dtype), embedded)


class TextWriter(DecoderNetwork):
    """The GPT as it writes text tokens."""

    def __init__(self, gpt: GPT):
        super().__init__()
        self._gpt = gpt
        self._sampler = self._new_sampler(gpt.config)

    def _new_sampler(self, config: GPTConfig) -> Sampler:
        return TextSampler(config)

    @property
    def sampler(self) -> Sampler:
        return self._sampler

    @property
    def module(self) -> nn.Module:
        return self._gpt

    @property
    def transformer(self) -> LlamaModel:
        return self._gpt.model

    @property
    def heads(self) -> Sequence[nn.Module]:
        return [self._gpt.head_text]

    @property
    def dtype(self) -> mx.Dtype:
        return self._gpt.model.norm.weight.dtype

    def lookups(self, tokens: Any, positions: Any) -> list[Lookup]:
        """See `DecoderNetwork.lookups`; the Llama turns by positions itself."""
        return [(self._gpt.emb_text, tokens)]


class CodeWriter(TextWriter):
    """The GPT as it writes codes, one of each codebook at a step.

    Hidden states are kept, since the decoder makes sound of them.
    """

    keeps_hidden = True

    def _new_sampler(self, config: GPTConfig) -> Sampler:
        return CodeSampler(config)

    @property
    def heads(self) -> Sequence[nn.Module]:
        return self._gpt.head_code

    def lookups(self, tokens: Any, positions: Any) -> list[Lookup]:
        """See `DecoderNetwork.lookups`; `tokens` are (P, 4)."""
        return [(table, tokens[:, i]) for i, table in enumerate(self._gpt.emb_code)]


def position_ids(attention_mask: np.ndarray) -> np.ndarray:
    """Positions of prompts that are padded on the left, counted from each row's first entry.

    Args:
        attention_mask: (B, T), 0 at padding and 1 elsewhere.

    Returns:
        (B, T) int32, 1 at padding.
    """
    positions = np.cumsum(attention_mask, axis=1, dtype=np.int32) - 1
    return np.where(attention_mask == 0, np.int32(1), positions)
