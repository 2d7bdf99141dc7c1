"""T3: text tokens to speech tokens, a Llama or GPT-2 with embeddings and heads of its own.

The Llama's sequence is [conditioning | text | start | start, speech tokens ...]. The start token
is there twice, both times at position 0: once as upstream's initial speech token, once because
its decoding loop adds another; the published weights are used that way, so this is kept. GPT-2
(Turbo, Nano) has one start token, and its backbone counts positions over the whole sequence.
Source: upstream `models/t3/t3.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx
import mlx.nn as nn

from .backbone import Backbone
from .cache import (
    AttendCached,
    CacheBuilder,
    KVCache,
    RowCache,
    attends_apart,
    attends_to_shared,
    causal_mask,
)
from .conditioning import T3CondEnc
from .config import T3Config

# Bytes of weights.
_SMALL = 32 * 2**20


class LearnedPositionEmbeddings(nn.Module):
    """A table of position embeddings, counted from 0 for text and speech separately."""

    def __init__(self, length: int, width: int):
        super().__init__()
        self.emb = nn.Embedding(length, width)

    def __call__(self, start: int | mx.array, length: int) -> mx.array:
        """Embeddings of positions start to start + length, (length, C)."""
        return self.emb(start + mx.arange(length))


class T3(nn.Module):
    """Token-to-token transformer."""

    def __init__(self, config: T3Config):
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.tfmr = Backbone(config)
        self.cond_enc = T3CondEnc(config)
        self.text_emb = nn.Embedding(config.text_tokens_dict_size, width)
        self.speech_emb = nn.Embedding(config.speech_tokens_dict_size, width)
        if not config.is_gpt2:
            self.text_pos_emb = LearnedPositionEmbeddings(config.max_text_tokens + 2, width)
            self.speech_pos_emb = LearnedPositionEmbeddings(config.max_speech_tokens + 4, width)
        self.text_head = nn.Linear(width, config.text_tokens_dict_size, bias=False)
        self.speech_head = nn.Linear(width, config.speech_tokens_dict_size, bias=config.is_gpt2)
        self._compiled_step: Callable | None = None
        self._alike_widths: dict[tuple, int] = {}

    @property
    def dtype(self) -> mx.Dtype:
        """Type of the embeddings, and so of the activations."""
        return self.cond_enc.spkr_enc.bias.dtype

    @property
    def is_small(self) -> bool:
        """True if the weights stay in the cache, so that two cores read them at no cost.

        Larger ones are read from memory at each step: then that is what a step takes its time for,
        and as many rows as possible are to share it.
        """
        sizes = self.config
        width, inside = sizes.hidden_size, sizes.num_attention_heads * sizes.head_dim
        attention, mlp = 4 * width * inside, 3 * width * sizes.intermediate_size
        # By size, in float32: it is asked for every sentence.
        return 4 * self.config.num_hidden_layers * (attention + mlp) <= _SMALL

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

    def empty_cache(self) -> KVCache:
        """Keys and values of no position, in one row."""
        shape = (1, self.config.num_attention_heads, 0, self.config.head_dim)
        layers = (mx.zeros(shape, dtype=self.dtype),) * self.config.num_hidden_layers
        return KVCache(layers, layers)

    def hidden_states(
        self, embeddings: mx.array, earlier: KVCache | None = None
    ) -> tuple[mx.array, KVCache]:
        """Run the backbone.

        Args:
            embeddings: (B, T, C).
            earlier: keys and values of the positions before them, in one row or B.

        Returns:
            (B, T, C) after the final norm; the cache with these positions.
        """
        rows, length, _ = embeddings.shape
        first = 0 if earlier is None else earlier.length
        layers, bias = self.config.num_hidden_layers, causal_mask(first, length, embeddings.dtype)
        builder = CacheBuilder(layers, bias, earlier)
        start = mx.full((rows,), first, dtype=mx.int32)
        attends = [builder.attend_in(layer) for layer in range(layers)]
        return self.tfmr.model(embeddings, start, attends), builder.cache()

    def step(
        self,
        tokens: mx.array,
        positions: mx.array,
        slots: mx.array,
        memory: list[mx.array],
        extent: int,
    ) -> tuple[mx.array, list[mx.array]]:
        """Predict what follows one more speech token a row.

        Args:
            tokens: (P,).
            positions: (P,) int32, of the tokens among speech tokens, or (1,) if all are alike.
            slots: (P,) int32, where their keys and values go, or (1,) if all are alike.
            memory: the layers' keys, then their values, each (P, H, capacity, D).
            extent: number of slots that are attended to.

        Returns:
            Logits (P, V) float32; the memory with the tokens.
        """
        memory = list(memory)
        attends = attends_to_shared(memory, slots, extent, self.dtype)
        return self._predict(tokens, positions, slots, attends), memory

    def step_apart(
        self, tokens: mx.array, positions: mx.array, slots: mx.array, caches: Sequence[RowCache]
    ) -> mx.array:
        """Predict as `step` does, with each sentence's attention computed by itself.

        Args:
            tokens, positions, slots: (P,); rows beyond those of the caches belong to no sentence.
            caches: their rows come one after the other. They get one more slot.

        Returns:
            Logits (P, V) float32.
        """
        logits = self._predict(tokens, positions, slots, attends_apart(caches, tokens.shape[0]))
        for cache in caches:
            cache.used += 1
        return logits

    def _predict(
        self,
        tokens: mx.array,
        positions: mx.array,
        slots: mx.array,
        attends: Sequence[AttendCached],
    ) -> mx.array:
        embeddings = self.embed_speech(tokens[:, None], positions[:, None])
        start = mx.broadcast_to(slots, tokens.shape)
        hidden = self.tfmr.model(embeddings, start, attends)
        return self.speech_head(hidden[:, 0]).astype(mx.float32)

    @property
    def alike_widths(self) -> dict[tuple, int]:
        """Measured by `steppers.alike_width`."""
        return self._alike_widths

    @property
    def compiled_step(self) -> Callable:
        """`step`, traced once for every number of rows and every capacity of the cache.

        The weights are inputs of the trace, so it stays right when they are replaced.
        """
        compiled = self._compiled_step
        if compiled is None:
            compiled = self._compiled_step = mx.compile(self.step, inputs=self.state)
        return compiled

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
