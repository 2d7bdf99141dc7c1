"""Encoding of what a user gives as a text or a file and a dump holds as a tensor.

Imports no array library but NumPy: our side of a comparison and the reference's share it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .synthetic_voice import SAMPLE_RATE


def encoded(text: str) -> np.ndarray:
    """Code points of a string as a tensor, (n,) int32."""
    return np.array([ord(character) for character in text], dtype=np.int32)


def decoded(code_points: np.ndarray) -> str:
    """String of a tensor made by `encoded`."""
    return "".join(chr(point) for point in code_points.tolist())


def written(path: Path, samples: np.ndarray) -> str:
    """Write samples, (n,) at 24 kHz, to a float WAV file without loss; returns its path."""
    import soundfile

    soundfile.write(path, np.asarray(samples, dtype=np.float32), SAMPLE_RATE, subtype="FLOAT")
    return str(path)
