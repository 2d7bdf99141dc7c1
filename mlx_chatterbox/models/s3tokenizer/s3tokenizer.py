"""S3 tokenizer, version 2: speech at 16 kHz to tokens at 25 a second.

A Whisper-like encoder whose attention carries an FSMN memory (a depthwise convolution over the
values), and a finite scalar quantiser. Sources: S3Tokenizer `s3tokenizer/model_v2.py`, upstream
`models/s3tokenizer/s3tokenizer.py`.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ...nn.activations import gelu
from ...nn.attention import attend, merge_heads, split_heads
from ...nn.conv import Conv1d
from .base import SAMPLE_RATE, SpeechTokenizer
from .config import S3TokenizerConfig
from .windows import FRAMES_PER_TOKEN

__all__ = ["SAMPLE_RATE", "S3TokenizerV2"]


class FSMNAttention(nn.Module):
    """Rotary self-attention plus a memory: the values, summed over 31 frames around each."""

    def __init__(self, config: S3TokenizerConfig):
        super().__init__()
        width = config.n_audio_state
        self._heads = config.n_audio_head
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        before = (config.fsmn_kernel_size - 1) // 2
        self.fsmn_block = Conv1d(
            width,
            width,
            config.fsmn_kernel_size,
            padding=(before, config.fsmn_kernel_size - 1 - before),
            groups=width,
            bias=False,
        )

    def __call__(self, x: mx.array) -> mx.array:
        queries = split_heads(self.query(x), self._heads)
        keys = split_heads(self.key(x), self._heads)
        depth = queries.shape[-1]
        values = self.value(x)
        memory = self.fsmn_block(values) + values
        queries, keys = _rotate(queries), _rotate(keys)
        attended = attend(queries, keys, split_heads(values, self._heads), depth**-0.5)
        return self.out(merge_heads(attended)) + memory


def _rotate(x: mx.array) -> mx.array:
    """Rotary position embedding of (B, H, T, D), positions counted from 0."""
    return mx.fast.rope(x, x.shape[-1], traditional=False, base=10000.0, scale=1.0, offset=0)


class FSMNBlock(nn.Module):
    """Attention and a GELU MLP, each after a layer norm."""

    def __init__(self, config: S3TokenizerConfig):
        super().__init__()
        width = config.n_audio_state
        self.attn = FSMNAttention(config)
        self.attn_ln = nn.LayerNorm(width, eps=config.attention_norm_eps)
        self.mlp = [nn.Linear(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)]
        self.mlp_ln = nn.LayerNorm(width, eps=1e-5)

    def __call__(self, x: mx.array) -> mx.array:
        x = x + self.attn(self.attn_ln(x))
        widen, _, narrow = self.mlp
        return x + narrow(gelu(widen(self.mlp_ln(x))))


class AudioEncoderV2(nn.Module):
    """Two convolutions of stride 2, then the blocks: mel (B, T, 128) to (B, T / 4, width)."""

    def __init__(self, config: S3TokenizerConfig):
        super().__init__()
        width = config.n_audio_state
        self.conv1 = Conv1d(config.n_mels, width, 3, stride=2, padding=1)
        self.conv2 = Conv1d(width, width, 3, stride=2, padding=1)
        self.blocks = [FSMNBlock(config) for _ in range(config.n_audio_layer)]

    def __call__(self, mel: mx.array) -> mx.array:
        x = gelu(self.conv2(gelu(self.conv1(mel))))
        for block in self.blocks:
            x = block(x)
        return x


class FSQCodebook(nn.Module):
    """Finite scalar quantiser: eight numbers rounded to three levels are a code's digits."""

    def __init__(self, config: S3TokenizerConfig):
        super().__init__()
        self._levels = config.quantizer_levels
        self.project_down = nn.Linear(config.n_audio_state, config.quantizer_dims)

    def encode(self, hidden: mx.array) -> mx.array:
        """(B, T, width) to codes (B, T), int32; -1 for NaN."""
        # The factor just under one keeps a saturated tanh from rounding past the outer levels.
        digits = mx.round(mx.tanh(self.project_down(hidden)) * 0.9990000128746033) + 1
        powers = self._levels ** mx.arange(digits.shape[-1])
        codes = (digits.astype(mx.int32) * powers).sum(axis=-1).astype(mx.int32)
        # What NaN becomes as a whole number differs by processor, and can be a code.
        return mx.where(mx.isnan(digits).any(axis=-1), -1, codes)


class Quantizer(nn.Module):
    """Holds the codebook; upstream's `_codebook` would be no parameter in MLX."""

    def __init__(self, config: S3TokenizerConfig):
        super().__init__()
        self._codes = config.codes
        self.codebook = FSQCodebook(config)

    @property
    def codes(self) -> int:
        """The number of different tokens."""
        return self._codes

    def encode(self, hidden: mx.array) -> mx.array:
        return self.codebook.encode(hidden)


class S3TokenizerV2(SpeechTokenizer):
    """Speech to tokens at 25 a second, 0 to 6560."""

    frames_per_token = FRAMES_PER_TOKEN

    def __init__(self, config: S3TokenizerConfig):
        super().__init__()
        self.encoder = AudioEncoderV2(config)
        self.quantizer = Quantizer(config)
