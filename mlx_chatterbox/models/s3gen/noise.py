"""Noise for a signal whose length need not be known: any stretch of it can be drawn by itself."""

from __future__ import annotations

import mlx.core as mx

_BLOCK_FRAMES = 64


class FrameNoise:
    """Standard normal numbers for frames 0, 1, 2, ...

    A frame's numbers depend on the key and its index alone, so that pieces that overlap get the
    same noise where they do. They come in blocks, each from a key of its own.
    """

    def __init__(self, key: mx.array, width: int):
        # Evaluated: another thread, which may ask for the next stretch, could not do it.
        mx.eval(key)
        self._key = key
        self._width = width

    def between(self, start: int, stop: int) -> mx.array:
        """Noise of the frames `start` to `stop`, (1, stop - start, width)."""
        first = start // _BLOCK_FRAMES
        blocks = [self._block(i) for i in range(first, -(-stop // _BLOCK_FRAMES))]
        offset = first * _BLOCK_FRAMES
        return mx.concatenate(blocks, axis=1)[:, start - offset : stop - offset]

    def _block(self, index: int) -> mx.array:
        key = self._key + mx.array([0, index], dtype=mx.uint32)
        return mx.random.normal((1, _BLOCK_FRAMES, self._width), key=key)
