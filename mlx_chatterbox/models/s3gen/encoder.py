"""Token encoder of S3Gen: a conformer at 25 frames/s, upsampled twice, and four more blocks.

Source: upstream `models/s3gen/transformer/upsample_encoder.py`, `attention.py`, `embedding.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...nn.activations import silu
from ...nn.attention import attend, merge_heads, padding_bias, split_heads
from ...nn.conv import CausalConv1d, Conv1d
from ...runtime.native.layers import NotPlain, linear_weights, plain_weight
from .config import S3GenConfig
from .native_encoder import NativeLayers

# Sinusoids are kept for multiples of this many frames; shorter lengths take a part of them.
_POSITIONS_STEP = 512


def relative_positions(length: int, width: int) -> mx.array:
    """Sinusoids of the distances length - 1 down to -(length - 1), (2 length - 1, width).

    Even columns are sines, odd ones cosines (Transformer-XL, https://arxiv.org/abs/1901.02860).
    """
    longest = -(-length // _POSITIONS_STEP) * _POSITIONS_STEP
    first = longest - length
    return _relative_positions(longest, width)[first : first + 2 * length - 1]


@lru_cache(maxsize=4)
def _relative_positions(length: int, width: int) -> mx.array:
    distance = mx.arange(length - 1, -length, -1, dtype=mx.float32)[:, None]
    rates = mx.exp(mx.arange(0, width, 2, dtype=mx.float32) * -(math.log(10000.0) / width))
    angles = distance * rates
    sinusoids = mx.stack([mx.sin(angles), mx.cos(angles)], axis=-1).reshape(2 * length - 1, width)
    # An array belongs to the thread that made it until it is evaluated.
    mx.eval(sinusoids)
    return sinusoids


class RelativeAttention(nn.Module):
    """Self-attention whose scores depend on content and on distance."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self._heads = heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = mx.zeros((heads, width // heads))
        self.pos_bias_v = mx.zeros((heads, width // heads))

    def __call__(self, x: mx.array, positions: mx.array, key_bias: mx.array | None) -> mx.array:
        """Attend.

        Args:
            x: (B, T, C).
            positions: (2 T - 1, C).
            key_bias: bias over padded keys, or None.
        """
        queries = split_heads(self.linear_q(x), self._heads)
        keys = split_heads(self.linear_k(x), self._heads)
        values = split_heads(self.linear_v(x), self._heads)
        distances = split_heads(self.linear_pos(positions)[None], self._heads)
        scale = queries.shape[-1] ** -0.5
        by_distance = (queries + self.pos_bias_v[:, None]) @ distances.swapaxes(-1, -2)
        bias = _at_distances(by_distance) * scale
        if key_bias is not None:
            bias = bias + key_bias
        attended = attend(queries + self.pos_bias_u[:, None], keys, values, scale, bias)
        return self.linear_out(merge_heads(attended))


def _at_distances(by_distance: mx.array) -> mx.array:
    """(B, H, T, 2 T - 1), by distance, to (B, H, T, T), by key.

    Query i finds key j in column T - 1 - i + j: a window that moves left by one from row to row,
    which a view with a row stride of 2 T - 2 reads without copying.
    """
    batch, heads, length, columns = by_distance.shape
    head = length * columns
    return mx.as_strided(
        by_distance,
        (batch, heads, length, length),
        (heads * head, head, columns - 1, 1),
        length - 1,
    )


class PositionwiseFeedForward(nn.Module):
    """Two projections with a Swish between them."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.w_1 = nn.Linear(width, inner)
        self.w_2 = nn.Linear(inner, width)

    def __call__(self, x: mx.array) -> mx.array:
        return self.w_2(silu(self.w_1(x)))


class ConformerLayer(nn.Module):
    """Attention and feed-forward, each after its norm (no convolution module in this model)."""

    def __init__(self, config: S3GenConfig):
        super().__init__()
        width = config.encoder_output_size
        self.self_attn = RelativeAttention(width, config.encoder_attention_heads)
        self.feed_forward = PositionwiseFeedForward(width, config.encoder_linear_units)
        self.norm_mha = nn.LayerNorm(width, eps=1e-12)
        self.norm_ff = nn.LayerNorm(width, eps=1e-12)

    def __call__(self, x: mx.array, positions: mx.array, key_bias: mx.array | None) -> mx.array:
        x = x + self.self_attn(self.norm_mha(x), positions, key_bias)
        return x + self.feed_forward(self.norm_ff(x))

    def in_c_order(self) -> Iterator[np.ndarray | None]:
        """Yield the weights for `native_encoder`.

        Raises:
            NotPlain: see `linear_weights`.
        """
        attention, feed_forward = self.self_attn, self.feed_forward
        yield from (plain_weight(self.norm_mha, "weight"), plain_weight(self.norm_mha, "bias"))
        for projection in (attention.linear_q, attention.linear_k, attention.linear_v):
            yield from linear_weights(projection)
        yield linear_weights(attention.linear_pos)[0]
        yield from (plain_weight(attention, "pos_bias_u"), plain_weight(attention, "pos_bias_v"))
        yield from linear_weights(attention.linear_out)
        yield from (plain_weight(self.norm_ff, "weight"), plain_weight(self.norm_ff, "bias"))
        yield from linear_weights(feed_forward.w_1)
        yield from linear_weights(feed_forward.w_2)

    def c_sizes(self) -> tuple[int, int, int, float]:
        """Return heads, channels of a head, inner width and the norms' epsilon.

        Raises:
            NotPlain: the norms have different ones.
        """
        if self.norm_mha.eps != self.norm_ff.eps:
            raise NotPlain
        heads, head_dim = self.self_attn.pos_bias_u.shape
        return heads, head_dim, self.feed_forward.w_1.weight.shape[0], float(self.norm_ff.eps)


class LinearEmbedding(nn.Module):
    """Projection and norm in front of a stack of conformer layers."""

    def __init__(self, width: int, out_width: int):
        super().__init__()
        self.out = [nn.Linear(width, out_width), nn.LayerNorm(out_width, eps=1e-5)]

    def __call__(self, x: mx.array) -> tuple[mx.array, mx.array]:
        """(B, T, C) to the scaled embedding and the relative positions for its length."""
        project, norm = self.out
        x = norm(project(x))
        positions = relative_positions(x.shape[1], x.shape[2]).astype(x.dtype)
        return x * math.sqrt(x.shape[2]), positions


class PreLookaheadLayer(nn.Module):
    """Mixes the next three tokens into each, residually."""

    def __init__(self, channels: int, lookahead: int):
        super().__init__()
        self.conv1 = Conv1d(channels, channels, lookahead + 1, padding=(0, lookahead))
        self.conv2 = CausalConv1d(channels, channels, 3)

    def __call__(self, x: mx.array, mask: mx.array | None) -> mx.array:
        ahead = nn.leaky_relu(self.conv1(_masked(x, mask)), 0.01)
        return self.conv2(ahead) + x


class Upsample1D(nn.Module):
    """Nearest-neighbour upsampling and a causal convolution over the repeated frames."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self._stride = stride
        self.conv = CausalConv1d(channels, channels, 2 * stride + 1)

    def __call__(self, x: mx.array) -> mx.array:
        return self.conv(mx.repeat(x, self._stride, axis=1))


def _masked(x: mx.array, mask: mx.array | None) -> mx.array:
    return x if mask is None else x * mask[..., None]


class UpsampleConformerEncoder(nn.Module):
    """Token embeddings (B, n, 512) to mel-rate features (B, 2 n, 512)."""

    def __init__(self, config: S3GenConfig):
        super().__init__()
        width = config.encoder_output_size
        self._ratio = config.token_mel_ratio
        self.embed = LinearEmbedding(config.token_embed_dim, width)
        self.pre_lookahead_layer = PreLookaheadLayer(width, config.pre_lookahead_len)
        self.encoders = [ConformerLayer(config) for _ in range(config.encoder_num_blocks)]
        self.up_layer = Upsample1D(width, config.token_mel_ratio)
        self.up_embed = LinearEmbedding(width, width)
        self.up_encoders = [ConformerLayer(config) for _ in range(config.encoder_num_up_blocks)]
        self.after_norm = nn.LayerNorm(width, eps=1e-5)

    def __call__(self, x: mx.array, mask: mx.array | None = None) -> mx.array:
        """Encode.

        Args:
            x: (B, n, C) token embeddings.
            mask: (B, n), 1 for tokens and 0 for padding after them; None if nothing is padded.
        """
        x, positions = self.embed(x)
        x = self.pre_lookahead_layer(x, mask)
        key_bias = padding_bias(mask, x.dtype)
        x = _conform(self.encoders, x, positions, key_bias)
        x = self.up_layer(_masked(x, mask))
        x, positions = self.up_embed(x)
        if mask is not None:
            key_bias = padding_bias(mx.repeat(mask, self._ratio, axis=1), x.dtype)
        return self.after_norm(_conform(self.up_encoders, x, positions, key_bias))


def _conform(
    layers: list[ConformerLayer], x: mx.array, positions: mx.array, key_bias: mx.array | None
) -> mx.array:
    if key_bias is None and layers and not layers[0].training and x.dtype == mx.float32:
        compiled = NativeLayers.of(layers)
        if compiled is not None:
            return compiled(x, positions)
    for layer in layers:
        x = layer(x, positions, key_bias)
    return x
