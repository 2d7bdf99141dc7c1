"""Which column of a table without a header is which, by what stands in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import mean

from .language_codes import is_language
from .recordings import Recordings, without_ending

# Rows that are looked at.
SAMPLE = 400
UNUSED, RAW = "-", "raw_text"
_DECIMAL = re.compile(r"[-+]?\d+[.,]\d+")
_SENTENCE_END = (".", "?", "!", "。", "？", "！", "…", ",")


def share_found(values: Sequence[str], recordings: Recordings) -> float:
    """Share of the cells that name recordings which are there."""
    return mean(recordings.find(value) is not None for value in values) if values else 0.0


def audio_column(columns: Sequence[Sequence[str]], recordings: Recordings) -> int | None:
    """The column that names recordings; None if it is not certain which."""
    shares = [share_found(column, recordings) for column in columns]
    best = max(shares)
    if best == 0:
        # Nothing is there: what looks like a file name, else the first column, is looked for.
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
    """Whether two columns name the same recordings."""
    pairs = [(recordings.find(a), recordings.find(b)) for a, b in zip(first, other, strict=True)]
    return all(a == b or (a and b and a.path == b.path) for a, b in pairs)


def guess(rows: Sequence[Sequence[str]], recordings: Recordings) -> tuple[list[str], bool]:
    """Names for the columns of rows of one length, as a header would have them.

    Returns:
        Names from `columns`, "-" for what is not read; and whether they are certain.
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
    """Not blank, and no measurements such as durations."""
    filled = [value for value in column if value]
    return bool(filled) and not all(_DECIMAL.fullmatch(value) for value in filled)


def _texts_and_speaker(columns, rest: list[int], names: list[str]) -> bool:
    """Name the other columns; whether that is certain."""
    labels = [i for i in rest if _are_labels(columns[i])]
    speakers = [i for i in labels if _repeat(columns[i])]
    texts = [i for i in rest if i not in speakers]
    if len(rest) == 1:
        names[rest[0]] = "text"
        return True
    if len(texts) == 2 and len(speakers) <= 1 and _same_words(*(columns[i] for i in texts)):
        names[texts[0]], names[texts[1]] = RAW, "normalized_text"
        if speakers:
            names[speakers[0]] = "speaker"
        return True
    if len(texts) == len(speakers) == 1:
        names[texts[0]], names[speakers[0]] = "text", "speaker"
        return True
    if len(texts) == 2 and not speakers and len(labels) == 1:
        # Every speaker once, as in a very small table: certain only in the order of GPT-SoVITS.
        speaker, text = labels[0], next(i for i in texts if i not in labels)
        names[speaker], names[text] = "speaker", "text"
        return names == ["audio", "speaker", "language", "text"]
    for i in rest:
        names[i] = "speaker" if i in labels else "?"
    if texts:
        longest = max(texts, key=lambda i: sum(map(len, columns[i])))
        names[longest] = "text"
    return False


def _are_labels(column: Sequence[str]) -> bool:
    """Whether no cell is a sentence: short ones, without an end of a sentence."""
    return all(
        len(v) <= 40 or (" " not in v and len(v) <= 130) for v in column
    ) and not any(len(v.split()) > 3 or v.endswith(_SENTENCE_END) for v in column)  # fmt: skip


def _repeat(column: Sequence[str]) -> bool:
    """Whether few values come again and again."""
    filled = [value for value in column if value]
    return len(filled) > 1 and len(set(filled)) <= 0.7 * len(filled)


def _same_words(first: Sequence[str], other: Sequence[str]) -> bool:
    """Whether one column is the other one in other words: LJSpeech's raw and normalised text."""
    shares = []
    for a, b in zip(first, other, strict=True):
        if a and b:
            words, others = _words(a), _words(b)
            shares.append(len(words & others) / max(1, min(len(words), len(others))))
    return bool(shares) and mean(shares) >= 0.4


def _words(text: str) -> set[str]:
    """Words; characters of scripts that do not write spaces."""
    words = re.findall(r"\w+", text.casefold())
    return {c for word in words for c in word} if "\u3040" <= max(text) <= "\uffff" else set(words)
