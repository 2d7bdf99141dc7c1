"""Checks of the texts that a caller passes, before any work on them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ..errors import SettingError, TextError

_HALF = re.compile(r"[\ud800-\udfff]")
# The surrogates by which Python represents bytes that it could not decode.
_BYTE = range(0xDC80, 0xDD00)


def described(value: object, most: int = 60) -> str:
    """Describe a value for an error, shortened: "None", "the int 123"."""
    if value is None:
        return "None"
    words = " ".join(repr(value).split())
    return f"the {type(value).__name__} {words if len(words) <= most else words[:most] + '...'}"


def checked_text(text: object, name: str = "text") -> str:
    """Check that a text is a str, and join pairs of surrogates into the characters they mean.

    Args:
        name: of the text, for errors.

    Raises:
        TextError: it is not a str, or holds a lone surrogate, as bytes leave that were decoded with
            the wrong encoding.
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
    """Check the texts of a batch.

    Raises:
        SettingError: they are not a list, or another collection, of texts.
        TextError: one of them fails `checked_text`.
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
