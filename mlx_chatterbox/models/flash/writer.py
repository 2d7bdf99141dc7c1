"""T3 as it writes blocks: what precedes them, a pass over them, and what it predicts.

A sentence's sequence is [conditioning | text | start | block | block ...]. A block attends to all
that is before it and to the whole of itself. A position is predicted from what comes one position
before it, the first of a block from the end of the block before, or the start token. Learned
positions count from 0 in every block; those by which keys are turned go on.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from ...runtime import device
from ..decoder.cache import KVCache
from ..t3.t3 import T3
from .cache import BlockCache, attends_to_blocks
from .native_pass import MOST_BLOCK_ROWS, NativePass


class BlockWriter:
    """A T3 of masked blocks.

    Where there is compiled code for it, it is made for the weights that T3 has at the first pass.

    Args:
        t3: whose table of speech tokens has a mask (`T3Config.has_mask`).
    """

    def __init__(self, t3: T3):
        self.t3 = t3
        self._native: NativePass | None = None
        self._has_looked = False

    @property
    def vocabulary(self) -> int:
        return self.t3.config.speech_tokens_dict_size

    def prefill(
        self, conditioning: KVCache, text_tokens: mx.array, is_guided: bool
    ) -> tuple[mx.array, KVCache]:
        """Compute what comes before the first block, for one sentence.

        Args:
            conditioning: from `T3.conditioning_cache`.
            text_tokens: (n,), with start and stop.
            is_guided: True adds the row without text.

        Returns:
            (1 or 2, C), from which the first position is predicted; the keys and values of every
            position, the row with text first.
        """
        t3 = self.t3
        start = t3.embed_speech(mx.array([[t3.config.start_speech_token]]), 0)
        text = t3.embed_text(text_tokens, guided=False)
        hidden, past = t3.hidden_states(mx.concatenate([text, start], axis=1), conditioning)
        if not is_guided:
            return hidden[:, -1], past
        # The row without text is zero up to the start token, its positions and the voice too. The
        # Llama has no biases: where nothing but zeros is seen, every key and value is zero.
        length = past.length - 1
        nothing = KVCache(
            *(
                tuple(mx.zeros_like(layer[:, :, :length]) for layer in layers)
                for layers in (past.keys, past.values)
            )
        )
        without, past_without = t3.hidden_states(start, nothing)
        both = [
            tuple(mx.concatenate(list(rows)) for rows in zip(*layers, strict=True))
            for layers in (
                (past.keys, past_without.keys),
                (past.values, past_without.values),
            )
        ]
        return mx.concatenate([hidden[:, -1], without[:, -1]]), KVCache(*both)

    def run(
        self, blocks: Sequence[mx.array], caches: Sequence[BlockCache], width: int
    ) -> list[mx.array]:
        """Pass the blocks of several sentences through the layers, each after its own slots.

        The blocks' keys and values are written, and count as soon as a cache is committed.

        Args:
            blocks: (T,) each, T up to `width`.
            caches: have room for them.
            width: positions that each takes in the products, whatever its length, so that their
                rounding does not depend on it.

        Returns:
            For each (n, T, C) after the final norm; n is 2 with guidance, else 1.
        """
        in_c = self._in_c_for(width)
        if in_c is not None:
            return self._run_in_c(in_c, blocks, caches)
        padded = [mx.pad(block, (0, width - block.shape[0])) for block in blocks]
        rows = [mx.broadcast_to(p, (c.rows, width)) for p, c in zip(padded, caches, strict=True)]
        embedded = self.t3.embed_speech(mx.concatenate(rows), 0)
        starts = [cache.used for cache in caches for _ in range(cache.rows)]
        attends = attends_to_blocks(caches, [block.shape[0] for block in blocks])
        hidden = self.t3.transformer(embedded, mx.array(starts, dtype=mx.int32), attends)
        parts, row = [], 0
        for block, cache in zip(blocks, caches, strict=True):
            parts.append(hidden[row : row + cache.rows, : block.shape[0]])
            row += cache.rows
        return parts

    def _in_c(self) -> NativePass | None:
        """The pass in C; None where there is none, on a GPU or of packed weights."""
        if not device.on_cpu():
            return None
        if not self._has_looked:
            self._native, self._has_looked = NativePass.of_blocks(self.t3), True
        return self._native

    def _run_in_c(
        self, in_c: NativePass, blocks: Sequence[mx.array], caches: Sequence[BlockCache]
    ) -> list[mx.array]:
        """`run`, for as many sentences at a time as there may be rows."""
        results: list[mx.array] = []
        tokens = [np.array(block) for block in blocks]
        first = rows = 0
        for i, (block, cache) in enumerate(zip(tokens, caches, strict=True)):
            own = len(block) * cache.rows
            if rows + own > MOST_BLOCK_ROWS:
                results += map(mx.array, in_c.run(tokens[first:i], caches[first:i]))
                first, rows = i, 0
            rows += own
        return [*results, *map(mx.array, in_c.run(tokens[first:], caches[first:]))]

    def _in_c_for(self, width: int) -> NativePass | None:
        """The pass in C if it takes a guided sentence of such blocks; whoever comes along."""
        return self._in_c() if 2 * width <= MOST_BLOCK_ROWS else None

    def sentences(self, most: int, width: int) -> int:
        """The most sentences of a pass over blocks of a width: in C as many as there are, else
        so many."""
        return most if self._in_c_for(width) is None else MOST_BLOCK_ROWS

    def logits(self, before: mx.array, hidden: mx.array) -> mx.array:
        """Predict the positions of a block.

        Args:
            before: (n, C), what precedes the block.
            hidden: (n, T, C) from `run`.

        Returns:
            (n, T, V) float32.
        """
        shifted = mx.concatenate([before[:, None], hidden[:, :-1]], axis=1)
        return self.t3.predict(shifted)

    def log_prior(self, block_size: int) -> mx.array:
        """Logarithms of the mean prediction of masks that follow nothing but the start token.

        As upstream computes it: attention is causal and learned positions go on from the start
        token's, unlike in the blocks that it calibrates.

        Returns:
            (V,) float32.
        """
        config = self.t3.config
        tokens = [config.start_speech_token] + [config.mask_token] * block_size
        embedded = self.t3.embed_speech(mx.array([tokens]), 0)
        hidden, _ = self.t3.hidden_states(embedded)
        logits = self.t3.predict(hidden[0, :-1])
        return mx.log(mx.softmax(logits, axis=-1).mean(axis=0))
