"""Tensors of upstream's Chatterbox-Flash 0.1.0, and the made-up weights that they belong to.

`flash-reference.safetensors` was computed once by upstream's own package (PyTorch, float32) on
weights that follow from a seed, a name and a shape; no published weights are in it. In the names
`[c, u]` is the row with text and the one without; 8194 is the mask.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

SEED = 11
MASK = 8194
_PATH = Path(__file__).parent / "data" / "flash-reference.safetensors"

# Settings of the recorded runs beside these: no noise, guidance 1, K 10, tau 0.1, D 16.
RUNS: dict[str, dict] = {
    "greedy": {},
    "noise": {"position_temperature": 5.0, "upstream_exact": True},
    "stop": {"upstream_exact": True},
    "no_early": {"time_shift_tau": 0.0},
    "no_cfg": {"cfg_scale": 0.0},
    "block_prior": {"prior_precompute": False},
    "tau5_k6": {"time_shift_tau": 0.5, "num_steps": 6},
    "tau5_k10": {"time_shift_tau": 0.5},
    "block32": {"time_shift_tau": 0.75, "num_steps": 8, "block_size": 32},
}


@cache
def reference() -> dict[str, np.ndarray]:
    return load_file(_PATH)


def recorded(tag: str, name: str) -> np.ndarray:
    return reference()[f"flash/{tag}/{name}"]


def tensor(key: str, shape: tuple[int, ...], seed: int = SEED) -> np.ndarray:
    """A tensor of `t3_flash.safetensors`, by its name there."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    random = np.random.Generator(np.random.Philox(int.from_bytes(digest[:8], "little")))
    normal = random.standard_normal(shape, dtype=np.float32)
    if key.endswith(".bias"):
        return (0.05 * normal).astype(np.float32)
    if len(shape) == 1:
        return (1 + 0.1 * normal).astype(np.float32)
    if key.endswith("_emb.weight"):
        return (0.5 * normal).astype(np.float32)
    if key.endswith("_pos_emb.emb.weight"):
        return (0.1 * normal).astype(np.float32)
    return (normal / np.sqrt(math.prod(shape[1:]))).astype(np.float32)
