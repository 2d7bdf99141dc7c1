"""Detect arrays that were changed in place.

`weight += 1` and `weight[0] = 1` leave the Python object as it is and give it other contents. An
alias, a second object of the same contents, keeps the earlier ones.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten


def evaluated_weights(module: nn.Module) -> list[mx.array]:
    """All weights of a module, evaluated, in a fixed order."""
    weights: list[mx.array] = list(dict(tree_flatten(module.parameters())).values())
    mx.eval(weights)
    return weights


def alias(array: mx.array) -> mx.array:
    """Another object that shares an array's contents and keeps them; nothing is copied."""
    return array.reshape(array.shape)


def share_contents(arrays: Sequence[mx.array], aliases: Sequence[mx.array]) -> bool:
    """Tell whether evaluated arrays still have the contents of their aliases.

    Numbers are not compared: of 300 arrays of any size it takes 0.2 ms. MLX tells one array from
    another by an identity that Python cannot ask for, except by drawing both: an array that is
    twice in a graph is one node of the drawing.
    """
    return _drawn([*arrays, *aliases]) == _drawn([*arrays, *arrays])


def _drawn(arrays: Sequence[mx.array]) -> str:
    drawing = io.StringIO()
    mx.export_to_dot(drawing, *arrays)
    return drawing.getvalue()
