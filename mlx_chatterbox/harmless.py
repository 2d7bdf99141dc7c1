"""Escaping of text from elsewhere, so that nothing in it controls a terminal.

Names of files, of tensors and of columns, texts and messages of other libraries can hold control
characters: sequences that begin with ESC, a carriage return that overwrites the line, overrides of
the writing direction that show letters in another order. They are escaped (`\\x1b`), everything
else stays as it is: letters of any script, tabs, line ends.
"""

from __future__ import annotations

import re

# C0 but tab and line feed; DEL and C1; line and paragraph separators; embeddings, overrides and
# isolates of the writing direction (marks without a scope do no harm, and Arabic and Hebrew need
# them); language tags, which nothing shows; halves of characters, which no encoding writes.
_COMMANDS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f"
    "\ud800-\udfff]"
)
# Characters of a quotation; of a message. A path may take 4,096.
LONGEST_QUOTE = 80
LONGEST_MESSAGE = 1500
# As `repr` makes it: no apostrophe in a word begins or ends one. Each character is read once.
_QUOTE = re.compile(
    r"""(?<![\w\\])(?:'(?:[^'\\]|\\.){81,}'|"(?:[^"\\]|\\.){81,}")(?!\w)""", re.DOTALL
)
# Beginnings of a spreadsheet's formulas. The minus is one too, although numbers begin with it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def harmless(text: str) -> str:
    """Escape the control characters of a text."""
    return text if text.isascii() and text.isprintable() else _COMMANDS.sub(_escaped, text)


def _escaped(match: re.Match) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def shortened(text: str, most: int = LONGEST_QUOTE) -> str:
    """Shorten a text to at most `most` characters: the length of the omitted middle is stated."""
    if len(text) <= most:
        return text
    left = max(most - 30, most // 2)
    end = max(most - left - 20, 0)
    return f"{text[:left]}... ({len(text) - left - end} more) ...{text[len(text) - end :]}"


def quotes_shortened(text: str) -> str:
    """Shorten the long quotations in a message."""
    if len(text) <= LONGEST_QUOTE:
        return text
    return _QUOTE.sub(lambda match: f"{match[0][0]}{shortened(match[0][1:-1])}{match[0][0]}", text)


def one_line(text: object) -> str:
    """Make one line of a message, for a terminal: no line ends, no control characters, not long."""
    return shortened(harmless(" ".join(quotes_shortened(str(text)).split())), LONGEST_MESSAGE)


def cell(text: str) -> str:
    """Make a cell of a CSV file: an apostrophe before a text that a spreadsheet would calculate.

    As OWASP advises against CSV injection.
    """
    return f"'{text}" if text.startswith(_FORMULA) else text
