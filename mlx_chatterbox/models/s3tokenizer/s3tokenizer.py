"""S3 tokenizer, version 2: speech at 16 kHz to tokens at 25 a second.

A Whisper-like encoder whose attention carries an FSMN memory (a depthwise convolution over the
values), and a finite scalar quantiser. Sources: S3Tokenizer `s3tokenizer/model_v2.py`, upstream
`models/s3tokenizer/s3tokenizer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...audio.mel import s3_tokenizer_log_mel
from ...nn.activations import gelu
from ...nn.attention import attend, merge_heads, split_heads
from ...nn.conv import Conv1d
from .config import S3TokenizerConfig
from .windows import (
    FRAMES_PER_TOKEN,
    SAMPLES_PER_FRAME,
    merge_windows,
    split_windows,
    window_log_mels,
)

SAMPLE_RATE = 16000


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
        rotate = {"traditional": False, "base": 10000.0, "scale": 1.0, "offset": 0}
        queries = mx.fast.rope(queries, depth, **rotate)
        keys = mx.fast.rope(keys, depth, **rotate)
        attended = attend(queries, keys, split_heads(values, self._heads), depth**-0.5)
        return self.out(merge_heads(attended)) + memory


class ResidualAttentionBlock(nn.Module):
    """Attention and a GELU MLP, each behind a layer norm."""

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


class AudioEncoder(nn.Module):
    """Two convolutions of stride 2, then the blocks: mel (B, T, 128) to (B, T / 4, width)."""

    def __init__(self, config: S3TokenizerConfig):
        super().__init__()
        width = config.n_audio_state
        self.conv1 = Conv1d(config.n_mels, width, 3, stride=2, padding=1)
        self.conv2 = Conv1d(width, width, 3, stride=2, padding=1)
        self.blocks = [ResidualAttentionBlock(config) for _ in range(config.n_audio_layer)]

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
        """(B, T, width) to codes (B, T), int32."""
        # The factor just under one keeps a saturated tanh from rounding past the outer levels.
        digits = mx.round(mx.tanh(self.project_down(hidden)) * 0.9990000128746033) + 1
        powers = self._levels ** mx.arange(digits.shape[-1])
        return (digits.astype(mx.int32) * powers).sum(axis=-1).astype(mx.int32)


class Quantizer(nn.Module):
    """Holds the codebook; upstream's `_codebook` would be no parameter in MLX."""

    def __init__(self, config: S3TokenizerConfig):
        super().__init__()
        self.codebook = FSQCodebook(config)

    def encode(self, hidden: mx.array) -> mx.array:
        return self.codebook.encode(hidden)


class S3TokenizerV2(nn.Module):
    """Speech to tokens."""

    def __init__(self, config: S3TokenizerConfig):
        super().__init__()
        self.encoder = AudioEncoder(config)
        self.quantizer = Quantizer(config)

    def encode_mel(self, log_mel: mx.array) -> mx.array:
        """Tokens of a log-mel.

        Args:
            log_mel: (128, T) at 100 frames/s; over 30 s it is taken in overlapping windows.

        Returns:
            (ceil(T / 4),) int32, 0 to 6560.
        """
        n_frames = log_mel.shape[1]
        windows = split_windows(n_frames)
        return self._encode((log_mel[:, start:end] for start, end in windows), n_frames, None)

    def _encode(
        self,
        log_mels: Iterable[mx.array],
        n_frames: int,
        on_window: Callable[[int, int], None] | None,
    ) -> mx.array:
        """Tokens of the windows' log-mels, one after the other: memory holds one at a time."""
        in_all = len(split_windows(n_frames))
        codes = []
        for log_mel in log_mels:
            # On purpose float32 whatever the weights are: a token is eight numbers rounded to three
            # levels. Of 1,970 tokens of pocket's, 0 come out differently in float16 and 0.6 % in
            # bfloat16; with the mel cast to the weights' type it is 0.1 % and 1.4 %.
            codes.append(self.quantizer.encode(self.encoder(log_mel.T[None]))[0])
            mx.eval(codes[-1])
            if on_window is not None:
                on_window(len(codes), in_all)
        return merge_windows(codes)

    def __call__(
        self,
        waveform: mx.array | np.ndarray,
        max_tokens: int | None = None,
        on_window: Callable[[int, int], None] | None = None,
    ) -> mx.array:
        """Tokens of a recording of any length.

        At some lengths over 30 s upstream loses up to 2 s, which are kept here (`windows.py`).

        Args:
            waveform: (n,) at 16 kHz.
            max_tokens: cut the log-mel to this many tokens' frames before encoding, as upstream
                does for T3's prompt (the encoder sees nothing behind the cut).
            on_window: told (windows done, windows in all).

        Returns:
            (ceil(n // 160 / 4),) int32, 0 to 6560.
        """
        if max_tokens is not None:
            log_mel = s3_tokenizer_log_mel(mx.array(waveform))
            return self.encode_mel(log_mel[:, : max_tokens * FRAMES_PER_TOKEN])
        n_frames = waveform.shape[0] // SAMPLES_PER_FRAME
        return self._encode(window_log_mels(waveform), n_frames, on_window)
