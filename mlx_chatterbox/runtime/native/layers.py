"""Weights of plain layers, in the form that the compiled code takes."""

from __future__ import annotations

from collections.abc import Iterable

import mlx.core as mx
import mlx.nn as nn
import numpy as np


class NotPlain(Exception):
    """A weight is not of the form that the compiled code takes."""


def linear_weights(layer: nn.Module) -> tuple[np.ndarray, np.ndarray | None]:
    """Return weight (out, in) and bias (out,) of a linear layer, None for a missing bias.

    Raises:
        NotPlain: it is quantised or has an adapter, or see `plain_weight`.
    """
    if type(layer) is not nn.Linear:
        raise NotPlain
    weight = plain_weight(layer, "weight")
    if weight is None:
        raise NotPlain
    return weight, plain_weight(layer, "bias")


def plain_weight(layer: nn.Module, name: str) -> np.ndarray | None:
    """Return a weight without a copy; None if the layer has none of that name.

    Raises:
        NotPlain: it is not float32, or not C-contiguous.
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
    """Return the address of an array, which is evaluated for it; 0 for None."""
    # The fastest of NumPy's ways to get it.
    return 0 if array is None else np.asarray(array).__array_interface__["data"][0]


def address_table(rows: Iterable[Iterable[np.ndarray | None]]) -> np.ndarray:
    """Make a table of addresses, (rows, columns) uint64: C's array of structures of pointers."""
    return np.array([[address(array) for array in row] for row in rows], dtype=np.uint64)
