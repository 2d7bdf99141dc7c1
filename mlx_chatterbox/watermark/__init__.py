"""PerTh, the inaudible watermark of Resemble AI that marks speech as made by a machine.

Upstream marks every file that it makes, and so does this package. `apply` marks a waveform,
`detect` returns the detector's score, `Marker` marks a stream piece by piece; `python -m
mlx_chatterbox.watermark` does both for files. The networks and their weights are those of the
package resemble-perth (MIT), whose weights are read as a file; none of its code is run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

_PUBLIC = {"Marker": ".marker", "apply": ".marker", "detect": ".detector", "THRESHOLD": ".detector"}

__all__ = ["THRESHOLD", "Marker", "apply", "detect"]

if TYPE_CHECKING:
    from .detector import THRESHOLD, detect
    from .marker import Marker, apply


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
