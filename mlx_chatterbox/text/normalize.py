"""Punctuation as T3 saw it in training. Source: upstream `punc_norm` in `tts.py`."""

from __future__ import annotations

# In this order: a replacement works on what the ones before it left.
_REPLACEMENTS = (
    ("...", ", "),
    ("\u2026", ", "),
    (":", ","),
    (" - ", ", "),
    (";", ", "),
    ("\u2014", "-"),
    ("\u2013", "-"),
    (" ,", ","),
    ("\u201c", '"'),
    ("\u201d", '"'),
    ("\u2018", "'"),
    ("\u2019", "'"),
)
SENTENCE_ENDERS = (".", "!", "?", "-", ",")
NO_TEXT = "You need to add some text for me to talk."


def punc_norm(text: str) -> str:
    """Capitalise, squeeze white space, replace rare punctuation, and end with a full stop.

    Equal to upstream on every string, the sentence it gives for no text included.
    """
    if not text:
        return NO_TEXT
    if text[0].islower():
        text = text[0].upper() + text[1:]
    text = " ".join(text.split())
    for rare, usual in _REPLACEMENTS:
        text = text.replace(rare, usual)
    text = text.rstrip(" ")
    return text if text.endswith(SENTENCE_ENDERS) else text + "."
