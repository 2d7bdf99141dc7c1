"""T3's conditioning: speaker, prompt tokens through a perceiver, and emotion.

Sources: upstream `models/t3/modules/cond_enc.py` and `perceiver.py`.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ...nn.attention import attend, merge_heads, split_heads
from .config import T3Config


class AttentionBlock(nn.Module):
    """Cross-attention with one layer norm for both inputs and a residual around it."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self._heads = heads
        self.norm = nn.LayerNorm(channels)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.proj_out = nn.Linear(channels, channels)

    def __call__(self, x: mx.array, context: mx.array, bias: mx.array | None = None) -> mx.array:
        """x (B, Q, C) attends to context (B, T, C); `bias` is a bias over padded keys."""
        context = self.norm(context)
        queries = split_heads(self.to_q(self.norm(x)), self._heads)
        keys = split_heads(self.to_k(context), self._heads)
        values = split_heads(self.to_v(context), self._heads)
        attended = attend(queries, keys, values, queries.shape[-1] ** -0.5, bias)
        return x + self.proj_out(merge_heads(attended))


class Perceiver(nn.Module):
    """Any number of embeddings to a fixed number (https://arxiv.org/abs/2103.03206).

    Learned queries attend to the input, then to themselves, through the same block.
    """

    def __init__(self, config: T3Config):
        super().__init__()
        shape = (1, config.perceiver_queries, config.hidden_size)
        self.pre_attention_query = mx.random.uniform(-1.0, 1.0, shape)
        self.attn = AttentionBlock(config.hidden_size, config.perceiver_heads)

    def __call__(self, x: mx.array, bias: mx.array | None = None) -> mx.array:
        """(B, T, C) to (B, queries, C); `bias` is a bias over padded embeddings, or None."""
        queries = mx.broadcast_to(
            self.pre_attention_query, (x.shape[0], *self.pre_attention_query.shape[1:])
        )
        resampled = self.attn(queries, x, bias)
        return self.attn(resampled, resampled)


class T3CondEnc(nn.Module):
    """Conditioning embeddings in the order T3 was trained on: speaker, prompt, emotion.

    GPT-2 takes the prompt as it is and no emotion.
    """

    def __init__(self, config: T3Config):
        super().__init__()
        self.spkr_enc = nn.Linear(config.speaker_embed_size, config.hidden_size)
        if not config.is_gpt2:
            self.emotion_adv_fc = nn.Linear(1, config.hidden_size, bias=False)
        if config.hears_prompt and not config.is_gpt2:
            self.perceiver = Perceiver(config)

    def __call__(
        self,
        speaker: mx.array,
        prompt: mx.array | None,
        emotion: mx.array,
        bias: mx.array | None = None,
    ) -> mx.array:
        """Embed.

        Args:
            speaker: (B, 256) from the voice encoder.
            prompt: (B, n, C) embedded speech tokens of the reference, or None.
            emotion: (B, 1, 1), 0 to 1, upstream's "exaggeration".
            bias: bias over the padded embeddings of prompts of different lengths, which the
                perceiver needs; None if nothing is padded.

        Returns:
            (B, 1 + 32 + 1, C), without a prompt (B, 2, C); GPT-2 (B, 1 + n, C).
        """
        parts = [self.spkr_enc(speaker)[:, None]]
        if prompt is not None:
            parts.append(self.perceiver(prompt, bias) if "perceiver" in self else prompt)
        if "emotion_adv_fc" in self:
            parts.append(self.emotion_adv_fc(emotion))
        return mx.concatenate(parts, axis=1)
