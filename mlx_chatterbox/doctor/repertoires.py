"""Repertoires of small networks of all families, by name."""

from __future__ import annotations

from .chattts_repertoire import ChatTTSRepertoire
from .flash_repertoire import FlashRepertoire
from .repertoire import Repertoire
from .small_chattts import small_chattts
from .small_t3 import SIZES, small_t3
from .t3_repertoire import T3Repertoire

NAMES = (*SIZES, "chattts")


def small_repertoire(
    name: str, precision: str = "float32", network_seed: int = 0, **how
) -> Repertoire:
    """Make a small network with random weights, and requests for it.

    Args:
        name: one of `NAMES`.
        precision: "float32", "float16", "bfloat16", "8bit" or "4bit".
        how: count, seed, mode, width, has_long, tolerance; see `T3Repertoire`.
    """
    if name == "chattts":
        return ChatTTSRepertoire(small_chattts(precision, network_seed), **how)
    if name == "flash":
        return FlashRepertoire(small_t3(name, precision, network_seed), **how)
    return T3Repertoire(small_t3(name, precision, network_seed), **how)
