"""Text from elsewhere on its way to a terminal: nothing in it is a command.

Names of files, of tensors and of columns, texts and messages of other libraries can hold characters
that a terminal obeys: sequences that begin with ESC, a carriage return that writes over the line,
overrides of the writing direction that show letters in another order. They are written out
(`\\x1b`), everything else stays as it is: letters of any script, tabs, line ends.
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
# What a spreadsheet takes for a formula. A minus too, although it begins numbers.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def harmless(text: str) -> str:
    """A text, what a terminal would obey written out."""
    return text if text.isascii() and text.isprintable() else _COMMANDS.sub(_written_out, text)


def _written_out(match: re.Match) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def shortened(text: str, most: int = LONGEST_QUOTE) -> str:
    """A text of at most so many characters: the middle of a longer one is left out, and said."""
    if len(text) <= most:
        return text
    left = max(most - 30, most // 2)
    end = max(most - left - 20, 0)
    return f"{text[:left]}... ({len(text) - left - end} more) ...{text[len(text) - end :]}"


def quotes_shortened(text: str) -> str:
    """A message, its long quotations shortened."""
    if len(text) <= LONGEST_QUOTE:
        return text
    return _QUOTE.sub(lambda match: f"{match[0][0]}{shortened(match[0][1:-1])}{match[0][0]}", text)


def one_line(text: object) -> str:
    """A message as a line of a terminal: nothing in it ends the line or is obeyed, and it ends."""
    return shortened(harmless(" ".join(quotes_shortened(str(text)).split())), LONGEST_MESSAGE)


def cell(text: str) -> str:
    """A cell of a CSV file for people: a text that a spreadsheet would calculate gets an apostrophe
    before it, as OWASP advises."""
    return f"'{text}" if text.startswith(_FORMULA) else text
