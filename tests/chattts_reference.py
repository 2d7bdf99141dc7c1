"""Tensors and strings of upstream's ChatTTS, on made-up weights and a made-up tokenizer."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

_PATH = Path(__file__).parent / "data" / "chattts-reference.safetensors"


@cache
def reference() -> dict[str, np.ndarray]:
    return load_file(_PATH)


def text(key: str) -> str:
    return bytes(reference()[key]).decode("utf-8")


def values(key: str) -> Any:
    """A JSON text of the file; "notes" has the parameters of the samplers."""
    return json.loads(text(key))
