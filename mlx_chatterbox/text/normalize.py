"""Punctuation as T3 saw it in training.

Source: upstream `punc_norm` in `tts.py`, `mtl_tts.py` and `tts_turbo.py`, three functions whose
differences are the tables here. Chatterbox-Flash has none of them: its texts had the marks that its
cleaner leaves (`text/flash/cleaner.py`).
"""

from __future__ import annotations

from .flash.cleaner import plain_marks

# In this order: each works on the result of those before it.
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
_KEPT_BY_TURBO = ("...", " - ", ";")
SENTENCE_ENDERS = (".", "!", "?", "-", ",")
CJK_SENTENCE_ENDERS = ("、", "，", "。", "？", "！")
NO_TEXT = "You need to add some text for me to talk."

# Style: what is replaced, and what a sentence may end in.
_STYLES = {
    "english": (_REPLACEMENTS, SENTENCE_ENDERS),
    "multilingual": (_REPLACEMENTS, SENTENCE_ENDERS + CJK_SENTENCE_ENDERS),
    "turbo": (
        tuple(pair for pair in _REPLACEMENTS if pair[0] not in _KEPT_BY_TURBO),
        SENTENCE_ENDERS,
    ),
}


def punc_norm(text: str, style: str = "english", *, capitalize: bool = True) -> str:
    """Capitalise, squeeze white space, replace rare punctuation, and end with a full stop.

    Equal to upstream on every string, the sentence it gives for no text included.

    Args:
        style: "english", "multilingual" (a Chinese or Japanese sentence end is one too) or "turbo"
            (keeps "...", " - " and ";"). "flash" writes dashes and hyphens as Flash's cleaner does
            and adds neither a capital nor a full stop; "unchanged" changes nothing.
        capitalize: False leaves the first letter as it is; upstream has no such choice. For
            checkpoints whose preprocessing keeps the case ("nfkd,fullcase").

    Raises:
        ValueError: there is no such style.
    """
    if style == "flash":
        return plain_marks(text)
    if style == "unchanged":
        return text
    if style not in _STYLES:
        known = ", ".join([*_STYLES, "flash", "unchanged"])
        raise ValueError(f"unknown style {style!r}; known are {known}.")
    replacements, enders = _STYLES[style]
    if not text:
        return NO_TEXT
    if capitalize and text[0].islower():
        text = text[0].upper() + text[1:]
    text = " ".join(text.split())
    for rare, usual in replacements:
        text = text.replace(rare, usual)
    text = text.rstrip(" ")
    return text if text.endswith(enders) else text + "."
