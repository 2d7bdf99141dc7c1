"""T3: text tokens to speech tokens, a Llama or GPT-2 with embeddings and heads of its own.

The Llama's sequence is [conditioning | text | start | start, speech tokens ...]. The start token
is there twice, both times at position 0: once as upstream's initial speech token, once because
its decoding loop adds another; the published weights are used that way, so this is kept. GPT-2
(Turbo, Nano) has one start token, and its backbone counts positions over the whole sequence.
Source: upstream `models/t3/t3.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..decoder.cache import KVCache
from ..decoder.gpt2 import GPT2Model
from ..decoder.llama import LlamaModel
from ..decoder.network import DecoderNetwork, Lookup
from .backbone import Backbone
from .conditioning import T3CondEnc
from .config import T3Config
from .sampler import SpeechSampler


class LearnedPositionEmbeddings(nn.Module):
    """A table of position embeddings, counted from 0 for text and speech separately."""

    def __init__(self, length: int, width: int):
        super().__init__()
        self.emb = nn.Embedding(length, width)

    def __call__(self, start: int | mx.array, length: int) -> mx.array:
        """Embeddings of positions start to start + length, (length, C)."""
        return self.emb(start + mx.arange(length))


class T3(nn.Module, DecoderNetwork):
    """Token-to-token transformer."""

    def __init__(self, config: T3Config):
        nn.Module.__init__(self)
        DecoderNetwork.__init__(self)
        self.config = config
        self._sampler = SpeechSampler(config)
        self.rows_in_pairs = not config.is_gpt2
        # Of one with a mask the `PriorMemory` and the compiled pass of `models/flash`, which
        # builds on this module.
        self.block_priors: Any = None
        self.compiled_pass: Callable | None = None
        width = config.hidden_size
        self.tfmr = Backbone(config)
        self.cond_enc = T3CondEnc(config)
        self.text_emb = nn.Embedding(config.text_tokens_dict_size, width)
        self.speech_emb = nn.Embedding(config.speech_rows, width)
        if not config.is_gpt2:
            self.text_pos_emb = LearnedPositionEmbeddings(config.max_text_tokens + 2, width)
            self.speech_pos_emb = LearnedPositionEmbeddings(config.max_speech_tokens + 4, width)
        self.text_head = nn.Linear(width, config.text_tokens_dict_size, bias=False)
        self.speech_head = nn.Linear(width, config.speech_tokens_dict_size, bias=config.is_gpt2)

    @property
    def module(self) -> T3:
        return self

    @property
    def transformer(self) -> LlamaModel | GPT2Model:
        return self.tfmr.model

    @property
    def heads(self) -> list[nn.Module]:
        return [self.speech_head]

    def lookups(self, tokens: Any, positions: Any) -> list[Lookup]:
        """See `DecoderNetwork.lookups`; GPT-2's positions are its transformer's own."""
        of_tokens = (self.speech_emb, tokens)
        if self.config.is_gpt2:
            return [of_tokens]
        return [of_tokens, (self.speech_pos_emb.emb, positions)]

    @property
    def sampler(self) -> SpeechSampler:
        if self._sampler.config is not self.config:  # it was replaced
            self._sampler = SpeechSampler(self.config)
        return self._sampler

    @property
    def dtype(self) -> mx.Dtype:
        """Type of the embeddings, and so of the activations."""
        return self.cond_enc.spkr_enc.bias.dtype

    def embed_conditioning(
        self, speaker_embedding: mx.array, prompt_tokens: mx.array | None, emotion: mx.array | float
    ) -> mx.array:
        """Embed a voice.

        Args:
            speaker_embedding: (1, 256).
            prompt_tokens: (1, n) speech tokens of the reference's beginning, or None.
            emotion: a number or an array of one, 0 to 1; GPT-2 ignores it.

        Returns:
            (1, L, C): Llama 34 embeddings, 2 without a prompt; GPT-2 1 + n.
        """
        prompt = None
        if prompt_tokens is not None and prompt_tokens.size:
            prompt = self.embed_speech(prompt_tokens, 0)
        emotion = mx.array(emotion, dtype=self.dtype).reshape(1, 1, 1)
        return self.cond_enc(speaker_embedding.astype(self.dtype), prompt, emotion)

    def embed_text(self, text_tokens: mx.array, guided: bool) -> mx.array:
        """Embed text tokens (n,), start and stop included.

        Returns:
            (1, n, C), or, guided, (2, n, C): the second row has positions but no text.
        """
        embedded = self.text_emb(text_tokens)[None]
        if guided:
            embedded = mx.concatenate([embedded, mx.zeros_like(embedded)])
        if self.config.is_gpt2:
            return embedded
        return embedded + self.text_pos_emb(0, text_tokens.shape[0])

    def embed_speech(self, speech_tokens: mx.array, position: int | mx.array) -> mx.array:
        """Embed speech tokens (B, n), the first of them at `position`, to (B, n, C)."""
        embedded = self.speech_emb(speech_tokens)
        if self.config.is_gpt2:
            return embedded
        return embedded + self.speech_pos_emb(position, speech_tokens.shape[-1])

    def sentence_embeddings(self, text_tokens: mx.array, guided: bool) -> mx.array:
        """Everything between the conditioning and the first speech token.

        Args:
            text_tokens: (n,), for the Llama with start and stop.
            guided: True adds the row without text that classifier-free guidance needs.

        Returns:
            (1 or 2, n + 2, C); GPT-2 (1, n + 1, C).
        """
        text = self.embed_text(text_tokens, guided)
        start = mx.full((text.shape[0], 1), self.config.start_speech_token, dtype=mx.int32)
        start_emb = self.embed_speech(start, 0)
        starts = [start_emb] if self.config.is_gpt2 else [start_emb, start_emb]
        return mx.concatenate([text, *starts], axis=1)

    def conditioning_cache(self, cond_emb: mx.array) -> KVCache:
        """Keys and values of the conditioning, (1, L, C) from `embed_conditioning`.

        It comes first and attends to nothing after it, so it is the same for every sentence of a
        voice, and for the row without text.
        """
        return self.hidden_states(cond_emb)[1]

    def teacher_forced_logits(
        self, cond_emb: mx.array, text_tokens: mx.array, speech_tokens: mx.array
    ) -> mx.array:
        """Speech logits along a given sequence.

        Args:
            cond_emb: (1, L, C).
            text_tokens: (n,), for the Llama with start and stop.
            speech_tokens: (S,).

        Returns:
            Llama (2, S + 1, V), row 0 with the text and row 1 without; GPT-2 (1, S + 1, V). Entry
            s predicts token s.
        """
        sentence = self.sentence_embeddings(text_tokens, guided=not self.config.is_gpt2)
        parts = [sentence]
        if speech_tokens.size:
            rows = (sentence.shape[0], speech_tokens.shape[0])
            parts.append(self.embed_speech(mx.broadcast_to(speech_tokens[None], rows), 1))
        cache = self.conditioning_cache(cond_emb)
        hidden, _ = self.hidden_states(mx.concatenate(parts, axis=1), cache)
        return self.speech_head(hidden[:, sentence.shape[1] - 1 :])
