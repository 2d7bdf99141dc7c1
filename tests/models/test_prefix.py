"""Prefixes of several voices: kept up to a number of bytes, the latest ones."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.models.decoder.cache import KVCache
from mlx_chatterbox.models.t3.prefix import MOST_BYTES, PrefixMemory
from mlx_chatterbox.weights.checkpoint import build
from mlx_chatterbox.weights.variants import VARIANTS
from tests.small import small_config


@pytest.fixture(scope="module", params=["english", "turbo"])
def t3(request):
    return build(small_config(request.param)).t3


@pytest.fixture
def computed(t3, monkeypatch) -> list:
    """The conditioning of which keys and values were computed, in order."""
    seen, compute = [], type(t3).conditioning_cache
    monkeypatch.setattr(
        type(t3), "conditioning_cache", lambda self, one: seen.append(1) or compute(self, one)
    )
    return seen


def voice(number: int) -> tuple:
    return mx.ones((1, 256)) / (number + 1), mx.arange(20)[None], 0.5


def nbytes(cache: KVCache) -> int:
    return sum(array.nbytes for array in (*cache.keys, *cache.values))


def test_voices_in_turn_are_computed_once(t3, computed):
    memory = PrefixMemory()
    first = [memory.cache_of(t3, *voice(number)) for number in range(4)]
    for _ in range(3):
        for number in range(4):
            assert memory.cache_of(t3, *voice(number)) is first[number]
    assert len(computed) == 4
    assert memory.nbytes == sum(map(nbytes, first))
    assert not np.array_equal(first[0].keys[0], first[1].keys[0])


def test_beyond_the_bound_those_not_asked_for_the_longest_are_dropped(t3, computed):
    one = nbytes(PrefixMemory().cache_of(t3, *voice(0)))
    memory = PrefixMemory(3 * one)
    kept = [memory.cache_of(t3, *voice(number)) for number in range(3)]
    assert memory.cache_of(t3, *voice(0)) is kept[0]
    memory.cache_of(t3, *voice(3))
    assert memory.nbytes == 3 * one
    computed.clear()
    for number in (0, 2, 3):
        memory.cache_of(t3, *voice(number))
    assert not computed
    again = memory.cache_of(t3, *voice(1))
    assert len(computed) == 1
    np.testing.assert_array_equal(again.keys[0], kept[1].keys[0])
    # What is dropped is freed.
    dropped = weakref.ref(kept[0])
    del kept
    gc.collect()
    assert dropped() is None
    assert memory.nbytes == 3 * one


def test_many_voices_take_no_more_than_the_bound(t3):
    one = nbytes(PrefixMemory().cache_of(t3, *voice(0)))
    memory = PrefixMemory(int(2.5 * one))
    for number in range(20):
        memory.cache_of(t3, *voice(number))
        assert memory.nbytes <= 2.5 * one


def test_the_latest_is_kept_even_if_it_is_larger(t3, computed):
    memory = PrefixMemory(1)
    kept = memory.cache_of(t3, *voice(0))
    assert memory.cache_of(t3, *voice(0)) is kept
    memory.cache_of(t3, *voice(1))
    assert memory.nbytes == nbytes(kept)
    assert len(computed) == 2


def test_other_weights_drop_all(t3):
    memory = PrefixMemory()
    before = [weakref.ref(memory.cache_of(t3, *voice(number))) for number in range(3)]
    bias = t3.cond_enc.spkr_enc.bias
    t3.cond_enc.spkr_enc.bias = bias + 1
    changed = memory.cache_of(t3, *voice(0))
    t3.cond_enc.spkr_enc.bias = bias
    gc.collect()
    assert [one() for one in before] == [None] * 3
    assert memory.nbytes == nbytes(changed)


def test_threads_that_ask_for_one_voice_share_it(t3):
    memory, both = PrefixMemory(), Barrier(4)
    mx.eval(t3.parameters())

    def ask(_) -> KVCache:
        both.wait()
        return memory.cache_of(t3, *voice(0))

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(ask, range(4)))
    assert len({id(one) for one in found}) == 1
    assert memory.nbytes == nbytes(found[0])


def test_four_voices_of_the_largest_prompt_fit():
    config = VARIANTS["turbo"].default_config().t3
    # The prompt, and the speaker before it.
    positions = config.speech_cond_prompt_len + 1
    floats = 2 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * positions
    assert 4 * 4 * floats <= MOST_BYTES < 5 * 4 * floats
