"""Converted folders of one source, a recipe each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.weights.conversion.core import convert


def folders_by_recipe(root: Path, upstream: Path, config: ModelConfig) -> Callable[..., Path]:
    """A function that converts `upstream` to a recipe when it is first asked for it."""
    known: dict[str, Path] = {}

    def make(recipe) -> Path:
        if recipe.about not in known:
            known[recipe.about] = convert(
                upstream,
                root / str(len(known)),
                dtype=recipe.dtype,
                quantization=recipe.quantization,
                config=config,
            ).folder
        return known[recipe.about]

    return make
