"""A pass over blocks in C: MLX's, and to the bit the same in any company."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.models.decoder.cache import CAPACITY_STEP
from mlx_chatterbox.models.flash.cache import BlockCache
from mlx_chatterbox.models.flash.decoding import decode_together
from mlx_chatterbox.models.flash.native_pass import MOST_BLOCK_ROWS, NativePass
from mlx_chatterbox.models.flash.writer import BlockWriter
from mlx_chatterbox.models.t3.t3 import T3
from mlx_chatterbox.runtime import native
from tests.rounding import Rounding

from .small_flash import TEXTS, request, small_flash

pytestmark = pytest.mark.numbers
# Widths that fill vectors, widths that do not, and products of more than one block of the depth.
WIDTHS = {
    "even": {},
    "odd": {
        "hidden_size": 30,
        "intermediate_size": 50,
        "num_attention_heads": 3,
        "head_dim": 10,
        "perceiver_heads": 3,
    },
    "large": {
        "hidden_size": 320,
        "intermediate_size": 600,
        "num_attention_heads": 5,
        "head_dim": 64,
        "num_hidden_layers": 2,
    },
}


@pytest.fixture(scope="module", params=WIDTHS)
def t3(request):
    if not native.takes():
        pytest.skip("nothing was compiled here, or it is not for this device")
    return small_flash(**WIDTHS[request.param])


def caches_of(t3: T3, lengths: list[int], rows: int) -> list[BlockCache]:
    width = t3.config.hidden_size
    caches = []
    for number, length in enumerate(lengths):
        x = mx.random.normal((rows, length, width), key=mx.random.key(number))
        caches.append(BlockCache(t3.hidden_states(x)[1]))
    return caches


def hidden_of(t3: T3, lengths: list[int], sizes: list[int], rows: int, in_c: bool) -> list:
    """Hidden states of a draft, of what is committed, and of the next block."""
    writer, caches = BlockWriter(t3), caches_of(t3, lengths, rows)
    if not in_c:
        writer._in_c = lambda: None
    results = []
    for turn in range(3):
        random = np.random.default_rng(turn)
        blocks = [mx.array(random.integers(0, 54, size).astype(np.int32)) for size in sizes]
        for cache, size in zip(caches, sizes, strict=True):
            cache.make_room_for(size)
        results += writer.run(blocks, caches, max(sizes))
        if turn == 1:
            for cache, size in zip(caches, sizes, strict=True):
                cache.commit(size)
    mx.eval(results)
    return results


@pytest.mark.parametrize(
    ("lengths", "sizes", "rows"),
    [
        ([7], [16], 2),
        ([30], [1], 1),
        ([3, 40, 1], [16, 11, 16], 2),
        # Beyond the end of the slots that there are.
        ([CAPACITY_STEP - 20, 5], [16, 16], 1),
    ],
)
def test_a_pass_is_mlxs(t3, lengths, sizes, rows):
    assert isinstance(NativePass.of_blocks(t3), NativePass)
    arguments = (t3, lengths, sizes, rows)
    Rounding(lambda: hidden_of(*arguments, False), [t3]).check(hidden_of(*arguments, True))


def test_a_blocks_result_does_not_depend_on_its_company(t3):
    lengths, sizes = [7, 40, 90, 3, 55], [16, 12, 16, 16, 16]
    together = hidden_of(t3, lengths, sizes, 2, True)
    writer = BlockWriter(t3)
    for i in reversed(range(5)):
        cache = caches_of(t3, lengths, 2)[i]
        for turn in range(3):
            random = np.random.default_rng(turn)
            blocks = [random.integers(0, 54, size).astype(np.int32) for size in sizes]
            cache.make_room_for(sizes[i])
            (alone,) = writer.run([mx.array(blocks[i])], [cache], sizes[i])
            if turn == 1:
                cache.commit(sizes[i])
            assert np.array_equal(np.array(alone), np.array(together[5 * turn + i]))


def test_more_sentences_than_a_pass_has_rows_for(t3):
    """All their scores to the bit, though those of the same block are drawn at other times."""
    count = MOST_BLOCK_ROWS // 16 + 3
    requests, together, alone = [], [], []
    for number in range(count):
        together.append([])
        requests.append(
            request(
                t3,
                TEXTS[number % 3],
                9 + number % 3,
                key=mx.random.key(number),
                on_step=together[-1].append,
                temperature=1.0,
                position_temperature=1.0,
            )
        )
    for _ in decode_together(t3, requests):
        pass
    for one, own in list(zip(requests, together, strict=True))[::4]:
        alone = []
        for _ in decode_together(t3, [replace(one, on_step=alone.append)]):
            pass
        assert len(alone) == len(own)
        for a, b in zip(alone, own, strict=True):
            assert np.array_equal(a.scores, b.scores)
            assert np.array_equal(a.after, b.after)


def test_packed_weights_are_left_to_mlx():
    t3 = small_flash()
    t3.set_dtype(mx.bfloat16)
    assert NativePass.of_blocks(t3) is None


def test_blocks_that_are_too_wide_for_c_are_as_alone_in_any_company(t3):
    """MLX makes their passes, a sentence each where that is asked for; guided or not."""
    wide = MOST_BLOCK_ROWS // 2 + 4
    requests, together = [], []
    for number in range(4):
        together.append([])
        settings = {"cfg_scale": float(number % 2), "num_steps": 2, "temperature": 1.0}
        requests.append(
            request(
                t3,
                TEXTS[number % 3],
                wide,
                block_size=wide,
                key=mx.random.key(number),
                on_step=together[-1].append,
                **settings,
            )
        )
    for _ in decode_together(t3, requests, mode="invariant"):
        pass
    for one, own in zip(requests, together, strict=True):
        alone: list = []
        for _ in decode_together(t3, [replace(one, on_step=alone.append)], mode="invariant"):
            pass
        assert len(alone) == len(own) > 0
        for a, b in zip(alone, own, strict=True):
            assert np.array_equal(a.scores, b.scores)
            assert np.array_equal(a.after, b.after)
