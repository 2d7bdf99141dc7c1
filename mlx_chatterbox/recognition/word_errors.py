"""Word errors of speech: texts are spoken, transcribed, and compared with their transcripts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..text.spoken import spoken_form

_BOOTSTRAP_SAMPLES = 4000


@dataclass
class WordErrors:
    """Word errors in a set of sentences.

    Attributes:
        words: in all sentences.
        errors: insertions, deletions and substitutions in all sentences.
        transcripts: (errors, text, transcript) of each sentence, in order.
    """

    words: int = 0
    errors: int = 0
    transcripts: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Word error rate, a share of the words; insertions can take it above 1."""
        return self.errors / max(self.words, 1)


def comparable_words(text: str) -> list[str]:
    """Split a text into words to compare: lower case, numbers in words, no punctuation."""
    return re.findall(r"[a-z']+", spoken_form(text).text.lower().replace("-", " "))


def edit_distance(expected: Sequence[str], transcript: Sequence[str]) -> int:
    """Count the insertions, deletions and substitutions that make one list of words the other."""
    row = list(range(len(transcript) + 1))
    for i, word in enumerate(expected, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(transcript, start=1):
            diagonal, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other)),
            )
    return row[-1]


def count_word_errors(
    texts: Sequence[str],
    speak: Callable[[str], np.ndarray],
    recogniser: Callable[[np.ndarray], str],
) -> WordErrors:
    """Speak the texts, transcribe the speech, and count the word errors.

    Args:
        speak: text to waveform, (samples,) at 24 kHz.
        recogniser: waveform to transcript, for example a `Recogniser`.
    """
    result = WordErrors()
    for text in texts:
        expected, transcript = comparable_words(text), recogniser(speak(text))
        errors = edit_distance(expected, comparable_words(transcript))
        result.words += len(expected)
        result.errors += errors
        result.transcripts.append((errors, text, transcript))
    return result


def excess_errors(
    before: Sequence[int] | np.ndarray,
    after: Sequence[int] | np.ndarray,
    words: int,
    confidence: float = 0.99,
) -> tuple[float, float]:
    """Compare two models' errors in the same sentences: the excess, and a lower bound on it.

    Both models speak the sentences with the same seeds, and sentences are compared in pairs: those
    that a change of the model leaves alone have the same transcripts and add no variance.

    Args:
        before, after: errors in each sentence.
        words: in all sentences.
        confidence: probability that the excess lies above the lower bound, by bootstrap over
            sentences.

    Returns:
        the excess and its lower bound, shares of the words; below 0 where `after` has fewer.
    """
    excess = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    rng = np.random.default_rng(0)
    sums = excess[rng.integers(len(excess), size=(_BOOTSTRAP_SAMPLES, len(excess)))].sum(axis=1)
    return float(excess.sum() / words), float(np.quantile(sums, 1.0 - confidence) / words)
