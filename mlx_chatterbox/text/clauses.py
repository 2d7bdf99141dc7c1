"""Long texts in pieces that a small model can say: whole sentences, else clauses, else words."""

from __future__ import annotations

import re

# Where a text is cut, best first; what is matched stays with the piece before it.
_SENTENCES = re.compile(r"(?<=[.!?…])[\"')\]]*\s+")
_CLAUSES = re.compile(r"(?<=[,;:])\s+|\s+(?=[—–-]\s)")
_JOINTS = re.compile(r"\s+(?=(?:and|but|or|so|because|while|when|which|that|if|then|than)\s)")
_WORDS = re.compile(r"\s+")
_CUTS = (_SENTENCES, _CLAUSES, _JOINTS, _WORDS)


def pieces(text: str, longest: int) -> list[str]:
    """Cut a text.

    Args:
        longest: characters of a piece, at most; 0 cuts nothing. A longer word stays whole.

    Returns:
        The pieces in order, each with a letter or digit in it; the text alone if it is short
        enough or has none.
    """
    text = " ".join(text.split())
    if not longest or len(text) <= longest:
        return [text]
    found: list[str] = []
    for piece in _cut(text, longest, 0):
        if found and not any(map(str.isalnum, piece)):
            found[-1] += " " + piece
        else:
            found.append(piece)
    return found


def _cut(text: str, longest: int, kind: int) -> list[str]:
    if len(text) <= longest or kind == len(_CUTS):
        return [text]
    parts = [part for part in _CUTS[kind].split(text) if part]
    small = [piece for part in parts for piece in _cut(part, longest, kind + 1)]
    return _even(small, longest)


def _even(parts: list[str], longest: int) -> list[str]:
    """Join neighbours again while they fit, into pieces of about the same length."""
    in_all = sum(map(len, parts)) + len(parts) - 1
    wanted = in_all / -(-in_all // longest)
    joined = [parts[0]]
    for part in parts[1:]:
        both = len(joined[-1]) + 1 + len(part)
        if both <= longest and (len(joined[-1]) < wanted * 0.7 or both <= wanted * 1.1):
            joined[-1] += " " + part
        else:
            joined.append(part)
    return joined
