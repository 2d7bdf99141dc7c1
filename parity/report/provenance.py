"""Provenance of a comparison, so that others can repeat it: versions and hashes."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx
import numpy as np

from mlx_chatterbox._version import __version__
from mlx_chatterbox.runtime.device import is_tf32, product_error
from mlx_chatterbox.weights.configuration import read_config
from mlx_chatterbox.weights.manifest import sha256

METADATA_NAME = "about.json"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def run_metadata(
    settings, converted: Path, dumps: Mapping[str, Path], torch_metadata: Mapping
) -> dict:
    """Metadata of a run: settings, versions, machine, SHA-256 of weights and dumps; no paths.

    Args:
        settings: `settings.RunSettings`.
        converted: our checkpoint, which notes its sources' hashes.
        dumps: by name.
        torch_metadata: what the reference wrote about itself; empty where there is none.
    """
    weights = settings.weights
    return {
        "variant": settings.variant,
        "weights": "fabricated" if weights is None else str(settings.weights_name or weights.name),
        "revision": None if weights is None else revision_of(weights),
        "seed": settings.seed,
        "audio": "synthetic" if settings.audio is None else settings.audio.name,
        "precisions": list(settings.precisions),
        "only": None if settings.only is None else list(settings.only),
        "versions": {
            **our_versions(),
            "reference": json.loads(torch_metadata.get("versions", "{}")),
        },
        "machine": machine(),
        "sha256": {
            "weights": dict(read_config(converted).source.get("files", {})),
            "dumps": {name: sha256(path) for name, path in dumps.items()},
        },
    }


def our_versions() -> dict[str, str]:
    """Versions of this library, MLX, NumPy and Python."""
    return {
        "mlx-chatterbox": __version__,
        "mlx": mx.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def machine() -> dict[str, str]:
    """System, processor and MLX's device; nothing that names a person or host.

    Whether float32 is multiplied in TF32 is measured, whatever the settings say.
    """
    error = product_error()
    return {
        "system": platform.system(),
        "release": platform.mac_ver()[0] or platform.release().partition("-")[0],
        "processor": platform.machine(),
        "device": mx.default_device().type.name,
        "float32 products": f"relative error {error:.0e}",
        "TF32": "yes" if is_tf32(error) else "no",
    }


def revision_of(folder: Path) -> str | None:
    """Commit of a downloaded folder, from its name in the hub's cache; else None."""
    name = folder.resolve().name
    return name if _COMMIT.fullmatch(name) else None
