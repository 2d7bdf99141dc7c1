"""Linear layers whose weights have few bits, with products that a CPU can do.

On a CPU, MLX multiplies by packed weights number by number, which for many rows costs fifty times
what a BLAS takes, and in half precision, which no CPU of today computes with, forty times that
again. So there the products are of float32: of a few rows by the packed weights, of more by the
weights unpacked, which are forgotten after the product. On a GPU MLX's own kernels serve.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ..runtime import device

# Up to so many rows the packed weights are the faster ones; where numbers do not lie within bytes,
# unpacking takes ten times as long.
_FEW_ROWS = {4: 4, 8: 4}
_FEW_ROWS_ELSE = 24


class QuantizedLinear(nn.QuantizedLinear):
    """MLX's quantised layer; the same numbers, on a CPU rounded to half precision later."""

    def __call__(self, x: mx.array) -> mx.array:
        """x (..., in) to (..., out)."""
        if not device.on_cpu():
            return super().__call__(x)
        full = mx.float32
        assert self.biases is not None  # the affine mode, the only one that is made here, has them
        scales, offsets = self.scales.astype(full), self.biases.astype(full)
        packing = {"group_size": self.group_size, "bits": self.bits, "mode": self.mode}
        rows = x.astype(full)
        if x.size // x.shape[-1] <= _FEW_ROWS.get(self.bits, _FEW_ROWS_ELSE):
            out = mx.quantized_matmul(rows, self.weight, scales, offsets, transpose=True, **packing)
        else:
            out = rows @ mx.dequantize(self.weight, scales, offsets, **packing).T
        if "bias" in self:
            out = out + self.bias.astype(full)
        return out.astype(mx.result_type(x.dtype, self.scales.dtype))


def for_any_device(networks: nn.Module) -> None:
    """Let MLX's quantised layers compute as this module says; their weights stay as they are."""
    for layer in networks.modules():
        if type(layer) is nn.QuantizedLinear:
            layer.__class__ = QuantizedLinear
