"""Finds the columns of a table without a header by their content."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import mean

from .language_codes import is_language
from .recordings import Recordings, without_ending

# Rows that are examined.
SAMPLE = 400
UNUSED, RAW = "_", "raw_text"
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?")
# Labels that are no names of speakers.
_TRAITS = frozenset(
    [
        *("m", "f", "male", "female", "man", "woman", "men", "women", "masculine", "feminine"),
        *("neutral", "happy", "sad", "angry", "surprise", "surprised", "fear", "fearful"),
        *("disgust", "calm", "train", "val", "dev", "test", "true", "false", "none", "unknown"),
    ]
)
_SENTENCE_END = (".", "?", "!", "。", "？", "！", "…", ",")


def share_found(values: Sequence[str], recordings: Recordings) -> float:
    """Share of the cells that name existing recordings."""
    return mean(recordings.find(value) is not None for value in values) if values else 0.0


def audio_column(columns: Sequence[Sequence[str]], recordings: Recordings) -> int | None:
    """Return the column that names recordings; None if it is not certain."""
    shares = [share_found(column, recordings) for column in columns]
    best = max(shares)
    if best < 0.2:
        # No recording exists: take the column of file names, else the first one.
        ends = [mean(without_ending(v.strip()) != v.strip() for v in c) for c in columns]
        place = ends.index(max(ends))
        return place if max(ends) > 0.5 or not any(" " in v.strip() for v in columns[0]) else None
    place = shares.index(best)
    for other, share in enumerate(shares):
        if other != place and share > 0.5 and not same_files(
            columns[place], columns[other], recordings
        ):  # fmt: skip
            return None
    return place


def same_files(first: Sequence[str], other: Sequence[str], recordings: Recordings) -> bool:
    """True if two columns name the same recordings."""
    pairs = [(recordings.find(a), recordings.find(b)) for a, b in zip(first, other, strict=True)]
    return all(a == b or (a and b and a.path == b.path) for a, b in pairs)


def guess(rows: Sequence[Sequence[str]], recordings: Recordings) -> tuple[list[str], bool]:
    """Guess the header of rows of one length.

    Returns:
        Column names as in `columns`, "_" for columns that are not read; and True if certain.
    """
    columns = [[row[i].strip() for row in rows] for i in range(len(rows[0]))]
    names = [UNUSED] * len(columns)
    audio = audio_column(columns, recordings)
    if audio is None:
        return ["audio", *["?"] * (len(columns) - 1)], False
    names[audio] = "audio"
    rest = [i for i, column in enumerate(columns) if i != audio and _worth_reading(column)]
    if share_found(columns[audio], recordings):
        rest = [i for i in rest if share_found(columns[i], recordings) <= 0.5]
    languages = [i for i in rest if all(is_language(v) for v in columns[i] if v)]
    if len(languages) == 1 and len(rest) > 1:
        names[languages[0]] = "language"
        rest.remove(languages[0])
    certain = _texts_and_speaker(columns, rest, names)
    return names, certain and len(languages) <= 1


def _worth_reading(column: Sequence[str]) -> bool:
    """True unless a column is blank or has measurements such as durations."""
    filled = [value for value in column if value]
    numbers = all(_NUMBER.fullmatch(value) for value in filled)
    measured = numbers and any("." in v or "," in v for v in filled) and not _repeat(filled)
    return bool(filled) and not measured


def _texts_and_speaker(columns, rest: list[int], names: list[str]) -> bool:
    """Name the other columns; returns True if certain."""
    labels = [i for i in rest if _are_labels(columns[i])]
    traits = [i for i in labels if _TRAITS.issuperset(v.lower() for v in columns[i])]
    speakers = [i for i in labels if _repeat(columns[i]) and i not in traits]
    if speakers or not traits:
        # Beside a column of names, "f" and "happy" are no speakers.
        rest = [i for i in rest if i not in traits]
        texts = [i for i in rest if i not in speakers]
        if _settled(columns, texts, speakers, labels, names):
            return True
    for i in rest:
        names[i] = "speaker" if i in labels and i not in traits else "?"
    texts = [i for i in rest if i not in labels]
    if texts:
        names[max(texts, key=lambda i: sum(map(_width, columns[i])))] = "text"
    return False


def _settled(columns, texts: list[int], speakers: list[int], labels, names: list[str]) -> bool:
    """Name texts and speaker if only one reading is possible; returns True if so."""
    if len(texts) + len(speakers) == 1:
        names[(texts + speakers)[0]] = "text"
        return True
    if len(texts) == 2 and len(speakers) <= 1 and _same_words(*(columns[i] for i in texts)):
        names[texts[0]], names[texts[1]] = RAW, "normalized_text"
        for i in speakers:
            names[i] = "speaker"
        return True
    if len(texts) == len(speakers) == 1:
        names[texts[0]], names[speakers[0]] = "text", "speaker"
        return _says_more(columns, texts[0], speakers[0], labels)
    if len(texts) == 2 and texts[0] in labels and not speakers:
        # Every speaker comes once, as in a very small table: certain only in GPT-SoVITS's order.
        order = names[0] == "audio" and names[2:3] == ["language"] and texts == [1, 3]
        if order and len(names) == 4 and _says_more(columns, 3, 1, labels):
            names[1], names[3] = "speaker", "text"
            return True
    return False


def _says_more(columns, text: int, speaker: int, labels: list[int]) -> bool:
    """True if a column is clearly the text and not the speaker: longer, or no column of labels.

    Two rows "hello" by "ann" and "bob" must not be read with "hello" as the speaker.
    """
    wide = mean(map(_width, columns[text])) > 1.5 * mean(map(_width, columns[speaker]))
    return wide or text not in labels


def _are_labels(column: Sequence[str]) -> bool:
    """True if all cells are short and none ends like a sentence."""
    return all(
        len(v) <= 40 or (" " not in v and len(v) <= 130) for v in column
    ) and not any(len(v.split()) > 3 or v.endswith(_SENTENCE_END) for v in column)  # fmt: skip


def _repeat(column: Sequence[str]) -> bool:
    """True if a value occurs twice."""
    filled = [value for value in column if value]
    return len(set(filled)) < len(filled)


def _same_words(first: Sequence[str], other: Sequence[str]) -> bool:
    """True if two columns share most words, as LJSpeech's raw and normalised text."""
    shares = []
    for a, b in zip(first, other, strict=True):
        if a and b:
            words, others = _words(a), _words(b)
            shares.append(len(words & others) / max(1, min(len(words), len(others))))
    return bool(shares) and mean(shares) >= 0.4


def _words(text: str) -> set[str]:
    """Return the words; the characters in scripts without spaces."""
    words = re.findall(r"\w+", text.casefold())
    return {c for word in words for c in word} if "\u3040" <= max(text) <= "\uffff" else set(words)


def _width(text: str) -> float:
    """Length of a text in letters; Chinese and Japanese characters count 2.5."""
    return sum(2.5 if c >= "\u3040" else 1.0 for c in text)
