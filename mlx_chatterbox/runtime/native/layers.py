"""Weights of plain layers, as the compiled code takes them."""

from __future__ import annotations

from collections.abc import Iterable

import mlx.core as mx
import mlx.nn as nn
import numpy as np


class NotPlain(Exception):
    """A weight that the compiled code does not take."""


def linear_weights(layer: nn.Module) -> tuple[np.ndarray, np.ndarray | None]:
    """Weight and bias of a linear layer.

    Raises:
        NotPlain: it is quantised or has an adapter, or see `plain`.
    """
    if type(layer) is not nn.Linear:
        raise NotPlain
    weight = plain(layer, "weight")
    if weight is None:
        raise NotPlain
    return weight, plain(layer, "bias")


def plain(layer: nn.Module, name: str) -> np.ndarray | None:
    """A weight as it lies in memory; None if the layer has none of that name.

    Raises:
        NotPlain: not float32, or not row after row.
    """
    if name not in layer:
        return None
    if layer[name].dtype != mx.float32:
        raise NotPlain
    array = np.asarray(layer[name])
    if not array.flags.c_contiguous:
        raise NotPlain
    return array


def address(array: mx.array | np.ndarray | None) -> int:
    """Where an array begins, which is evaluated for it; 0 for None."""
    # Of NumPy's ways to ask, the quickest.
    return 0 if array is None else np.asarray(array).__array_interface__["data"][0]


def table(rows: Iterable[Iterable[np.ndarray | None]]) -> np.ndarray:
    """Addresses, row after row, as C's structures of pointers."""
    return np.array([[address(array) for array in row] for row in rows], dtype=np.uint64)
