"""Entries that MLX's CUDA backend would cache for each shape, counted without it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import OrderedDict, deque
from collections.abc import Callable

import mlx.core as mx
import pytest

from mlx_chatterbox import ChatterboxTTS
from mlx_chatterbox.runtime import device, mlx_settings
from tests.runtime.processes import printed

DEFAULT_CONVOLUTIONS = 128  # mlx/backend/cuda/conv.cpp


class LRUCache:
    """Model of `mlx/backend/cuda/lru_cache.h`: its entries, and when it gives up."""

    def __init__(self, capacity: int, is_checked: bool):
        self._capacity, self._is_checked = capacity, is_checked
        self._kept: OrderedDict = OrderedDict()
        self.misses = 0

    def __len__(self) -> int:
        return len(self._kept)

    def use(self, key) -> None:
        if key in self._kept:
            self._kept.move_to_end(key)
            return
        self.misses += 1
        if self._is_checked and self.misses > 2 * self._capacity:
            raise RuntimeError("Cache thrashing is happening")
        self._kept[key] = None
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)


def counted(name: str, convolution: Callable, keys: list[tuple]) -> Callable:
    def convolve(x, weight, *rest, **named):
        keys.append((name, x.dtype, x.shape, weight.shape, str(rest), str(sorted(named.items()))))
        return convolution(x, weight, *rest, **named)

    return convolve


@pytest.fixture(scope="module")
def convolutions(small_checkpoint, recording):
    """The key of every convolution that a GPU does for twelve sentences of different length."""
    keys: list[tuple] = []
    with pytest.MonkeyPatch.context() as patch, device.pretend("gpu"):
        for name in ("conv1d", "conv2d", "conv_general", "conv_transpose1d"):
            patch.setattr(mx, name, counted(name, getattr(mx, name), keys))
        tts = ChatterboxTTS.from_local(small_checkpoint)
        tts.prepare_conditionals(recording)
        for length in range(12):
            settings = {"max_new_tokens": 8 + length, "n_cfm_timesteps": 1, "guard": False}
            tts.generate("Hello there.", seed=1, **settings)
    return keys


def test_without_settings_the_caches_would_give_up(convolutions):
    """Defaults that worked would make our settings needless."""
    cache = LRUCache(DEFAULT_CONVOLUTIONS, is_checked=True)
    with pytest.raises(RuntimeError, match="thrashing"):
        deque(map(cache.use, convolutions), maxlen=0)


def test_with_our_settings_the_caches_work_and_stay_bounded(convolutions):
    settings = mlx_settings.CUDA_SETTINGS
    capacity = int(settings["MLX_CUDA_CONV_CACHE_SIZE"])
    cache = LRUCache(capacity, is_checked=settings["MLX_ENABLE_CACHE_THRASHING_CHECK"] != "0")
    for turn in range(100):  # 1200 lengths
        for key in convolutions:
            cache.use((turn, key))
    assert cache.misses > 2 * capacity
    assert len(cache) == capacity
    # A sentence reuses what the previous one built; otherwise every step would build it again.
    assert len(set(convolutions)) < capacity


def test_they_are_in_the_environment_before_mlx_is_loaded():
    code = """
import os, sys
import mlx_chatterbox
assert "mlx.core" not in sys.modules
from mlx_chatterbox.runtime import mlx_settings
print(*(os.environ.get(name) for name in mlx_settings.CUDA_SETTINGS))
"""
    empty = {name: value for name, value in os.environ.items() if not name.startswith("MLX_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=empty, capture_output=True, text=True, check=True
    )
    wanted = mlx_settings.CUDA_SETTINGS.values() if sys.platform == "linux" else ["None"] * 5
    assert done.stdout.split() == list(wanted)


def test_what_somebody_has_set_stays():
    code = "import mlx_chatterbox, os; print(os.environ['MLX_CUDA_CONV_CACHE_SIZE'])"
    assert printed(code, MLX_CUDA_CONV_CACHE_SIZE="77") == "77"
