"""Attention heads of rows that lie one after the other along one axis."""

from __future__ import annotations

import mlx.core as mx


def split_rows(x: mx.array, rows: int, heads: int) -> mx.array:
    """(B * T, heads * D) to (B, T, heads, D)."""
    return x.reshape(rows, -1, heads, x.shape[-1] // heads)


def merge_rows(x: mx.array) -> mx.array:
    """(B, heads, T, D) to (B * T, heads * D)."""
    return x.swapaxes(1, 2).reshape(-1, x.shape[1] * x.shape[3])
