"""Weights of other programs, and parity's dumps."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from mlx_chatterbox.errors import ChatterboxError
from mlx_chatterbox.parity.errors import ParityError
from tests.fuzz_damage import damage_bytes, damage_header, damage_tensors, safetensors_of
from tests.fuzzing import Reader


def read_safetensors(path: Path) -> None:
    from mlx_chatterbox.checks.safetensors_header import load_safetensors
    from mlx_chatterbox.weights.formats.safetensors_file import SafetensorsReader

    reader = SafetensorsReader(path)
    for key in reader.shapes:
        np.array(reader.read(key).astype(_float32()))
    if "F64" not in reader.dtypes.values():  # which MLX does not read
        for value in load_safetensors(path).values():
            np.array(value.astype(_float32()))


def _float32():
    import mlx.core as mx

    return mx.float32


def some_tensors() -> list[bytes]:
    tensors = {
        "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
        "b": np.arange(4, dtype=np.float16),
        "c": np.zeros((0, 3), np.int32),
        "d": np.array(3, np.int64),
        "e": np.arange(6, dtype=np.float64),
        "f": np.array([True, False]),
    }
    return [safetensors_of(tensors, {"format": "pt"})]


def read_onnx(path: Path) -> None:
    from mlx_chatterbox.weights.formats.onnx_file import OnnxFile

    file = OnnxFile(path)
    try:
        for name in file.shapes:
            file.read(name)
    finally:
        file.close()


def onnx_files() -> list[bytes]:
    from mlx.utils import tree_flatten

    from mlx_chatterbox.models.s3tokenizer.config import S3TokenizerV1Config
    from mlx_chatterbox.models.s3tokenizer.v1 import S3TokenizerV1
    from tests.weights.onnx_stand_in import field, initializer, node

    config = S3TokenizerV1Config(n_audio_state=16, n_audio_head=2, n_audio_layer=1)
    weights = dict(tree_flatten(S3TokenizerV1(config).parameters()))
    graph = b"".join(
        field(5, initializer(name, np.array(value), as_floats=number % 2 == 0))
        for number, (name, value) in enumerate(sorted(weights.items())[:12])
    )
    graph += b"".join(field(1, node(f"node{n}", "Conv", ["x", "w"], 2)) for n in range(3))
    return [field(1, 8) + field(7, graph)]


@cache
def _networks():
    from mlx_chatterbox.weights.checkpoint import build
    from tests.small import small_config

    return build(small_config())


def read_dump(path: Path) -> None:
    from mlx_chatterbox.parity.dumps import read_dump
    from mlx_chatterbox.parity.mlx.backend import compute_with

    inputs = read_dump(path)
    compute_with(_networks(), inputs, ("t3", "t3_greedy", "flow", "source"))


@cache
def dumps() -> list[bytes]:
    from mlx_chatterbox.parity.dumps import write_dump
    from mlx_chatterbox.parity.fabricate.small import SMALL_SIZES
    from mlx_chatterbox.parity.inputs.make import make_inputs
    from tests.small import small_config

    inputs = make_inputs(small_config(), sizes=SMALL_SIZES)
    wanted = ("t3/", "flow/", "voice_encoder/", "speaker_encoder/", "source/")
    inputs = {name: value for name, value in inputs.items() if name.startswith(wanted)}
    with tempfile.TemporaryDirectory() as folder:
        return [write_dump(Path(folder) / "dump.safetensors", inputs).read_bytes()]


_DAMAGES = (damage_tensors, damage_header, damage_bytes)

READERS = (
    Reader("safetensors", read_safetensors, some_tensors, _DAMAGES, ".safetensors"),
    Reader("onnx", read_onnx, onnx_files, (damage_bytes,), ".onnx"),
    Reader(
        "dump", read_dump, dumps, _DAMAGES, ".safetensors",
        refuses=(ChatterboxError, ParityError), quick=0,
    ),
)  # fmt: skip
