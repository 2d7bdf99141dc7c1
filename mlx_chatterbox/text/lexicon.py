"""English as phones: a pronouncing dictionary in front of the vocabulary, for small models.

A model of a few million weights cannot learn English spelling besides speaking. So each word is
looked up and becomes a string of phones, one character each (IPA where it has one, `PHONES`), a
mark before a stressed vowel; words that the dictionary lacks are given as capital letters, which
the model knows too, only less well. Numbers and signs are written out before (`spoken`).
"""

from __future__ import annotations

import gzip
import io
import re
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

from ..checks.json_file import read_small
from ..checks.plain import named
from ..errors import CheckpointError
from ..runtime.own_files import write_whole
from .spoken import spoken_form
from .tokenizer import SPACE, START, STOP, UNKNOWN, EnglishTokenizer
from .unread import unread_runs

# The limit of an unpacked dictionary; ours has 3 MB.
MAX_BYTES = 64 * 2**20
STRESS = "ˈ"
# CMU's names of the phones to the characters that stand for them.
PHONES = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "ȣ", "ax": "ə", "ay": "ī", "eh": "ɛ",
    "er": "ɝ", "ey": "ē", "ih": "ɪ", "iy": "i", "ow": "ō", "oy": "ø", "uh": "ʊ", "uw": "u",
    "b": "b", "ch": "ʧ", "d": "d", "dh": "ð", "f": "f", "g": "g", "hh": "h", "jh": "ʤ", "k": "k",
    "l": "l", "m": "m", "n": "n", "ng": "ŋ", "p": "p", "r": "r", "s": "s", "sh": "ʃ", "t": "t",
    "th": "θ", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ",
}  # fmt: skip
VOWELS = "ɑæʌɔȣəīɛɝēɪiōøʊu"
PUNCTUATION = ".,?!"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ABBREVIATIONS = {
    "mr": "mister", "mrs": "missis", "ms": "miss", "dr": "doctor", "st": "saint", "vs": "versus",
    "etc": "et cetera", "prof": "professor", "jr": "junior", "sr": "senior",
}  # fmt: skip
# Spelled letters: a first "A" is not an article, and "Os" in "C E Os" is not a word.
_NAMES_OF_LETTERS = {"A": "ˈē", "As": "ˈēz", "Os": "ˈōz", "Is": "ˈīz", "Us": "jˈuz", "Es": "ˈiz"}
# Words of `spoken` that the dictionary lacks.
_MORE_WORDS = {"missus": "mˈɪsɪz"}
# Spelled by the names of their letters, if they are no longer and stand in capitals.
_LONGEST_INITIALS = 5
_UNVOICED = "ptkfθ"
# The parts of a text that are looked up; everything else is skipped.
_WORD = re.compile(r"[A-Za-z']+|[.,?!]")
# Signs that are read aloud; other punctuation only separates words.
_SPOKEN_SIGNS = "%@#§"
_HISSING = "szʃʒʧʤ"


def vocabulary() -> dict[str, int]:
    """Map tokens to ids, the stressed vowels after the plain ones."""
    tokens = [STOP, UNKNOWN, SPACE, START, STRESS, *PUNCTUATION, *PHONES.values()]
    tokens += [STRESS + vowel for vowel in VOWELS] + list(LETTERS)
    return {token: index for index, token in enumerate(tokens)}


def write_vocabulary(path: Path) -> None:
    """Write a `tokenizer.json` with `vocabulary`: a token for every character or stressed vowel."""
    from tokenizers import AddedToken, Tokenizer, models

    merges = [(STRESS, vowel) for vowel in VOWELS]
    tokenizer = Tokenizer(models.BPE(vocabulary(), merges, unk_token=UNKNOWN))
    special = [AddedToken(token, normalized=False) for token in (STOP, UNKNOWN, SPACE, START)]
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(path))


def write_lexicon(path: Path, words: dict[str, str]) -> None:
    """Write words and their phones; the same words give the same bytes."""
    lines = "".join(f"{word}\t{phones}\n" for word, phones in sorted(words.items()))
    write_whole(path, gzip.compress(lines.encode(), 9, mtime=0))


def read_lexicon(path: Path) -> dict[str, str]:
    """Read a dictionary: words, in lower case, to phones.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        # Not path.read_bytes(): a gzip file of megabytes can hold gigabytes.
        with gzip.GzipFile(fileobj=io.BytesIO(read_small(path))) as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"it holds more than {MAX_BYTES} bytes")
        words = dict(line.split("\t") for line in content.decode("utf-8").splitlines())
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise CheckpointError(f"{path} is not a lexicon: {error}.") from None
    silent = next((word for word, phones in words.items() if not phones.strip()), None)
    if silent is not None:
        raise CheckpointError(f"{path} is not a lexicon: {named(silent)} has no phones.")
    return words


class LexiconTokenizer(EnglishTokenizer):
    """Tokenizer that looks up the phones of words: text to phones to tokens."""

    def __init__(self, path: str | Path, lexicon: str | Path):
        """Read the vocabulary and the dictionary.

        Raises:
            CheckpointError: one is missing or damaged.
        """
        super().__init__(path)
        self._lexicon = {**_MORE_WORDS, **read_lexicon(Path(lexicon))}

    def encode(
        self, text: str, by_letters: Callable[[str], bool] = lambda word: False
    ) -> list[int]:
        """Token ids, without start and stop.

        Args:
            by_letters: words to be spelled in letters although the dictionary has them, for
                training.
        """
        return self._ids(self.phones(text, by_letters))

    def phones(self, text: str, by_letters: Callable[[str], bool] = lambda word: False) -> str:
        """The symbols that `encode` looks up: phones and letters, a space between words."""
        parts: list[str] = []
        words = _WORD.findall(_plain(text))
        for index, word in enumerate(words):
            if word in PUNCTUATION:
                if parts:
                    parts[-1] = parts[-1].rstrip(PUNCTUATION) + word
                continue
            around = words[max(0, index - 1) : index] + words[index + 1 : index + 2]
            if any(map(_is_letter, around)) and word in _NAMES_OF_LETTERS:
                parts.append(_NAMES_OF_LETTERS[word])
            else:
                parts.extend(self._word(word, by_letters))
        return " ".join(parts)

    def _word(self, word: str, by_letters: Callable[[str], bool]) -> list[str]:
        bare = word.strip("'")
        small = bare.lower()
        if not small:
            return []
        if small in _ABBREVIATIONS:
            return [self._one(part, by_letters) for part in _ABBREVIATIONS[small].split()]
        initials = word.isupper() and 1 < len(word) <= _LONGEST_INITIALS
        if initials and small not in self._lexicon:
            return [self._one(letter, by_letters) for letter in small]
        return [self._one(small, by_letters)]

    def _one(self, word: str, by_letters: Callable[[str], bool]) -> str:
        if not by_letters(word):
            if word in self._lexicon:
                return self._lexicon[word]
            stem = self._lexicon.get(word[:-2] if word.endswith("'s") else word[:-1])
            if stem is not None and word.endswith("s"):
                last = stem[-1]
                return stem + ("ɪz" if last in _HISSING else "s" if last in _UNVOICED else "z")
        return "".join(letter for letter in word.upper() if letter in LETTERS)

    def knows_any(self, text: str) -> bool:
        """Return True where a text has a letter or a digit to speak."""
        return any(map(str.isalnum, self.phones(text)))

    def unread(self, text: str, language_id: str | None = None) -> tuple[str, ...]:
        """Letters, digits and symbols of a text that have no token, each once, in order."""
        passed_over = {*_WORD.sub("", _plain(text)), *spoken_form(text).left_out}
        return unread_runs(text, lambda one: passed_over.isdisjoint(_signs(one)))


def _unaccented(text: str) -> str:
    text = unicodedata.normalize("NFKD", text.replace("’", "'"))
    return "".join(c for c in text if not unicodedata.combining(c))


def _signs(character: str) -> list[str]:
    """The readable part of a character: letters, digits, symbols and private-use characters."""
    kinds = ((one, unicodedata.category(one)) for one in _unaccented(character))
    return [one for one, kind in kinds if kind[0] in "LNS" or kind == "Co" or one in _SPOKEN_SIGNS]


def _plain(text: str) -> str:
    """Reduce a text to ASCII letters, apostrophes and four punctuation marks, numbers in words."""
    text = _unaccented(spoken_form(text).text)
    text = re.sub(r"\b([A-Za-z]{1,4})\.", _without_stop, text)
    text = text.replace("&", " and ").replace("-", " ")
    return re.sub(r"[;:()\[\]\u2013\u2014\"]+", ",", text)


def _is_letter(word: str) -> bool:
    return len(word) == 1 and word.isupper() and word not in "IA"


def _without_stop(match: re.Match) -> str:
    word = match.group(1)
    return word if word.lower() in _ABBREVIATIONS and word.lower() != "st" else match.group(0)
