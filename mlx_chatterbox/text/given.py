"""What a caller gives as a text: checked before anything is made of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ..errors import SettingError, TextError

_HALF = re.compile(r"[\ud800-\udfff]")
# Where Python puts bytes that it could not decode.
_BYTE = range(0xDC80, 0xDD00)


def described(value: object, most: int = 60) -> str:
    """A value for an error: "None", "the int 123", shortened."""
    if value is None:
        return "None"
    words = " ".join(repr(value).split())
    return f"the {type(value).__name__} {words if len(words) <= most else words[:most] + '...'}"


def excerpt(text: str, most: int = 80) -> str:
    """As much of a text as an error quotes of it."""
    return text if len(text) <= most else f"{text[:most]}..."


def checked_text(text: object, name: str = "text") -> str:
    """A text, two halves of a character (surrogates) put together where they stand so.

    Args:
        name: of the text, for errors.

    Raises:
        TextError: it is no string, or holds half a character, which is what becomes of bytes that
            are not in the encoding they were read in.
    """
    if not isinstance(text, str):
        hint = ""
        if isinstance(text, (list, tuple, set, frozenset)) or hasattr(text, "__array__"):
            hint = "; several texts are spoken by generate_batch"
        elif isinstance(text, (bytes, bytearray)):
            hint = "; decode it first"
        raise TextError(f"{name} must be a str; got {described(text)}{hint}.")
    if _HALF.search(text) is None:
        return text
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    half = _HALF.search(whole)
    if half is None:
        return whole
    code = ord(half.group())
    what = f"half a character (U+{code:04X})"
    if code in _BYTE:
        what = f"the byte 0x{code - 0xDC00:02x}, which is no UTF-8"
    raise TextError(f"{name}: character {half.start() + 1} is {what}: give it as UTF-8.")


def checked_texts(texts: object) -> list[str]:
    """The texts of a batch.

    Raises:
        SettingError: it is no list (nor another collection) of texts.
        TextError: one of them is none; see `checked_text`.
    """
    wanted = "generate_batch takes a list of texts"
    if isinstance(texts, str):
        raise SettingError(f"{wanted}; got {described(texts)}: write [{described(texts)[8:]}].")
    if isinstance(texts, (bytes, Mapping)) or not isinstance(texts, Iterable):
        got = "None" if texts is None else described(texts)
        raise SettingError(f"{wanted}; got {got}.")
    listed = list(texts)
    if not listed:
        raise SettingError(f"{wanted}, at least one; got an empty list.")
    return [checked_text(text, f"text {i}") for i, text in enumerate(listed, start=1)]
