"""Layers in plain NumPy, float64, from their definitions; channels before time, as in PyTorch.

Weights are upstream's, under upstream's names, weight norm and all: nothing of our converter is in
between.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import erf


class Weights:
    """Upstream's tensors below a prefix, as float64; weight norm is resolved when asked for.

    Args:
        file: name of the file that they are of, for whoever asks.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], prefix: str = "", file: str = ""):
        self._tensors, self._prefix, self.file = tensors, prefix, file

    def at(self, name: str) -> Weights:
        """Weights of a part."""
        return Weights(self._tensors, f"{self._prefix}{name}.", self.file)

    @property
    def path(self) -> str:
        """Path of the part in the file; empty for the whole."""
        return self._prefix.rstrip(".")

    def __contains__(self, name: str) -> bool:
        """True if there is a tensor of this name, or one below it."""
        start = self._prefix + name
        return any(key == start or key.startswith(f"{start}.") for key in self._tensors)

    def __getitem__(self, name: str) -> np.ndarray:
        key = self._prefix + name
        if key in self._tensors:
            return self._tensors[key].astype(np.float64, copy=False)
        folded = f"{self._prefix}parametrizations.{name}.original"
        for magnitude, direction in ((f"{key}_g", f"{key}_v"), (f"{folded}0", f"{folded}1")):
            if magnitude in self._tensors:
                g = self._tensors[magnitude].astype(np.float64)
                v = self._tensors[direction].astype(np.float64)
                axes = tuple(range(1, v.ndim))
                return g * v / np.sqrt(np.sum(v * v, axis=axes, keepdims=True))
        raise KeyError(key)


def linear(w: Weights, x: np.ndarray) -> np.ndarray:
    """(..., in) -> (..., out)."""
    out = x @ w["weight"].T
    return out + w["bias"] if "bias" in w else out


def conv1d(
    w: Weights,
    x: np.ndarray,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
    dilation: int = 1,
    depthwise: bool = False,
) -> np.ndarray:
    """(B, I, T) -> (B, O, T'): one product, or multiplication, for each tap of the kernel."""
    weight = w["weight"]
    x = np.pad(x, [(0, 0), (0, 0), padding])
    kernel = weight.shape[2]
    frames = (x.shape[2] - dilation * (kernel - 1) - 1) // stride + 1
    out = 0.0
    for tap in range(kernel):
        start = tap * dilation
        seen = x[:, :, start : start + stride * (frames - 1) + 1 : stride]
        out = out + (weight[:, 0, tap, None] * seen if depthwise else weight[:, :, tap] @ seen)
    return out + w["bias"][:, None] if "bias" in w else out


def conv_transpose1d(w: Weights, x: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """(B, I, T) -> (B, O, (T - 1) stride - 2 padding + K): each input frame lays down a kernel."""
    weight = w["weight"]  # (I, O, K)
    kernel, frames = weight.shape[2], x.shape[2]
    out = np.zeros((len(x), weight.shape[1], (frames - 1) * stride + kernel))
    for tap in range(kernel):
        out[:, :, tap : tap + stride * (frames - 1) + 1 : stride] += weight[:, :, tap].T @ x
    return out[:, :, padding : out.shape[2] - padding] + w["bias"][:, None]


def conv2d(w: Weights, x: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
    """(B, I, F, T) -> (B, O, F', T); the stride is along F."""
    weight = w["weight"]
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    high, wide = weight.shape[2:]
    rows, columns = (x.shape[2] - high) // stride + 1, x.shape[3] - wide + 1
    out = 0.0
    for i in range(high):
        for j in range(wide):
            seen = x[:, :, i : i + stride * (rows - 1) + 1 : stride, j : j + columns]
            out = out + np.tensordot(weight[:, :, i, j], seen, axes=(1, 1))
    return np.swapaxes(out, 0, 1)


def batch_norm(w: Weights, x: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """(B, C, ...) by the running statistics."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    out = (x - w["running_mean"].reshape(shape)) / np.sqrt(w["running_var"].reshape(shape) + eps)
    if "weight" in w:
        out = out * w["weight"].reshape(shape) + w["bias"].reshape(shape)
    return out


def layer_norm(w: Weights, x: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """(..., C)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.mean(centred * centred, axis=-1, keepdims=True)
    return centred / np.sqrt(variance + eps) * w["weight"] + w["bias"]


def lstm(w: Weights, x: np.ndarray, layers: int) -> np.ndarray:
    """(B, T, I) -> (B, T, H): the last layer's outputs, from zeros."""
    for layer in range(layers):
        recurrent = w[f"weight_hh_l{layer}"]
        bias = w[f"bias_ih_l{layer}"] + w[f"bias_hh_l{layer}"]
        fed = x @ w[f"weight_ih_l{layer}"].T + bias
        hidden = cell = np.zeros((len(x), recurrent.shape[1]))
        outputs = []
        for step in range(x.shape[1]):
            enter, forget, new, leave = np.split(fed[:, step] + hidden @ recurrent.T, 4, axis=-1)
            cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
            hidden = sigmoid(leave) * np.tanh(cell)
            outputs.append(hidden)
        x = np.stack(outputs, axis=1)
    return x


def attention(queries: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """softmax(q k^T / sqrt(D)) v over (..., T, D)."""
    scores = queries @ np.swapaxes(keys, -1, -2) / np.sqrt(queries.shape[-1])
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ values


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


def leaky_relu(x: np.ndarray, slope: float) -> np.ndarray:
    return np.where(x < 0, slope * x, x)


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, np.expm1(np.minimum(x, 0.0)), x)


def gelu(x: np.ndarray) -> np.ndarray:
    """GELU by the error function."""
    return 0.5 * x * (1.0 + erf(x / np.sqrt(2.0)))


def snake(w: Weights, x: np.ndarray) -> np.ndarray:
    """x + sin(alpha x)^2 / alpha over (B, C, T); 1e-9 as upstream."""
    alpha = w["alpha"][:, None]
    return x + np.sin(alpha * x) ** 2 / (alpha + 1e-9)
