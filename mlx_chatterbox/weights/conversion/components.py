"""Sizes and precisions of a checkpoint's networks. Imports no network."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_chatterbox.models.config import CheckpointConfig
from mlx_chatterbox.weights.quantization import Precision, group_that_fits, stored_shapes

if TYPE_CHECKING:
    from ..formats.safetensors_file import TensorInfo

# In the order of synthesis; Chatterbox's last three are needed only to read recordings. ChatTTS's
# networks come after.
READING = {
    "speech tokenizer": "s3_tokenizer.*",
    "voice encoder": "ve.*",
    "speaker encoder": "s3gen.speaker_encoder.*",
}
COMPONENTS = {
    "T3": "t3.*",
    "S3Gen's flow": "s3gen.flow.*",
    "vocoder": "s3gen.mel2wav.*",
    **READING,
    "GPT": "gpt.*",
    "decoder": "decoder.*",
    "DVAE": "dvae.*",
    "Vocos": "vocos.*",
}
Components = dict[str, dict[str, int]]


def component_of(key: str) -> str:
    """Name the network that a tensor of a checkpoint belongs to."""
    return next((name for name, keys in COMPONENTS.items() if fnmatchcase(key, keys)), "the rest")


def by_component(stored: Iterable[tuple[str, str, int]]) -> Components:
    """Sum up bytes by network and precision, the largest first.

    Args:
        stored: for each tensor its key, its precision ("4 bits", "float16") and its bytes.
    """
    components: Components = {name: {} for name in COMPONENTS}
    for key, kind, size in stored:
        kinds = components.setdefault(component_of(key), {})
        kinds[kind] = kinds.get(kind, 0) + size
    return {
        name: dict(sorted(kinds.items(), key=lambda item: -item[1]))
        for name, kinds in components.items()
        if kinds
    }


def components_of(folder: Path, config: CheckpointConfig) -> Components:
    """Sum up a converted folder's bytes as `by_component`, from the headers of its files."""
    from ..formats.safetensors_file import DTYPES

    rows, tensors = [], _headers(folder)
    for key, info in tensors.items():
        layer = key.rpartition(".")[0]
        if f"{layer}.scales" in tensors and not key.endswith(".bias"):
            rule = next(r for r in config.quantization.rules if fnmatchcase(layer, r["layers"]))
            kind = f"{rule['bits']} bits"
        else:
            kind = str(DTYPES[info.dtype][0]).rpartition(".")[2]
        rows.append((key, kind, info.stop - info.start))
    return by_component(rows)


def _headers(folder: Path) -> dict[str, TensorInfo]:
    from ..formats.safetensors_file import SafetensorsReader
    from .sources import required_weight_files

    tensors: dict[str, TensorInfo] = {}
    for path in required_weight_files(folder):
        tensors |= SafetensorsReader(path).tensors
    return tensors


def cost_of_reading(folder: Path, config: CheckpointConfig) -> tuple[int, int] | None:
    """Compute how many bytes it costs that the speech tokenizer is not quantised.

    Returns:
        The bits of the other linear layers, and the bytes that the speech tokenizer would save with
        as many; None if nothing is quantised, the speech tokenizer is too, or there is none.
    """
    bits = [rule["bits"] for rule in config.quantization.rules if "bits" in rule]
    own = {k: v for k, v in _headers(folder).items() if component_of(k) == "speech tokenizer"}
    if not bits or not own or any(key.endswith(".scales") for key in own):
        return None
    more = 0
    for key, info in own.items():
        linear = len(info.shape) == 2 and key.endswith(".weight") and ".quantizer." not in key
        group_size = group_that_fits(info.shape[-1], 64) if linear else None
        if group_size is not None:
            packed = stored_shapes(key, info.shape, Precision("float16", max(bits), group_size))
            more += info.stop - info.start
            more -= sum(prod(shape) * kind.size for shape, kind in packed.values())
    return max(bits), more


def as_text(components: Components) -> list[str]:
    """Describe each network in a line: bytes in each precision."""
    return [
        f"{name}: " + ", ".join(f"{size / 1e6:.1f} MB in {kind}" for kind, size in kinds.items())
        for name, kinds in components.items()
    ]
