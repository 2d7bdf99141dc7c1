"""Japanese: the reading of kanji in hiragana. Source: upstream `hiragana_normalize`."""

from __future__ import annotations

from functools import cache
from unicodedata import normalize

from ...errors import TextError

FIRST_KANJI, LAST_KANJI = "\u4e00", "\u9fff"
# Written like the particles that are pronounced otherwise; a space keeps them apart.
LIKE_PARTICLES = ("は", "へ")


def kanji_to_hiragana(text: str) -> str:
    """Write words with kanji in hiragana, leave everything else, then normalise to NFKD.

    A reading that begins with は or へ gets a space before it.

    Raises:
        TextError: pykakasi is not installed.
    """
    words = _kakasi().convert(text)
    return normalize("NFKD", "".join(_read(word["orig"], word["hira"]) for word in words))


def _read(word: str, reading: str) -> str:
    if not any(FIRST_KANJI <= character <= LAST_KANJI for character in word):
        return word
    return " " + reading if reading.startswith(LIKE_PARTICLES) else reading


@cache
def _kakasi():
    try:
        import pykakasi
    except ImportError:
        raise TextError(
            "Japanese needs pykakasi to read kanji: pip install 'mlx-chatterbox[ja]'."
        ) from None
    return pykakasi.kakasi()
