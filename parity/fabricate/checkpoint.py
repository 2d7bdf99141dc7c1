"""A checkpoint in upstream's format, at any size, filled from a seed instead of trained.

Published weights are gigabytes that not every machine can fetch. Parity does not need them: two
programs that compute the same function agree on any weights, and random ones use every tensor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from mlx.utils import tree_flatten

from mlx_chatterbox.weights.checkpoint import build
from mlx_chatterbox.weights.conversion.upstream import upstream_layout
from mlx_chatterbox.weights.formats.torch_zip import write_state_dict
from mlx_chatterbox.weights.variants import variant_named

from ..numpy.backend import slaney_mel_filters
from ..whole_file import whole_file, write_text
from .tokenizers import tokenizer_files
from .values import tensor

Layout = Mapping[str, Mapping[str, tuple[int, ...]]]
Progress = Callable[[int, int], None]

STAMP = "fabricated.json"
_FILTER_KEYS = {"tokenizer._mel_filters", "tokenizer.window"}


def upstream_shapes(
    config,
    weight_norm: str = "parametrizations",
    filter_buffers: bool = False,
    variant: str = "english",
) -> dict[str, dict[str, tuple[int, ...]]]:
    """Names and shapes of upstream's files for a model of this configuration.

    Args:
        config: `ModelConfig`.
        weight_norm, filter_buffers: as in `fabricate`.
        variant: says which files there are.

    Returns:
        file name -> tensor name -> shape.
    """
    shapes = {key: tuple(value.shape) for key, value in tree_flatten(build(config).parameters())}
    return upstream_layout(shapes, weight_norm, filter_buffers, variant)


def fabricate(
    folder: str | Path,
    variant: str = "english",
    config=None,
    seed: int = 0,
    weight_norm: str = "parametrizations",
    filter_buffers: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write an upstream-format folder: three weight files and the text tokenizer's files.

    Args:
        folder: where to; made if it is not there.
        variant: which member of the family.
        config: `ModelConfig` of another size than the variant's own.
        seed: the same seed gives the same bytes.
        weight_norm: spelling, `"parametrizations"` or `"g_v"`.
        filter_buffers: write the tokenizer's mel filters and window too. Left out by default, so
            that the reference computes its own instead of reading them from our file.
        progress: called with bytes written and bytes in all.

    Returns:
        The folder.
    """
    config = config or variant_named(variant).default_config()
    layout = upstream_shapes(config, weight_norm, filter_buffers, variant)
    return fabricate_layout(folder, layout, variant=variant, seed=seed, progress=progress)


def fabricate_layout(
    folder: str | Path,
    layout: Layout,
    variant: str = "english",
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Write what `fabricate` writes, from names and shapes alone."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAMP).unlink(missing_ok=True)
    total = sum(4 * _count(shape) for tensors in layout.values() for shape in tensors.values())
    done = 0
    for file, tensors in layout.items():
        done = _write_weights(folder / file, tensors, seed, done, total, progress)
    for file, text in tokenizer_files(
        variant_named(variant).default_config().text.tokenizer
    ).items():
        write_text(folder / file, text)
    stamp = {"variant": variant, "seed": seed, "layout": layout_hash(layout)}
    write_text(folder / STAMP, json.dumps(stamp) + "\n")
    return folder


def is_fabricated(folder: str | Path, layout: Layout, variant: str, seed: int) -> bool:
    """True if `folder` already holds exactly what `fabricate_layout` would write, complete."""
    try:
        stamp = json.loads((Path(folder) / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    wanted = {"variant": variant, "seed": seed, "layout": layout_hash(layout)}
    return stamp == wanted and all((Path(folder) / file).is_file() for file in layout)


def layout_hash(layout: Layout) -> str:
    """Hash of names, shapes and the code that fills them, in 16 hexadecimal digits."""
    shapes = {
        file: {key: list(shape) for key, shape in sorted(tensors.items())}
        for file, tensors in sorted(layout.items())
    }
    digest = hashlib.sha256(json.dumps(shapes, sort_keys=True).encode())
    for module in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()[:16]


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _write_weights(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    seed: int,
    done: int,
    total: int,
    progress: Progress | None,
) -> int:
    """Stream one file tensor by tensor: a 2 GB file needs no 2 GB of memory."""
    values = (_value(key, tuple(shape), shapes, seed) for key, shape in shapes.items())
    write = _write_torch if path.suffix == ".pt" else _write_safetensors
    with whole_file(path) as temporary:
        for _, shape in zip(write(temporary, shapes, values), shapes.values(), strict=True):
            done += 4 * _count(shape)
            if progress is not None:
                progress(done, total)
    return done


def _write_safetensors(path: Path, shapes: Mapping, values: Iterator) -> Iterator[None]:
    with path.open("wb") as file:
        file.write(_header(shapes))
        for value in values:
            yield file.write(value.tobytes())


def _write_torch(path: Path, shapes: Mapping, values: Iterator) -> Iterator[int]:
    layout = {key: (tuple(shape), _dtype(key)) for key, shape in shapes.items()}
    return write_state_dict(path, layout, values)


def _dtype(key: str) -> str:
    return "int64" if key.endswith("num_batches_tracked") else "float32"


def _header(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """The safetensors header: a length, then JSON padded by blanks to a multiple of eight."""
    entries, offset = {}, 0
    for key, shape in shapes.items():
        dtype, width = ("I64", 8) if _dtype(key) == "int64" else ("F32", 4)
        end = offset + width * _count(shape)
        entries[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _value(key: str, shape: tuple[int, ...], shapes: Mapping, seed: int) -> np.ndarray:
    if key in _FILTER_KEYS:
        return _filter_buffer(key, shape)
    for magnitude, direction in (("original0", "original1"), ("weight_g", "weight_v")):
        if key.endswith(magnitude):
            other = key[: -len(magnitude)] + direction
            return tensor(key, shape, seed, direction_shape=tuple(shapes[other]))
    return tensor(key, shape, seed)


def _filter_buffer(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Constants of the tokenizer's two buffers, which upstream would use as read."""
    if key == "tokenizer.window":
        phase = 2 * np.pi * np.arange(shape[0]) / shape[0]
        return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)
    n_mels, n_fft = shape[0], 2 * (shape[1] - 1)
    return slaney_mel_filters(16000, n_fft, n_mels, 0.0, 8000.0).astype(np.float32)
