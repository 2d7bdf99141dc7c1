"""Korean: syllables to Jamo. Source: upstream `korean_normalize`."""

from __future__ import annotations

FIRST_SYLLABLE, LAST_SYLLABLE = 0xAC00, 0xD7AF  # to the end of the block, as upstream
INITIAL, MEDIAL, BEFORE_FINAL = 0x1100, 0x1161, 0x11A7
MEDIALS, FINALS = 21, 28  # the first final is none


def syllables_to_jamo(text: str) -> str:
    """Split each Hangul syllable into its two or three letters; strip white space at both ends.

    After NFKD no syllable is left, so there only the ends change.
    """
    return "".join(map(_jamo, text)).strip()


def _jamo(character: str) -> str:
    if not FIRST_SYLLABLE <= ord(character) <= LAST_SYLLABLE:
        return character
    rest, final = divmod(ord(character) - FIRST_SYLLABLE, FINALS)
    initial, medial = divmod(rest, MEDIALS)
    letters = chr(INITIAL + initial) + chr(MEDIAL + medial)
    return letters + chr(BEFORE_FINAL + final) if final else letters
