"""The training texts of pocket: templates over common words, and WordNet's sentences.

The templates and their words were composed for this purpose. Example sentences and glosses are
from the files of Debian's package wordnet-base (WordNet 3.0, free to use with its notice), kept if
the word list of Debian's package wamerican (SCOWL, free to use with its notice) has all their
words. The same seed and packages give the same sentences in the same order.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from pathlib import Path

from ...errors import DataError
from ...text.spoken.numbers import number_words, ordinal_words
from . import words as w

WORDNET = Path("/usr/share/wordnet")
WORD_LIST = Path("/usr/share/dict/american-english")
HELD_OUT_SHARE = 0.02
MOST_WORDS = 15
LONGEST = 210  # characters of several joined sentences

# Shares of the kinds of sentences; the rest are made from templates.
_EXAMPLES, _GLOSSES, _LISTS, _SHORT = 0.34, 0.14, 0.06, 0.06
_JOINED = 0.14  # share of texts that are several sentences joined


def training_sentences(seed: int) -> Iterator[str]:
    """Yield sentences without end, none twice; WordNet's run out, and then templates remain.

    Raises:
        DataError: the packages are not installed.
    """
    draw = random.Random(seed)
    known = common_words()
    examples, glosses = _wordnet(known)
    draw.shuffle(examples)
    draw.shuffle(glosses)
    common = sorted(_common(examples, known))
    seen: set[str] = set()

    def one() -> str:
        share = draw.random()
        if share < _EXAMPLES and examples:
            return examples.pop()
        share -= _EXAMPLES
        if 0 <= share < _GLOSSES and glosses:
            return glosses.pop()
        share -= _GLOSSES
        if 0 <= share < _LISTS:
            return ", ".join(draw.choice(common) for _ in range(draw.randint(2, 6)))
        share -= _LISTS
        if 0 <= share < _SHORT:
            return _short(draw, common)
        return template_sentence(draw)

    while True:
        text = one()
        if draw.random() < _JOINED:
            for _ in range(draw.randint(1, 4)):
                more = one()
                if len(text) + len(more) > LONGEST:
                    break
                text = text.rstrip("?") + draw.choice(w.JOINTS) + more
        text = _punctuated(text, draw)
        if text.lower() not in seen:
            seen.add(text.lower())
            yield text


def is_held_out(text: str) -> bool:
    """Tell whether a sentence is kept for evaluation, by a hash of its letters and digits.

    The voice that speaks it makes no difference.
    """
    bare = "".join(filter(str.isalnum, text.lower()))
    rank = int.from_bytes(hashlib.blake2b(bare.encode(), digest_size=8).digest(), "big") / 2**64
    return rank < HELD_OUT_SHARE


def held_out_templates(seed: int, count: int) -> list[str]:
    """Make held-out sentences from templates, none twice; no package is needed."""
    draw = random.Random(seed)
    sentences: dict[str, None] = {}
    while len(sentences) < count:
        text = _punctuated(template_sentence(draw), draw)
        if is_held_out(text):
            sentences[text] = None
    return list(sentences)


def word_list() -> list[str]:
    """Read the word list of Debian's package wamerican.

    Raises:
        DataError: the package is not installed.
    """
    if not WORD_LIST.is_file():
        raise DataError(f"{WORD_LIST} is missing: apt-get install wamerican.")
    return WORD_LIST.read_text(encoding="utf-8").split()


def common_words() -> set[str]:
    """Return the words of the list in lower case, without names and abbreviations.

    Raises:
        DataError: the package is not installed.
    """
    return {word for word in word_list() if re.fullmatch(r"[a-z]+('[a-z]+)?", word)} | {"i", "a"}


def _wordnet(known: set[str]) -> tuple[list[str], list[str]]:
    """Read example sentences and glosses; those with words outside `known` are left out.

    Raises:
        DataError: the package is not installed.
    """
    # Dictionaries, since sets of texts have no fixed order.
    examples: dict[str, None] = {}
    glosses: dict[str, None] = {}
    for part in ("noun", "verb", "adj", "adv"):
        path = WORDNET / f"data.{part}"
        if not path.is_file():
            raise DataError(f"{path} is missing: apt-get install wordnet-base.")
        for line in path.read_text(encoding="latin-1").splitlines():
            if line.startswith(" ") or "|" not in line:
                continue
            gloss = line.split("|", 1)[1]
            for example in re.findall(r'"([^"]+)"', gloss):
                examples[example.strip()] = None
            own = re.sub(r"\([^)]*\)", "", re.sub(r'"[^"]*"', "", gloss)).strip(" ;")
            glosses[own.split(";")[0].strip()] = None

    def speakable(text: str) -> bool:
        count = len(text.split())
        return (
            2 <= count <= MOST_WORDS
            and re.fullmatch(r"[A-Za-z' ,?!.]+", text) is not None
            and all(word in known for word in re.findall(r"[a-z']+", text.lower()))
        )

    return [t for t in examples if speakable(t)], [t for t in glosses if speakable(t)]


def _common(examples: list[str], known: set[str]) -> set[str]:
    """Return the words that occur in at least two examples, and all words of the templates."""
    count: dict[str, int] = {}
    for text in examples:
        for word in set(re.findall(r"[a-z']+", text.lower())):
            count[word] = count.get(word, 0) + 1
    return {word for word, n in count.items() if n > 1 and word in known} | set(w.all_words())


def _short(draw: random.Random, common: list[str]) -> str:
    kind = draw.randrange(5)
    if kind == 0:
        return draw.choice(w.SHORT)
    if kind == 1:
        return draw.choice(common)
    if kind == 2:
        return f"{draw.choice(common)} {draw.choice(common)}"
    if kind == 3:
        return draw.choice(w.DAYS + w.MONTHS + w.NUMBERS)
    return draw.choice(w.NAMES)


def _punctuated(text: str, draw: random.Random) -> str:
    """Return the text with an initial capital and a final mark."""
    text = " ".join(text.split()).strip(" ,")
    text = text[0].upper() + text[1:]
    if text[-1] in ".?!":
        return text
    return text + ("!" if draw.random() < 0.04 else ".")


def template_sentence(draw: random.Random) -> str:
    """Make a sentence from a random template, without final punctuation."""
    return _expand(draw.choice(w.TEMPLATES), draw)


def _expand(text: str, draw: random.Random) -> str:
    def replace(match: re.Match) -> str:
        name = match.group(1)
        if name == "number":
            return number_words(int(10 ** draw.uniform(0, draw.choice((2, 3, 4)))))
        if name == "year":
            return f"{number_words(draw.choice((18, 19, 20)))} {number_words(draw.randint(10, 99))}"
        if name == "ordinal":
            return ordinal_words(draw.randint(1, 31))
        return _expand(draw.choice(w.SLOTS[name]), draw)

    text = re.sub(r"\{(\w+)\}", replace, text)
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
