"""What stands in a dump as a tensor and is something else to a user: a text, a recording's file.

Imports no array library but NumPy: our side of a comparison and the reference's share it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .synthetic_voice import SAMPLE_RATE


def encoded(text: str) -> np.ndarray:
    """A string as a tensor, (n,) int32: its code points."""
    return np.array([ord(character) for character in text], dtype=np.int32)


def decoded(code_points: np.ndarray) -> str:
    """The string of a tensor made by `encoded`."""
    return "".join(chr(point) for point in code_points.tolist())


def written(path: Path, samples: np.ndarray) -> str:
    """Write samples, (n,) at 24 kHz, to a WAV file that holds every one as it is; its path."""
    import soundfile

    soundfile.write(path, np.asarray(samples, dtype=np.float32), SAMPLE_RATE, subtype="FLOAT")
    return str(path)
