"""A pass over blocks in C (`runtime/native`), on Linux CPUs.

Every position of a block is a row of the products; rows of one block share their slots, and see
the whole of it. A row's result is the same to the bit with any others.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from ...runtime import native
from ...runtime.native.layers import address
from ..decoder.native_step import NativeStep
from ..decoder.network import DecoderNetwork
from .cache import BlockCache

# `MOST_TOGETHER` in `many_rows.h`.
MOST_BLOCK_ROWS = 240


class NativePass(NativeStep):
    """Passes blocks through the layers as `BlockWriter.run` does.

    It holds on to the weights that the network has when it is made.
    """

    @classmethod
    def of_blocks(cls, network: DecoderNetwork) -> NativePass | None:
        """Make one for float32 weights of plain layers, where there is compiled code; or None."""
        in_c = cls.of(network)
        return in_c if isinstance(in_c, cls) else None

    def run(self, blocks: Sequence[np.ndarray], caches: Sequence[BlockCache]) -> list[np.ndarray]:
        """Write the blocks' keys and values to the slots after those in use, in place.

        Args:
            blocks: (T,) int32 each, at most `MOST_BLOCK_ROWS` rows in all.
            caches: have room.

        Returns:
            For each (n, T, C) float32 after the final norm; n is the cache's rows.
        """
        lengths = [len(block) for block in blocks]
        rows = [cache.rows for cache in caches]
        positions = np.concatenate(
            [np.tile(np.arange(t, dtype=np.int32), n) for t, n in zip(lengths, rows, strict=True)]
        )
        tokens = np.concatenate([np.tile(b, n) for b, n in zip(blocks, rows, strict=True)])
        counts = [t * n for t, n in zip(lengths, rows, strict=True)]
        slots = _each([cache.used for cache in caches], counts) + positions
        used = [cache.used + t for cache, t in zip(caches, lengths, strict=True)]
        ends, capacities = _each(used, counts), _each([cache.capacity for cache in caches], counts)
        embedded = self._embed(tokens, positions, slots)
        assert self._wavelengths is not None  # the Llama's
        angles = slots[:, None].astype(np.float32) / self._wavelengths
        cosine, sine = np.cos(angles), np.sin(angles)
        tables = [self._table_of(cache) for cache in caches]
        keys, values = (
            np.concatenate(
                [np.repeat(table[i], t, axis=1) for table, t in zip(tables, lengths, strict=True)],
                axis=1,
            )
            for i in (0, 1)
        )
        hidden = np.empty_like(embedded)
        arrays = (embedded, cosine, sine, slots, ends, capacities, self._layers, keys, values)
        _, heads, _, depth = caches[0].keys[0].shape
        sizes = self._network.transformer.sizes
        numbers = (len(self._layers), *embedded.shape, heads, depth, sizes.intermediate_size)
        pointers = [ctypes.c_void_p(address(array)) for array in (*arrays, *self._norm, hidden)]
        library = native.library()
        assert library is not None  # `NativeStep.of`
        if library.decode_blocks(*pointers, *numbers, ctypes.c_float(sizes.norm_eps)):
            raise MemoryError("decode_blocks")
        parts = np.split(hidden, np.cumsum(counts)[:-1])
        return [part.reshape(n, t, -1) for part, n, t in zip(parts, rows, lengths, strict=True)]


def _each(values: Sequence[int], counts: Sequence[int]) -> np.ndarray:
    return np.repeat(np.array(values, dtype=np.int32), counts)
