"""Quantised linear layers with products that are fast on a CPU.

On a CPU, MLX multiplies by packed weights number by number: for many rows fifty times slower than a
BLAS, and in half precision, in which no CPU of today computes, another forty times slower. So there
the products are in float32: of a few rows by the packed weights, of more by the weights unpacked,
which are dropped after the product. On a GPU MLX's own kernels serve.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ..runtime import device

# Up to this many rows, by bits, packed weights are faster. Numbers of other widths cross bytes, and
# take ten times as long to unpack.
_FEW_ROWS = {4: 4, 8: 4}
_FEW_ROWS_ELSE = 24


class QuantizedLinear(nn.QuantizedLinear):
    """MLX's quantised layer; the same numbers, on a CPU rounded to half precision later."""

    def __call__(self, x: mx.array) -> mx.array:
        """x (..., in) to (..., out)."""
        if not device.on_cpu():
            return super().__call__(x)
        full = mx.float32
        assert self.biases is not None  # the affine mode, the only one in use, has them
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


def install_cpu_kernels(networks: nn.Module) -> None:
    """Turn MLX's quantised layers into those of this module; their weights stay as they are."""
    for layer in networks.modules():
        if type(layer) is nn.QuantizedLinear:
            layer.__class__ = QuantizedLinear
