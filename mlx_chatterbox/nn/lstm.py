"""LSTM (Hochreiter and Schmidhuber 1997), as PyTorch has it.

On Linux CPUs a layer runs in compiled C (`native`), elsewhere a step is a product and a few
operations.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ..runtime import native
from .gradients import with_gradient_of


class LSTM(nn.Module):
    """Stacked LSTM with PyTorch's parameter names and gate order (input, forget, cell, output)."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int):
        super().__init__()
        self._num_layers = num_layers
        scale = hidden_size**-0.5
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size
            for name, shape in {
                f"weight_ih_l{layer}": (4 * hidden_size, width),
                f"weight_hh_l{layer}": (4 * hidden_size, hidden_size),
                f"bias_ih_l{layer}": (4 * hidden_size,),
                f"bias_hh_l{layer}": (4 * hidden_size,),
            }.items():
                self[name] = mx.random.uniform(-scale, scale, shape)

    def __call__(self, x: mx.array) -> mx.array:
        """(B, T, input_size) to the last layer's outputs (B, T, hidden_size)."""
        for layer in range(self._num_layers):
            bias = self[f"bias_ih_l{layer}"] + self[f"bias_hh_l{layer}"]
            fed = x @ self[f"weight_ih_l{layer}"].T + bias
            recurrent = self[f"weight_hh_l{layer}"]
            if self.training or not native.takes(fed, recurrent):
                x = _by_steps(fed, recurrent)
            else:
                x = _in_one_go(fed, recurrent)
        return x


def _by_steps(fed: mx.array, recurrent: mx.array) -> mx.array:
    """Run a layer: input to the gates (B, T, 4 H) and weight (4 H, H) to outputs (B, T, H)."""
    hidden = cell = mx.zeros((fed.shape[0], recurrent.shape[1]), dtype=fed.dtype)
    outputs = []
    for step in range(fed.shape[1]):
        gates = mx.split(fed[:, step] + hidden @ recurrent.T, 4, axis=-1)
        enter, forget, new, leave = gates
        cell = mx.sigmoid(forget) * cell + mx.sigmoid(enter) * mx.tanh(new)
        hidden = mx.sigmoid(leave) * mx.tanh(cell)
        outputs.append(hidden)
    return mx.stack(outputs, axis=1)


def _in_one_go(fed: mx.array, recurrent: mx.array) -> mx.array:
    """Compute `_by_steps` in compiled code (`native`)."""

    @with_gradient_of(_by_steps)
    def run(fed: mx.array, recurrent: mx.array) -> mx.array:
        rows, steps, _ = fed.shape
        units = recurrent.shape[1]
        shape = (rows, steps, units)
        shapes = [(rows, steps, 4 * units), (4 * units, units)]
        return native.call("lstm_layer", [fed, recurrent], shapes, shape, *shape)

    return run(fed, recurrent)
