"""The flow's estimator: a causal U-Net that predicts the direction from noise to mel.

Sources: upstream `models/s3gen/decoder.py`, `matcha/decoder.py`, `matcha/transformer.py`,
`utils/intmeanflow.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...nn.activations import gelu, mish, silu
from ...nn.attention import (
    attend,
    attend_columns,
    attends_by_columns,
    merge_heads,
    padding_bias,
    split_heads,
)
from ...nn.conv import CausalConv1d, Conv1d
from ...runtime.native.layers import NotPlain, linear_weights, plain_weight
from ...runtime.parallel import can_run_two, run_two
from .config import S3GenConfig
from .native_estimator import EPS, NativeEstimator

_Weights = Iterator[np.ndarray | None]
# Half of the frames, (T, C), and its queries, keys and values, (heads * D, T).
_Projected = tuple[mx.array, mx.array, mx.array, mx.array]


def _masked(x: mx.array, mask: mx.array | None) -> mx.array:
    return x if mask is None else x * mask


def time_sinusoids(t: mx.array, width: int) -> mx.array:
    """Sinusoidal features of flow times (B,) in 0 to 1, (B, width): sines, then cosines."""
    half = width // 2
    rates = mx.exp(mx.arange(half, dtype=mx.float32) * -(math.log(10000.0) / (half - 1)))
    angles = 1000.0 * t.astype(mx.float32)[:, None] * rates
    return mx.concatenate([mx.sin(angles), mx.cos(angles)], axis=-1)


class TimestepEmbedding(nn.Module):
    """Two projections with a SiLU between them."""

    def __init__(self, in_channels: int, width: int):
        super().__init__()
        self.linear_1 = nn.Linear(in_channels, width)
        self.linear_2 = nn.Linear(width, width)

    def __call__(self, x: mx.array) -> mx.array:
        return self.linear_2(silu(self.linear_1(x)))


class CausalBlock1D(nn.Module):
    """Causal convolution, layer norm over channels, Mish."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.block = [
            CausalConv1d(in_channels, out_channels, 3),
            nn.Identity(),
            nn.LayerNorm(out_channels, eps=1e-5),
        ]

    def __call__(self, x: mx.array, mask: mx.array | None) -> mx.array:
        conv, _, norm = self.block
        return _masked(mish(norm(conv(_masked(x, mask)))), mask)


class CausalResnetBlock1D(nn.Module):
    """Two causal blocks with the time added between them, and a projected residual."""

    def __init__(self, in_channels: int, out_channels: int, time_width: int):
        super().__init__()
        self.mlp = [nn.Identity(), nn.Linear(time_width, out_channels)]
        self.block1 = CausalBlock1D(in_channels, out_channels)
        self.block2 = CausalBlock1D(out_channels, out_channels)
        self.res_conv = Conv1d(in_channels, out_channels, 1)

    def __call__(self, x: mx.array, mask: mx.array | None, time: mx.array) -> mx.array:
        """x (B, T, C_in) and the time's embedding after Mish (B, time_width) to (B, T, C_out)."""
        hidden = self.block1(x, mask) + self.mlp[1](time)[:, None]
        return self.block2(hidden, mask) + self.res_conv(_masked(x, mask))


class Attention(nn.Module):
    """Plain self-attention; only the output projection has a bias."""

    def __init__(self, channels: int, heads: int, head_dim: int):
        super().__init__()
        self._heads = heads
        inner = heads * head_dim
        self.to_q = nn.Linear(channels, inner, bias=False)
        self.to_k = nn.Linear(channels, inner, bias=False)
        self.to_v = nn.Linear(channels, inner, bias=False)
        self.to_out = [nn.Linear(inner, channels)]

    def __call__(self, x: mx.array, key_bias: mx.array | None) -> mx.array:
        # That way evaluates as it goes, which gradients do not allow.
        if key_bias is None and not self.training and attends_by_columns(x):
            return mx.stack([self._by_columns(row) for row in x])
        queries = split_heads(self.to_q(x), self._heads)
        keys = split_heads(self.to_k(x), self._heads)
        values = split_heads(self.to_v(x), self._heads)
        attended = attend(queries, keys, values, queries.shape[-1] ** -0.5, key_bias)
        return self.to_out[0](merge_heads(attended))

    def _by_columns(self, x: mx.array) -> mx.array:
        """(T, C) to (T, C)."""
        queries, keys, values = self.project_columns(x)
        return self.attend_columns(queries, [keys], [values])

    def project_columns(self, x: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        """(T, C) to queries, keys and values, each (heads * D, T)."""
        return _columns(self.to_q, x), _columns(self.to_k, x), _columns(self.to_v, x)

    def attend_columns(
        self, queries: mx.array, keys: Sequence[mx.array], values: Sequence[mx.array]
    ) -> mx.array:
        """Queries (heads * D, T) over pieces of keys and values (heads * D, S) to (T, C)."""
        scale = (queries.shape[0] // self._heads) ** -0.5
        return self.to_out[0](attend_columns(queries, keys, values, self._heads, scale).T)


def _columns(linear: nn.Module, x: mx.array) -> mx.array:
    """A linear layer on (T, C) as columns, (D, T)."""
    # A quantised layer or one with an adapter has no matrix to turn round.
    return linear.weight @ x.T if type(linear) is nn.Linear else linear(x).T


class GELUProjection(nn.Module):
    """Projection followed by an exact GELU."""

    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.proj = nn.Linear(channels, inner)

    def __call__(self, x: mx.array) -> mx.array:
        return gelu(self.proj(x))


class FeedForward(nn.Module):
    """Widen by four with a GELU, and back."""

    def __init__(self, channels: int):
        super().__init__()
        self.net = [
            GELUProjection(channels, 4 * channels),
            nn.Identity(),
            nn.Linear(4 * channels, channels),
        ]

    def __call__(self, x: mx.array) -> mx.array:
        return self.net[2](self.net[0](x))


class BasicTransformerBlock(nn.Module):
    """Attention and feed-forward, each after its norm."""

    def __init__(self, channels: int, heads: int, head_dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-5)
        self.attn1 = Attention(channels, heads, head_dim)
        self.norm3 = nn.LayerNorm(channels, eps=1e-5)
        self.ff = FeedForward(channels)

    def __call__(self, x: mx.array, key_bias: mx.array | None) -> mx.array:
        x = x + self.attn1(self.norm1(x), key_bias)
        return x + self.ff(self.norm3(x))


def _stage(config: S3GenConfig, in_channels: int, *after: nn.Module) -> list:
    """A resnet block, its transformer blocks, and what comes after them."""
    channels = config.decoder_channels[0]
    heads, head_dim = config.decoder_num_heads, config.decoder_attention_head_dim
    return [
        CausalResnetBlock1D(in_channels, channels, 4 * channels),
        [BasicTransformerBlock(channels, heads, head_dim) for _ in range(config.decoder_n_blocks)],
        *after,
    ]


class ConditionalDecoder(nn.Module):
    """The U-Net. With its one level of channels it never changes the time resolution."""

    def __init__(self, config: S3GenConfig):
        super().__init__()
        channels = config.decoder_channels[0]
        self._heads = config.decoder_num_heads, config.decoder_attention_head_dim
        self._time_features = config.decoder_in_channels
        self.time_mlp = TimestepEmbedding(config.decoder_in_channels, 4 * channels)
        if config.meanflow:
            self.time_embed_mixer = nn.Linear(8 * channels, 4 * channels, bias=False)
        self.down_blocks = [
            _stage(config, config.decoder_in_channels, CausalConv1d(channels, channels, 3))
        ]
        self.mid_blocks = [_stage(config, channels) for _ in range(config.decoder_num_mid_blocks)]
        self.up_blocks = [_stage(config, 2 * channels, CausalConv1d(channels, channels, 3))]
        self.final_block = CausalBlock1D(channels, channels)
        self.final_proj = Conv1d(channels, config.decoder_out_channels, 1)

    def in_c_order(self) -> tuple[list[_Weights], list[_Weights], list[_Weights]]:
        """Return rows of weights for `native_estimator`.

        Raises:
            NotPlain: while they are read; see `linear_weights`.
        """
        stages = self._stages()
        return (
            [_resnet(stage[0]) for stage in stages],
            [_transformer(block) for stage in stages for block in stage[1]],
            [_ends(self)],
        )

    def c_sizes(self) -> tuple[int, int, int, int, int, int]:
        """Return mel bins, channels, heads, channels of a head, stages and blocks of a stage."""
        bins, _, width = self.final_proj.weight.shape
        stages = self._stages()
        return bins, width, *self._heads, len(stages), len(stages[0][1])

    def _stages(self) -> list:
        return [*self.down_blocks, *self.mid_blocks, *self.up_blocks]

    def embed_time(self, t: mx.array, r: mx.array | None = None) -> mx.array:
        """Embed flow times, (B,) to (B, 4 C); `r`, the step's end, is for mean flow only."""
        dtype = self.final_proj.weight.dtype
        embedded = self.time_mlp(time_sinusoids(t, self._time_features).astype(dtype))
        if "time_embed_mixer" in self:
            assert r is not None  # the end of a mean flow's step
            end = self.time_mlp(time_sinusoids(r, self._time_features).astype(dtype))
            embedded = self.time_embed_mixer(mx.concatenate([embedded, end], axis=-1))
        return embedded

    def __call__(
        self,
        x: mx.array,
        mu: mx.array,
        t: mx.array,
        spks: mx.array,
        cond: mx.array,
        r: mx.array | None = None,
        mask: mx.array | None = None,
    ) -> mx.array:
        """Predict the velocity.

        Args:
            x, mu, cond: (B, T, 80): the noisy mel, the encoder's mel, the prompt's mel.
            t, r: (B,) start and, for mean flow, end of the step, 0 to 1.
            spks: (B, 80) projected speaker embedding.
            mask: (B, T), 1 for frames and 0 for padding; None if nothing is padded.

        Returns:
            (B, T, 80)
        """
        return self.velocity(x, mu, self.embed_time(t, r), spks, cond, mask)

    def velocity(
        self,
        x: mx.array,
        mu: mx.array,
        time: mx.array,
        spks: mx.array,
        cond: mx.array,
        mask: mx.array | None = None,
    ) -> mx.array:
        """Predict the velocity like `__call__`, with the time already embedded."""
        time = mish(time)
        if mask is None and not self.training:
            compiled = NativeEstimator.of(self)
            if compiled is not None:
                return compiled(x, mu, time, spks, cond)
        key_bias = padding_bias(mask, x.dtype)
        if mask is not None:
            mask = mask[..., None].astype(x.dtype)
        speakers = mx.broadcast_to(spks[:, None], (*x.shape[:2], spks.shape[-1]))
        x = mx.concatenate([x, mu, speakers, cond], axis=-1)

        resnet, transformers, down = self.down_blocks[0]
        x = _transform(resnet(x, mask, time), transformers, key_bias)
        skip = x
        x = down(_masked(x, mask))
        for resnet, transformers in self.mid_blocks:
            x = _transform(resnet(x, mask, time), transformers, key_bias)
        resnet, transformers, up = self.up_blocks[0]
        x = resnet(mx.concatenate([x, skip], axis=-1), mask, time)
        x = _transform(x, transformers, key_bias)
        x = up(_masked(x, mask))
        x = self.final_block(x, mask)
        return _masked(self.final_proj(_masked(x, mask)), mask)


def _transform(x: mx.array, blocks: list, key_bias: mx.array | None) -> mx.array:
    single = x.shape[0] == 1 and key_bias is None and attends_by_columns(x)
    if blocks and single and not blocks[0].training and can_run_two():
        return _transform_by_halves(x[0], blocks)[None]
    for block in blocks:
        x = block(x, key_bias)
    return x


def _transform_by_halves(x: mx.array, blocks: list[BasicTransformerBlock]) -> mx.array:
    """Transformer blocks over (T, C), each half of the frames on a core of its own.

    A half needs nothing of the other but its keys and values.
    """
    middle = x.shape[0] // 2
    halves = [x[:middle], x[middle:]]
    mx.eval(halves, [block.parameters() for block in blocks])

    def begin(block: BasicTransformerBlock, half: mx.array) -> _Projected:
        return half, *block.attn1.project_columns(block.norm1(half))

    def finish(block: BasicTransformerBlock, both: Sequence[_Projected], side: int) -> mx.array:
        half, queries, _, _ = both[side]
        keys, values = [one[2] for one in both], [one[3] for one in both]
        half = half + block.attn1.attend_columns(queries, keys, values)
        return half + block.ff(block.norm3(half))

    def advance(
        block: BasicTransformerBlock,
        following: BasicTransformerBlock,
        both: Sequence[_Projected],
        side: int,
    ) -> _Projected:
        return begin(following, finish(block, both, side))

    projected = run_two(lambda: begin(blocks[0], halves[0]), lambda: begin(blocks[0], halves[1]))
    for block, following in pairwise(blocks):
        step = partial(advance, block, following, projected)
        projected = run_two(partial(step, 0), partial(step, 1))
    last = partial(finish, blocks[-1], projected)
    return mx.concatenate(list(run_two(partial(last, 0), partial(last, 1))))


def _resnet(net: CausalResnetBlock1D) -> _Weights:
    """Weights in the order of `Resnet` in `estimator.c`."""
    yield from linear_weights(net.mlp[1])
    for block in (net.block1, net.block2):
        yield from _conv(block.block[0])
        yield from _norm(block.block[2])
    yield from _conv(net.res_conv)


def _transformer(block: BasicTransformerBlock) -> _Weights:
    """Weights in the order of `Transformer`."""
    attention, (wide, _, narrow) = block.attn1, block.ff.net
    yield from _norm(block.norm1)
    for projection in (attention.to_q, attention.to_k, attention.to_v):
        yield linear_weights(projection)[0]
    yield from linear_weights(attention.to_out[0])
    yield from _norm(block.norm3)
    yield from linear_weights(wide.proj)
    yield from linear_weights(narrow)


def _ends(estimator: ConditionalDecoder) -> _Weights:
    """Weights in the order of `Ends`."""
    yield from _conv(estimator.down_blocks[0][2])
    yield from _conv(estimator.up_blocks[0][2])
    yield from _conv(estimator.final_block.block[0])
    yield from _norm(estimator.final_block.block[2])
    yield from _conv(estimator.final_proj)


def _conv(layer: nn.Module) -> _Weights:
    if not isinstance(layer, Conv1d) or layer.weight.shape[1] not in (1, 3):
        raise NotPlain
    yield plain_weight(layer, "weight")
    yield plain_weight(layer, "bias")


def _norm(layer: nn.Module) -> _Weights:
    if layer.eps != EPS:
        raise NotPlain
    yield plain_weight(layer, "weight")
    yield plain_weight(layer, "bias")
