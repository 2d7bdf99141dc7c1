"""T3: text tokens to speech tokens, a Llama or GPT-2 with embeddings and heads of its own.

The Llama's sequence is [conditioning | text | start | start, speech tokens ...]. The start token
stands there twice, both times at position 0: once as upstream's initial speech token, once because
its decoding loop adds another; the published weights are used that way, so this is kept. GPT-2
(Turbo, Nano) has one start token, and its backbone counts positions over the whole sequence.
Source: upstream `models/t3/t3.py`.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from .conditioning import T3CondEnc
from .config import T3Config


class LearnedPositionEmbeddings(nn.Module):
    """A table of position embeddings, counted from 0 for text and speech separately."""

    def __init__(self, length: int, width: int):
        super().__init__()
        self.emb = nn.Embedding(length, width)

    def __call__(self, start: int, length: int) -> mx.array:
        """Embeddings of positions start to start + length, (length, C)."""
        return self.emb.weight[start : start + length]


class T3(nn.Module):
    """Token-to-token transformer."""

    def __init__(self, config: T3Config):
        super().__init__()
        # Imported here because mlx_lm brings in transformers, which takes seconds.
        from .backbone import build_backbone

        self.config = config
        width = config.hidden_size
        self.tfmr = build_backbone(config)
        self.cond_enc = T3CondEnc(config)
        self.text_emb = nn.Embedding(config.text_tokens_dict_size, width)
        self.speech_emb = nn.Embedding(config.speech_tokens_dict_size, width)
        if not config.is_gpt2:
            self.text_pos_emb = LearnedPositionEmbeddings(config.max_text_tokens + 2, width)
            self.speech_pos_emb = LearnedPositionEmbeddings(config.max_speech_tokens + 4, width)
        self.text_head = nn.Linear(width, config.text_tokens_dict_size, bias=False)
        self.speech_head = nn.Linear(width, config.speech_tokens_dict_size, bias=config.is_gpt2)

    @property
    def dtype(self) -> mx.Dtype:
        """In which the embeddings, and so the activations, are kept."""
        return self.cond_enc.spkr_enc.bias.dtype

    def embed_conditioning(
        self, speaker_embedding: mx.array, prompt_tokens: mx.array | None, emotion: mx.array | float
    ) -> mx.array:
        """Embed a voice.

        Args:
            speaker_embedding: (1, 256).
            prompt_tokens: (1, n) speech tokens of the reference's beginning, or None.
            emotion: a number or an array of one, 0 to 1; GPT-2 does not hear it.

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

    def embed_speech(self, speech_tokens: mx.array, position: int) -> mx.array:
        """Embed speech tokens (B, n), the first of them at `position`, to (B, n, C)."""
        embedded = self.speech_emb(speech_tokens)
        if self.config.is_gpt2:
            return embedded
        return embedded + self.speech_pos_emb(position, speech_tokens.shape[-1])

    def prompt_embeddings(
        self, cond_emb: mx.array, text_tokens: mx.array, guided: bool
    ) -> mx.array:
        """Everything before the first speech token.

        Args:
            cond_emb: (1, L, C) from `embed_conditioning`.
            text_tokens: (n,), for the Llama with start and stop.
            guided: whether to add the row without text that classifier-free guidance needs.

        Returns:
            (1 or 2, L + n + 2, C); GPT-2 (1, L + n + 1, C).
        """
        text = self.embed_text(text_tokens, guided)
        rows = text.shape[0]
        start = mx.full((rows, 1), self.config.start_speech_token, dtype=mx.int32)
        start_emb = self.embed_speech(start, 0)
        cond = mx.broadcast_to(cond_emb, (rows, *cond_emb.shape[1:]))
        starts = [start_emb] if self.config.is_gpt2 else [start_emb, start_emb]
        return mx.concatenate([cond, text, *starts], axis=1)

    def hidden_states(self, embeddings: mx.array, cache=None) -> mx.array:
        """Run the backbone over embeddings (B, T, C), to (B, T, C) after its final norm."""
        return self.tfmr.model(None, cache=cache, input_embeddings=embeddings)

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
        prompt = self.prompt_embeddings(cond_emb, text_tokens, guided=not self.config.is_gpt2)
        parts = [prompt]
        if speech_tokens.size:
            rows = mx.broadcast_to(speech_tokens[None], (prompt.shape[0], speech_tokens.shape[0]))
            parts.append(self.embed_speech(rows, 1))
        hidden = self.hidden_states(mx.concatenate(parts, axis=1))
        return self.speech_head(hidden[:, prompt.shape[1] - 1 :])
