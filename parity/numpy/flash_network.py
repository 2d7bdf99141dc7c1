"""The network of Chatterbox-Flash in plain NumPy, float64, without a cache.

Prefix and blocks are one sequence: a position of the prefix attends to those up to it, a position
of a block to the prefix, to all blocks before and to the whole of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .layers import Weights, linear, sigmoid


@dataclass(frozen=True)
class FlashSizes:
    """What the weights do not tell; upstream's numbers."""

    heads: int = 16
    eps: float = 1e-5
    base: float = 500000.0
    factor: float = 8.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192
    start: int = 6561
    mask: int = 8194


def frequencies(depth: int, sizes: FlashSizes) -> np.ndarray:
    """Radians a position of each pair of channels, (depth / 2,), as Llama 3 slows them down."""
    plain = sizes.base ** (-np.arange(0, depth, 2) / depth)
    turns = sizes.original * plain / (2 * np.pi)
    kept = np.clip((turns - sizes.low) / (sizes.high - sizes.low), 0, 1)
    return plain * (kept + (1 - kept) / sizes.factor)


def _norm(w: Weights, x: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * w["weight"]


def hidden_states(w: Weights, x: np.ndarray, seen: np.ndarray, sizes: FlashSizes) -> np.ndarray:
    """Run the Llama over one sequence.

    Args:
        w: below `tfmr.`.
        x: (T, C).
        seen: (T, T) bool, what each position attends to.

    Returns:
        (T, C) after the final norm.
    """
    length, heads = len(x), sizes.heads
    depth = w["layers.0.self_attn.q_proj.weight"].shape[0] // heads
    turns = np.exp(1j * np.outer(np.arange(length), frequencies(depth, sizes)))

    def split(rows: np.ndarray) -> np.ndarray:
        return rows.reshape(length, heads, depth).swapaxes(0, 1)

    def turned(rows: np.ndarray) -> np.ndarray:
        both = split(rows)
        pairs = (both[..., : depth // 2] + 1j * both[..., depth // 2 :]) * turns
        return np.concatenate([pairs.real, pairs.imag], axis=-1)

    number = 0
    while f"layers.{number}" in w:
        layer = w.at(f"layers.{number}")
        own, mlp = layer.at("self_attn"), layer.at("mlp")
        normed = _norm(layer.at("input_layernorm"), x, sizes.eps)
        queries, keys = (turned(linear(own.at(name), normed)) for name in ("q_proj", "k_proj"))
        values = split(linear(own.at("v_proj"), normed))
        weights = np.where(seen, queries @ keys.swapaxes(1, 2) / np.sqrt(depth), -np.inf)
        weights = np.exp(weights - weights.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        x = x + linear(own.at("o_proj"), (weights @ values).swapaxes(0, 1).reshape(length, -1))
        normed = _norm(layer.at("post_attention_layernorm"), x, sizes.eps)
        gate, up = linear(mlp.at("gate_proj"), normed), linear(mlp.at("up_proj"), normed)
        x = x + linear(mlp.at("down_proj"), gate * sigmoid(gate) * up)
        number += 1
    return _norm(w.at("norm"), x, sizes.eps)


def speech_rows(w: Weights, tokens: np.ndarray) -> np.ndarray:
    """Embed a block, whose positions count from 0: (T,) -> (T, C)."""
    return w["speech_emb.weight"][tokens] + w["speech_pos_emb.emb.weight"][: len(tokens)]


def prefix_rows(
    w: Weights, conditioning: np.ndarray, text: np.ndarray, has_text: bool, sizes: FlashSizes
) -> np.ndarray:
    """Embed what comes before the first block, (L, C); without text all but the start is zero."""
    words = w["text_emb.weight"][text] + w["text_pos_emb.emb.weight"][: len(text)]
    before = np.concatenate([conditioning.astype(np.float64), words])
    start = speech_rows(w, np.array([sizes.start]))
    return np.concatenate([before if has_text else np.zeros_like(before), start])


def block_seen(prefix: int, blocks: Sequence[int]) -> np.ndarray:
    """Tell what each position attends to, (T, T) bool, for blocks of these lengths."""
    ends = [*range(1, prefix + 1)]
    for length in blocks:
        ends += [len(ends) + length] * length
    return np.arange(len(ends)) < np.array(ends)[:, None]


def block_logits(
    w: Weights, prefix: np.ndarray, blocks: Sequence[np.ndarray], sizes: FlashSizes
) -> np.ndarray:
    """Logits of the last block's positions, each from what comes one position before it: (T, V)."""
    rows = [prefix, *(speech_rows(w, block) for block in blocks)]
    seen = block_seen(len(prefix), [len(block) for block in blocks])
    hidden = hidden_states(w.at("tfmr"), np.concatenate(rows), seen, sizes)
    length = len(blocks[-1])
    return linear(w.at("speech_head"), hidden[-length - 1 : -1])


def prior(w: Weights, length: int, sizes: FlashSizes) -> np.ndarray:
    """Mean probabilities of a block of masks that follows nothing but the start token, (V,).

    As upstream has it: learned positions go on from the start token's, and attention is causal.
    """
    tokens = np.array([sizes.start] + [sizes.mask] * length)
    seen = np.tri(length + 1, dtype=bool)
    hidden = hidden_states(w.at("tfmr"), speech_rows(w, tokens), seen, sizes)
    logits = linear(w.at("speech_head"), hidden[:-1])
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (weights / weights.sum(axis=-1, keepdims=True)).mean(axis=0)
