"""Files that training keeps: the state of a run, and features."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np

from tests.fuzz_damage import damage_bytes, damage_header, damage_json, damage_tensors
from tests.fuzzing import Reader


def read_run(path: Path) -> None:
    from mlx_chatterbox.train.state import STATE, Checkpoints, read_state

    path.rename(path.parent / STATE)
    state = read_state(path.parent)
    Checkpoints(path.parent).go_back_to(state)
    json.loads(state.to_json())


def runs() -> list[bytes]:
    from mlx_chatterbox.train.state import RunState

    going = RunState(3, 1, 2, 50, 0.5, 2, 1, {"loss": 1.0}, {"t3": {"text": 0.1}}, 1234)
    return [going.to_json().encode(), RunState().to_json().encode()]


@cache
def _networks():
    from mlx_chatterbox.weights.checkpoint import build
    from tests.small import small_config

    return build(small_config())


def read_feature(path: Path) -> None:
    """Read tokens as training does from its cache: a damaged file counts as missing."""
    from mlx_chatterbox.errors import DataError
    from mlx_chatterbox.train.data.array_cache import ArrayCache
    from mlx_chatterbox.train.data.features import FeatureStore

    cache_folder = path.parent / "cache"
    target = ArrayCache(cache_folder).path("tokens", "ab" * 16)
    target.parent.mkdir(parents=True)
    path.rename(target)
    tokens = ArrayCache(cache_folder).read("tokens", "ab" * 16)
    store = FeatureStore(cache_folder, _networks())
    if tokens is None or not store._is_sound("speech_tokens", tokens):
        raise DataError("it is computed again")
    np.array(_networks().s3gen.flow.input_embedding(_array(tokens)))


def _array(tokens: np.ndarray):
    import mlx.core as mx

    return mx.array(tokens)


def features() -> list[bytes]:
    from safetensors.numpy import save

    from mlx_chatterbox.train.data.array_cache import _CHECKSUM, _checksum

    tokens = np.arange(50, dtype=np.int32) * 100
    return [save({"array": tokens}, {_CHECKSUM: _checksum(tokens)})]


def damage_feature(rng, content: bytes) -> bytes:
    """Another array, with its own checksum."""
    from mlx_chatterbox.train.data.array_cache import _CHECKSUM, _checksum
    from tests.fuzz_damage import safetensors_of, tensors_of

    try:
        tensors, _ = tensors_of(damage_tensors(rng, content))
        array = tensors["array"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return damage_bytes(rng, content)
    return safetensors_of(tensors, {_CHECKSUM: _checksum(array)})


READERS = (
    Reader("run", read_run, runs, (damage_json, damage_bytes), ".json"),
    Reader(
        "feature", read_feature, features, (damage_feature, damage_header, damage_bytes),
        ".safetensors", quick=0,
    ),
)  # fmt: skip
