"""Conversion of the built-in voice: upstream's `conds.pt` to our `conds.safetensors`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_chatterbox.checks.plain import MAX_INTEGER, named
from mlx_chatterbox.checks.tensors import check_finite, check_tokens
from mlx_chatterbox.errors import CheckpointError

from ..formats.safetensors_file import SafetensorsReader, SafetensorsWriter
from ..formats.unpickle import load_torch
from .rules import Dropped

VOICE_NAME = "conds.safetensors"
NEUTRAL = 0.5  # upstream's default exaggeration

# Key: its shape (None: any length) and whether it holds tokens (int32) or numbers (float32).
VOICE_TENSORS: dict[str, tuple[tuple[int | None, ...], mx.Dtype]] = {
    "t3.speaker_emb": ((1, None), mx.float32),
    "t3.cond_prompt_speech_tokens": ((1, None), mx.int32),
    "t3.emotion_adv": ((1, 1, 1), mx.float32),
    "gen.prompt_token": ((1, None), mx.int32),
    "gen.prompt_token_len": ((1,), mx.int32),
    "gen.prompt_feat": ((1, None, None), mx.float32),
    "gen.embedding": ((1, None), mx.float32),
}
# The prompt of a T3 that is not conditioned on speech (the pocket model) has no tokens.
MAY_BE_EMPTY = ("t3.cond_prompt_speech_tokens",)
# Upstream stores these too, but they are always empty or follow from the others.
UNUSED = {
    "t3.clap_emb": "no published T3 is conditioned on it",
    "t3.cond_prompt_speech_emb": "computed from the prompt's tokens",
    "gen.prompt_feat_len": "follows from the prompt's mel",
}


def voice_tensors(conds: Any, name: str = "conds.pt") -> tuple[dict[str, mx.array], list[Dropped]]:
    """Convert a voice as upstream saves it (`{"t3": {...}, "gen": {...}}`) to `Voice`'s tensors.

    They are float32 and int32 for every type of model: a voice is small, and used by several.

    Returns:
        The tensors by our keys, and the keys that were dropped.

    Raises:
        CheckpointError: a tensor is missing, unknown, or of another shape.
    """
    if not isinstance(conds, Mapping) or not all(
        isinstance(conds.get(part), Mapping) for part in ("t3", "gen")
    ):
        raise CheckpointError(f"{name} does not hold a voice: it has no parts `t3` and `gen`.")
    stored = {
        f"{part}.{key}": value
        for part in ("t3", "gen")
        for key, value in conds[part].items()
        if value is not None
    }
    dropped = [Dropped(name, key, UNUSED[key]) for key in stored if key in UNUSED]
    unknown = [key for key in stored if key not in VOICE_TENSORS and key not in UNUSED]
    if unknown:
        raise CheckpointError(
            f"{name} has tensors that no voice has: {', '.join(map(named, unknown[:3]))}."
        )
    missing = [key for key in VOICE_TENSORS if key not in stored]
    if missing:
        raise CheckpointError(f"{name} lacks {', '.join(missing)}.")
    tensors = {}
    for key, (shape, dtype) in VOICE_TENSORS.items():
        tensors[key] = _tensor(stored[key], shape, dtype, f"{name}: {key}", key in MAY_BE_EMPTY)
    return tensors, dropped


def convert_voice(source: Path, folder: Path) -> list[Dropped]:
    """Write `source` into `folder` as `conds.safetensors`; return what was dropped.

    Args:
        source: upstream's `conds.pt`, or `conds.safetensors`, ours or mlx-audio's.
    """
    stored = load_torch(source) if source.suffix == ".pt" else _sections(source)
    tensors, dropped = voice_tensors(stored, source.name)
    layout = {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in tensors.items()}
    with SafetensorsWriter(folder / VOICE_NAME, layout, {"format": "mlx"}) as writer:
        for key, tensor in tensors.items():
            writer.write(key, tensor)
    return dropped


def _sections(source: Path) -> dict[str, dict[str, np.ndarray]]:
    """Read `conds.safetensors` into upstream's nested dicts, and add tensors that it may lack."""
    reader = SafetensorsReader(source)
    sections: dict[str, dict[str, np.ndarray]] = {"t3": {}, "gen": {}}
    for key in reader.shapes:
        part, _, name = key.partition(".")
        value = reader.read(key)
        if mx.issubdtype(value.dtype, mx.floating):
            value = value.astype(mx.float32)
        sections.setdefault(part, {})[name] = np.array(value)
    if (tokens := sections["gen"].get("prompt_token")) is not None:
        count = tokens.shape[-1] if tokens.ndim else 0  # a single number is refused for its shape
        sections["gen"].setdefault("prompt_token_len", np.array([count]))
    # Turbo is not conditioned on it, and mlx-audio leaves it out.
    sections["t3"].setdefault("emotion_adv", np.full((1, 1, 1), NEUTRAL, np.float32))
    return sections


def _tensor(
    value: Any, shape: tuple[int | None, ...], dtype: mx.Dtype, label: str, may_be_empty: bool
) -> mx.array:
    # NumPy would make an array of any size of nested tuples.
    if type(value) not in (np.ndarray, int, float):
        raise CheckpointError(f"{label} is not a tensor.")
    try:
        values = np.asarray(value)
    except (TypeError, ValueError):
        raise CheckpointError(f"{label} is not a tensor.") from None
    if values.dtype.kind not in "biuf":
        raise CheckpointError(f"{label} is not a tensor.")
    if dtype == mx.int32 and values.size:
        check_tokens(values, MAX_INTEGER, label)
    elif dtype == mx.float32:
        with np.errstate(over="ignore"):  # too large a value becomes Inf, which is refused below
            values = values.astype(np.float32)
    if values.size == 1 and None not in shape:
        values = values.reshape(shape)  # upstream also saved plain numbers here
    fits = len(shape) == values.ndim and all(
        expected in (None, n) for n, expected in zip(values.shape, shape, strict=True)
    )
    if not fits or (values.size == 0 and not may_be_empty):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise CheckpointError(f"{label} has shape {values.shape}, not ({wanted}).")
    if dtype == mx.float32:
        check_finite(values, label)
    return mx.array(values).astype(dtype)
