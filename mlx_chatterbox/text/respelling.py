"""A user's lexicon: words, and how to write them so that a model pronounces them right.

A file has one entry a line, `word<TAB>respelling`, in UTF-8; empty lines and those that begin with
`#` are skipped:

    # names
    Siobhan	shivawn
    New York	noo york
    =US	you ess

Case is ignored ("SIOBHAN" matches), unless the line begins with `=`. Only whole words match,
"Siobhan's" among them, the longest entry first; a respelling is not looked up again.
(`lexicon.py` is something else: the dictionary of phones that is part of a small model.)
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import TextError
from ..harmless import shortened
from ..runtime.own_files import open_input
from .checked_text import described
from .scripts import is_unspaced

EXACTLY = "="
# Letters and digits, and marks above or below them: Hindi's vowels, points, accents.
_LETTER = (
    r"[\w\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0903\u093a-\u094f"
    r"\u0955-\u0957\u0962\u0963\u200c\u200d]"
)
_WORD = re.compile(f"{_LETTER}+")
_APOSTROPHES = "'’"
# Not within a longer word: "can" is not in "can't", but "Siobhan" is in "Siobhan's".
_AFTER = rf"(?!{_LETTER})(?![{_APOSTROPHES}](?![sS](?!\w))\w)"
# A tag such as [laugh] is not a word.
_TAG = re.compile(r"\[\s*[^\W\d_]+(?:[ _-][^\W\d_]+){0,3}\s*\]")


@dataclass(frozen=True)
class _LexiconEntry:
    word: str
    respelling: str
    pattern: re.Pattern
    exact: bool


class Respelling:
    """Respells the words of a lexicon in a text: `respell(text)`."""

    def __init__(self, entries: Mapping[str, str] | Iterable[tuple[str, str]]):
        """Take words and respellings.

        Raises:
            TextError: one is empty, or a word has two respellings.
        """
        pairs = entries.items() if isinstance(entries, Mapping) else entries
        self._by_beginning: dict[str, list[_LexiconEntry]] = {}
        self._respellings: dict[str, str] = {}
        for word, respelling in pairs:
            self._take(word, respelling)
        for alike in self._by_beginning.values():
            alike.sort(key=lambda entry: -len(entry.word))

    @classmethod
    def read(cls, path: str | Path) -> Respelling:
        """Read a file; see the module.

        Raises:
            TextError: it cannot be read, is not UTF-8, has no entry, or has a bad line; the message
                names it.
        """
        try:
            with open_input(path) as file:
                content = file.read()
        except OSError as error:
            raise TextError(f"the lexicon {path} cannot be read: {error.strerror}.") from None
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            try:
                content = content.decode("utf-16").encode()
            except UnicodeDecodeError:
                raise TextError(f"{path} is not complete UTF-16 text: save it as UTF-8.") from None
        lexicon = cls({})
        content = content.removeprefix(codecs.BOM_UTF8)
        for number, line in enumerate(content.split(b"\n"), start=1):
            try:
                lexicon._read_line(line.decode("utf-8"))
            except UnicodeDecodeError:
                problem = "is no UTF-8 text: save it as UTF-8"
            except TextError as error:
                problem = str(error).rstrip(".")
            else:
                continue
            raise TextError(f"{path}: line {number}: {problem}.") from None
        if not lexicon._respellings:
            raise TextError(f"{path}: the lexicon has no entry (word, tab, respelling).")
        for entries in lexicon._by_beginning.values():
            entries.sort(key=lambda entry: -len(entry.word))
        return lexicon

    def _read_line(self, line: str) -> None:
        line = line.strip("\r\n ")
        if not line.strip() or line.startswith("#"):
            return
        word, tab, respelling = line.partition("\t")
        if not tab:
            raise TextError("there is no tab between word and respelling")
        if "\t" in respelling.strip("\t"):
            raise TextError("there are more than a word and a respelling")
        self._take(word, respelling.strip("\t"))

    def _take(self, word: str, respelling: str) -> None:
        exact = word.strip().startswith(EXACTLY)
        word = " ".join(word.strip().removeprefix(EXACTLY).split())
        respelling = " ".join(respelling.split())
        if not any(map(str.isalnum, word)):
            raise TextError("there is no word before the tab")
        if not respelling:
            raise TextError(f"{shortened(word)!r} has no respelling")
        key = word if exact else word.lower()
        if self._respellings.setdefault(key, respelling) != respelling:
            raise TextError(f"{shortened(word)!r} has another respelling already")
        for form in {unicodedata.normalize(kind, word) for kind in ("NFC", "NFD")}:
            entry = _LexiconEntry(form, respelling, _pattern(form, exact), exact)
            self._by_beginning.setdefault(_beginning(form, 0)[0], []).append(entry)

    def __len__(self) -> int:
        return len(self._respellings)

    def __call__(self, text: str) -> str:
        """Respell the words of a text; all else stays as it is."""
        out: list[str] = []
        done = at = 0
        while at < len(text):
            if text[at] == "[" and (tag := _TAG.match(text, at)):
                at = tag.end()
                continue
            beginning, after = _beginning(text, at)
            match = self._match(text, at, beginning)
            if match is None:
                at = after
                continue
            entry, end = match
            out += [text[done:at], _in_case(entry, text[at:end])]
            done = at = end
        out.append(text[done:])
        return "".join(out)

    def _match(self, text: str, at: int, beginning: str) -> tuple[_LexiconEntry, int] | None:
        for entry in self._by_beginning.get(beginning, ()):
            match = entry.pattern.match(text, at)
            if match is not None:
                return entry, match.end()
        return None


Lexicon = Respelling | Mapping[str, str] | str | Path | None


def respelling_of(lexicon: Lexicon) -> Respelling | None:
    """Make a `Respelling` from the `lexicon` of `generate`: a file's path, pairs, or one made.

    Raises:
        TextError: as `Respelling`.
    """
    if lexicon is None or isinstance(lexicon, Respelling):
        return lexicon
    if isinstance(lexicon, (str, Path)):
        return Respelling.read(lexicon)
    pairs = [*lexicon.items()] if isinstance(lexicon, Mapping) else lexicon
    if isinstance(pairs, bytes) or not isinstance(pairs, Iterable):
        what = "a file's path, or words and respellings"
        raise TextError(f"a lexicon is {what}; got {described(pairs)}.")
    pairs = list(pairs)
    for pair in pairs:
        is_pair = isinstance(pair, Sequence) and not isinstance(pair, (str, bytes))
        if not (is_pair and len(pair) == 2 and all(map(_is_text, pair))):
            raise TextError(
                f"a lexicon has pairs of a word and its respelling; got {described(pair)}."
            )
    return Respelling(pairs)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _beginning(text: str, at: int) -> tuple[str, int]:
    """The key under which entries that begin at a place are found, and the place after it.

    The key is a word in lower case; one character where that is not a letter, or where its script
    writes no spaces.
    """
    # Tested first: in a text without spaces, the pattern would match to the end at each character.
    word = None if is_unspaced(text[at]) else _WORD.match(text, at)
    if word is None:
        return text[at], at + 1
    return word.group().lower(), word.end()


def _pattern(word: str, exact: bool) -> re.Pattern:
    parts = []
    for character in word:
        if character == " ":
            parts.append(r"\s+")
        elif character in _APOSTROPHES:
            parts.append(f"[{_APOSTROPHES}]")
        else:
            parts.append(re.escape(character))
    last = word[-1]
    after = _AFTER if re.match(_LETTER, last) and not is_unspaced(last) else ""
    return re.compile("".join(parts) + after, 0 if exact else re.IGNORECASE)


def _in_case(entry: _LexiconEntry, written: str) -> str:
    """Give a respelling the capitals of the word in the text."""
    if entry.exact:
        return entry.respelling
    if written.isupper() and sum(map(str.isalpha, written)) > 1:
        return entry.respelling if entry.word.isupper() else entry.respelling.upper()
    if written[0].isupper():
        return entry.respelling[0].upper() + entry.respelling[1:]
    return entry.respelling
