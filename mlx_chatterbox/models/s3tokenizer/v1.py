"""S3 tokenizer, version 1: speech at 16 kHz to tokens at 50 or 25 a second.

Whisper's encoder, cut off after six of its layers, and a codebook whose nearest entry is the token.
Chatterbox itself has version 2 (`s3tokenizer.py`); this is CosyVoice's. Source: S3Tokenizer
`s3tokenizer/model.py`.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from ...checks.tensors import check_tokens
from ...errors import SettingError
from ...nn.activations import gelu
from ...nn.attention import attend, merge_heads, split_heads
from ...nn.conv import Conv1d
from .base import SpeechTokenizer
from .config import S3TokenizerV1Config

FRAME_RATE = 100


def sinusoids(length: int, channels: int, max_timescale: float = 10000.0) -> mx.array:
    """Whisper's positions, (length, channels): all sines, then all cosines."""
    half = channels // 2
    rates = mx.exp(mx.arange(half, dtype=mx.float32) * (-math.log(max_timescale) / (half - 1)))
    angles = mx.arange(length, dtype=mx.float32)[:, None] * rates
    return mx.concatenate([mx.sin(angles), mx.cos(angles)], axis=1)


class MultiHeadAttention(nn.Module):
    """Self-attention; the keys alone have no bias."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self._heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def __call__(self, x: mx.array) -> mx.array:
        queries, keys, values = (
            split_heads(layer(x), self._heads) for layer in (self.query, self.key, self.value)
        )
        attended = attend(queries, keys, values, queries.shape[-1] ** -0.5)
        return self.out(merge_heads(attended))


class ResidualAttentionBlock(nn.Module):
    """Attention and a GELU MLP, each after a layer norm."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn = MultiHeadAttention(width, heads)
        self.attn_ln = nn.LayerNorm(width, eps=1e-5)
        self.mlp = [nn.Linear(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)]
        self.mlp_ln = nn.LayerNorm(width, eps=1e-5)

    def __call__(self, x: mx.array) -> mx.array:
        x = x + self.attn(self.attn_ln(x))
        widen, _, narrow = self.mlp
        return x + narrow(gelu(widen(self.mlp_ln(x))))


class AudioEncoder(nn.Module):
    """Two convolutions, positions, blocks: mel (B, T, 128) to (B, ceil(T rate / 100), width).

    Positions are stored with the weights, as upstream stores them.
    """

    def __init__(self, config: S3TokenizerV1Config):
        super().__init__()
        width = config.n_audio_state
        stride = FRAME_RATE // config.token_rate // 2
        self.conv1 = Conv1d(config.n_mels, width, 3, stride=stride, padding=1)
        self.conv2 = Conv1d(width, width, 3, stride=2, padding=1)
        self.positional_embedding = sinusoids(config.n_audio_ctx, width)
        self.blocks = [
            ResidualAttentionBlock(width, config.n_audio_head) for _ in range(config.n_audio_layer)
        ]

    def __call__(self, mel: mx.array) -> mx.array:
        x = gelu(self.conv2(gelu(self.conv1(mel))))
        x = x + self.positional_embedding[: x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return x


class EuclideanCodebook(nn.Module):
    """Vectors `embed` (size, width); the code of another one is the nearest's number."""

    def __init__(self, size: int, width: int):
        super().__init__()
        self.embed = mx.random.normal((size, width))

    def encode(self, x: mx.array) -> mx.array:
        """(..., width) to codes (...), int32."""
        # The squared distance, but for the vector's own length, which is the same to all.
        distance = (self.embed * self.embed).sum(axis=-1) - 2.0 * (x @ self.embed.T)
        return mx.argmin(distance, axis=-1).astype(mx.int32)

    def decode(self, codes: mx.array) -> mx.array:
        """Codes (...) to their vectors (..., width)."""
        return self.embed[codes]


class VectorQuantization(nn.Module):
    """Brings vectors to unit length first; holds the codebook."""

    def __init__(self, config: S3TokenizerV1Config):
        super().__init__()
        self.codebook = EuclideanCodebook(config.n_codebook_size, config.n_audio_state)

    @property
    def codes(self) -> int:
        """The number of different tokens."""
        return self.codebook.embed.shape[0]

    def encode(self, hidden: mx.array) -> mx.array:
        """(B, T, width) to codes (B, T), int32."""
        hidden = hidden.astype(mx.float32)
        length = mx.linalg.norm(hidden, axis=-1, keepdims=True)
        return self.codebook.encode(hidden / mx.maximum(length, 1e-12))

    def decode(self, codes: mx.array) -> mx.array:
        """Codes (B, T) to their vectors (B, T, width); upstream's are (B, width, T).

        Raises:
            SettingError: a code that there is none of.
        """
        check_tokens(codes, self.codes, "codes", SettingError)
        return self.codebook.decode(codes)


class S3TokenizerV1(SpeechTokenizer):
    """Speech to tokens, 0 to 4095."""

    def __init__(self, config: S3TokenizerV1Config | None = None):
        super().__init__()
        self.config = S3TokenizerV1Config() if config is None else config
        self.frames_per_token = FRAME_RATE // self.config.token_rate
        self.encoder = AudioEncoder(self.config)
        self.quantizer = VectorQuantization(self.config)
