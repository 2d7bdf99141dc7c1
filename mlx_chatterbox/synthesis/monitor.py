"""Guards: decide whether decoded tokens and audio can be the speech of a text.

A model of this kind draws its tokens, and now and then it misses the end: it babbles on, repeats
itself, stops in the middle or falls silent. All of that shows in the number of tokens for the text,
in tokens that repeat themselves, and in the level of the audio. The functions here only judge: they
draw nothing, compute nothing on a device and change nothing. `retries.py` acts on their findings.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .tokens import TOKENS_PER_SECOND, DecodedTokens

# How long characters take to speak, in Latin letters of running text. A Chinese syllable takes
# 0.22 s, a mora 0.14 s; letters of scripts without vowels, or whose consonants carry one, more.
_IN_LETTERS = {
    "CJK": 3.0,
    "IDEOGRAPHIC": 3.0,
    "HANGUL": 2.7,
    "HIRAGANA": 1.9,
    "KATAKANA": 1.9,
    "ARABIC": 1.5,
    "HEBREW": 1.5,
    "DEVANAGARI": 1.3,
}
_DIGIT, _SYMBOL, _LETTER_BY_ITSELF = 5.0, 6.0, 2.5
_TAG = re.compile(r"\[[^\[\]]*\]")
_TAG_SECONDS = 1.0
# Letter by letter, or with a capital at least: "USA", "BBC"; and each of "a, b or c".
_CAPITALS = re.compile(r"\b[A-Z]{2,5}\b|\b[A-Za-z]\b")
_PAUSES = re.compile(r"[.!?…。！？,;:，、；：—–\n]+")
_TO_LAST_WORD = re.compile(r".*\w", re.DOTALL)
_PAUSE_SECONDS = 0.35
# Silence before and after, and the drawl of a word that stands alone.
_MARGIN_SECONDS = 0.8
# Speech of more than this many times the plausible length is none, and of less than this share
# of the letters' time alone something is missing: nobody speaks 27 letters a second.
_MOST, _LEAST = 2.0, 0.5
# A text of so many times what the model can decode at most is too long for it with any seed: no
# sentence of pocket's voice was shorter than 0.72 times its usual length.
_HOPELESS = 1.5

# A loop is a stretch that repeats itself: three times, and for a second at least.
_LONGEST_PERIOD = 75
_SHORTEST_LOOP = 25
_ALIKE, _MOSTLY = 0.9, 0.8
# One and the same token is a held vowel, or a pause; past this it is a loop all the same.
_LONGEST_HELD = 50

_FRAME_SECONDS = 0.02
# In decibels of full scale: louder than this somewhere, or there is no speech; and what is silent
# beside the loud frames, or by itself.
_SPEECH_PEAK, _SILENT_BESIDE, _SILENT = -50.0, -45.0, -65.0
_LONGEST_SILENCE, _LONGEST_SILENT_END = 2.0, 1.5
_KEPT_SILENCE = 0.3


@dataclass(frozen=True)
class Plausible:
    """Bounds of the number of tokens of a text.

    Attributes:
        shortest, longest: with fewer something is missing, with more there is something else.
        usual: the expected number.
    """

    shortest: int
    usual: int
    longest: int


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with speech.

    Attributes:
        reason: in a few words.
        weight: how bad; the least bad of several attempts is kept.
        keep_tokens: number of tokens, of 40 ms, worth keeping from the beginning; None: all.
        is_final: no other seed can mend it.
    """

    reason: str
    weight: float
    keep_tokens: int | None = None
    is_final: bool = False


def plausible(text: str, seconds_per_letter: float) -> Plausible:
    """Estimate the number of tokens that a text may take.

    Args:
        text: as it was given, in any script; digits, symbols and tags such as `[laugh]` count as
            the words that are spoken for them.
        seconds_per_letter: at which the model speaks; about 0.075, the 13 letters a second of
            somebody who reads aloud.
    """
    tags = len(_TAG.findall(text))
    text = _TAG.sub(" ", text)
    spoken = _TO_LAST_WORD.match(text)
    pauses = len(_PAUSES.findall(spoken.group())) if spoken is not None else 0
    least, usual = _letters(text)
    seconds = usual * seconds_per_letter + pauses * _PAUSE_SECONDS + tags * _TAG_SECONDS
    seconds += _MARGIN_SECONDS
    return Plausible(
        shortest=int(_LEAST * least * seconds_per_letter * TOKENS_PER_SECOND),
        usual=round(seconds * TOKENS_PER_SECOND),
        longest=round(_MOST * seconds * TOKENS_PER_SECOND),
    )


def _letters(text: str) -> tuple[float, float]:
    """A text's length in Latin letters, at least and usually."""
    spelled = sum(map(len, _CAPITALS.findall(text)))
    least = usual = 0.0
    for character in text:
        kind = unicodedata.category(character)
        if kind[0] == "L":
            script = unicodedata.name(character, "").partition(" ")[0]
            weight = _IN_LETTERS.get(script, 1.0)
            least, usual = least + weight, usual + weight
        elif kind[0] == "N":
            # Many a number is not spoken, or in fewer words.
            least, usual = least + 1.0, usual + _DIGIT
        elif kind[0] == "S" or character in "%&@#/*":
            usual += _SYMBOL
    return least, usual + spelled * (_LETTER_BY_ITSELF - 1)


def find_loop(tokens: list[int]) -> tuple[int, int] | None:
    """The first stretch that repeats itself.

    A period p is found where nine tokens in ten equal those p earlier, for twice p tokens and a
    second at least; for p = 1, one token held, for two seconds.

    Args:
        tokens: of 40 ms.

    Returns:
        Where the stretch first begins, and its period in tokens; None where nothing loops.
    """
    count = len(tokens)
    most = min(_LONGEST_PERIOD, count - _SHORTEST_LOOP)
    if most < 1:
        return None
    values = np.asarray(tokens)
    periods = np.arange(1, most + 1)
    wanted = np.maximum(2 * periods, _SHORTEST_LOOP)
    wanted[0] = _LONGEST_HELD
    # alike[i, p - 1]: token i + p is token i; after the end nothing is.
    padded = np.concatenate([values, np.full(most, -1)])
    alike = sliding_window_view(padded[1:], most)[:count] == values[:, None]
    before = np.zeros((count + int(wanted.max()) + 1, most), dtype=np.int32)
    np.cumsum(alike, axis=0, out=before[1 : count + 1])
    before[count + 1 :] = before[count]
    starts = np.arange(count)[:, None]
    within = before[starts + wanted, periods - 1] - before[:count]
    held = before[starts + wanted, 0] - before[:count, :1]
    # A held token is alike at every period, and is judged as what it is, at the first.
    is_other = (held < _MOSTLY * wanted) | (periods == 1)
    rows, columns = np.nonzero((within >= _ALIKE * wanted) & is_other)
    if not len(rows):
        return None
    # The one that is complete first, and of several that are, the shortest period.
    ends = rows + wanted[columns] + periods[columns]
    first = np.lexsort((periods[columns], ends))[0]
    start, period = int(rows[first]), int(periods[columns[first]])
    # The window may begin with tokens that are not alike yet.
    return start + int(np.argmax(alike[start:, period - 1])), period


class TokenMonitor:
    """Looks at tokens while they are decoded, to end what has run away.

    A look at the last hundreds takes a fifth of a millisecond, and comes every second.
    """

    _EVERY = TOKENS_PER_SECOND
    _LOOK_BACK = 3 * _LONGEST_PERIOD + 2 * _EVERY

    def __init__(self, bounds: Plausible):
        self._longest = bounds.longest
        self._tokens: list[int] = []

    def add(self, token: int) -> bool:
        """Take the next token; return True to stop here."""
        self._tokens.append(token)
        count = len(self._tokens)
        if count > self._longest:
            return True
        return count % self._EVERY == 0 and find_loop(self._tokens[-self._LOOK_BACK :]) is not None


def judge_decoded(decoded: DecodedTokens, bounds: Plausible) -> Finding | None:
    """Judge the tokens of an attempt; one that a monitor ended always has a finding."""
    is_cut_off = decoded.is_cut_off and not decoded.was_ended
    own_limit = decoded.count if decoded.ran_on else None
    finding = judge_tokens(decoded.audible, bounds, is_cut_off, own_limit)
    if finding is None and decoded.was_ended:
        return Finding("no end, and many tokens without a sound", 4.5)
    return finding


def judge_tokens(
    tokens: list[int], bounds: Plausible, is_cut_off: bool, own_limit: int | None = None
) -> Finding | None:
    """Judge the tokens of a text.

    Args:
        tokens: those that have a sound.
        is_cut_off: the caller wanted no more of them, so there may be too few or too many.
        own_limit: as many as the model can write, if it came to that without an end.
    """
    if not tokens:
        return Finding("no token that has a sound", 10.0)
    loop = find_loop(tokens)
    if loop is not None:
        start, period = loop
        second = start / TOKENS_PER_SECOND
        if period == 1:
            reason, keep = f"a loop: one sound held from {second:.1f} s on", start + 5
        else:
            length = period / TOKENS_PER_SECOND
            reason, keep = f"a loop: {length:.2f} s repeated from {second:.1f} s on", start + period
        return Finding(reason, 5.0 + _missing(keep, bounds), keep)
    if is_cut_off:
        return None
    if own_limit is not None and len(tokens) <= bounds.longest:
        return _unfinished(own_limit, bounds)
    if len(tokens) > bounds.longest:
        most = bounds.longest / TOKENS_PER_SECOND
        return Finding(f"no end within {most:.1f} s, twice what the text takes", 4.0)
    if len(tokens) < bounds.shortest:
        seconds, least = len(tokens) / TOKENS_PER_SECOND, bounds.shortest / TOKENS_PER_SECOND
        reason = f"an early end: {seconds:.1f} s, where the text takes {least:.1f} s at least"
        return Finding(reason, 3.0 + _missing(len(tokens), bounds))
    return None


def _unfinished(own_limit: int, bounds: Plausible) -> Finding:
    """Speech that the model's own limit ended."""
    seconds, usual = own_limit / TOKENS_PER_SECOND, bounds.usual / TOKENS_PER_SECOND
    if bounds.usual > _HOPELESS * own_limit:
        reason = f"cut off after {seconds:.1f} s, the model's own limit: the text takes {usual:.0f}"
        return Finding(f"{reason} s", 4.0, is_final=True)
    return Finding(f"no end within {seconds:.1f} s, the model's own limit", 4.0)


def _missing(kept: int, bounds: Plausible) -> float:
    """Distance from the usual length, 0 to 1."""
    return min(1.0, abs(kept - bounds.usual) / bounds.usual)


def judge_audio(waveform: np.ndarray, sample_rate: int) -> Finding | None:
    """Judge the level of a piece of speech.

    Args:
        waveform: (samples,), full scale 1.
    """
    if not np.isfinite(waveform).all():
        return Finding("NaN or Inf in the audio", 9.0)
    levels = frame_levels(waveform, sample_rate)
    if levels.max() < _SPEECH_PEAK:
        return Finding("silence", 8.0)
    loud = np.flatnonzero(levels > silent_under(levels))
    # The longest way from one loud frame to the next.
    longest = float(np.diff(loud).max(initial=0)) * _FRAME_SECONDS
    silent_end = (len(levels) - 1 - loud[-1]) * _FRAME_SECONDS
    before = loud[0] * _FRAME_SECONDS
    if longest > _LONGEST_SILENCE or before > _LONGEST_SILENCE:
        return Finding(f"{max(longest, before):.1f} s of silence within", 2.0)
    if silent_end > _LONGEST_SILENT_END:
        seconds = (loud[-1] + 1) * _FRAME_SECONDS + _KEPT_SILENCE
        keep = int(np.ceil(seconds * TOKENS_PER_SECOND))
        return Finding(f"{silent_end:.1f} s of silence at the end", 1.0, keep)
    return None


def frame_levels(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """The level of every 20 ms, in decibels of full scale, (frames,); at least one."""
    length = int(sample_rate * _FRAME_SECONDS)
    padded = np.pad(waveform.astype(np.float64), (0, -len(waveform) % length))
    if not len(padded):
        return np.array([-120.0])
    power = np.square(padded).reshape(-1, length).mean(axis=1)
    return 10 * np.log10(np.maximum(power, 1e-12))


def silent_under(levels: np.ndarray) -> float:
    """The level under which frames count as silent beside the others."""
    return max(float(np.percentile(levels, 95)) + _SILENT_BESIDE, _SILENT)


def quiet_end(waveform: np.ndarray, sample_rate: int, bounds: Plausible) -> int:
    """The number of tokens after which to cut speech without an end: its quietest plausible place.

    Args:
        waveform: (samples,), 40 ms a token.
    """
    count = len(waveform) * TOKENS_PER_SECOND // sample_rate
    first, last = int(0.8 * bounds.usual), min(count, int(1.3 * bounds.usual))
    if last <= first:
        return count
    # Of the three tokens' time before each place where it may be cut.
    levels = frame_levels(waveform, sample_rate)
    ends = range(max(first, 3), last + 1)
    if not ends:
        return last
    return min(ends, key=lambda end: float(levels[2 * end - 6 : 2 * end].mean()))


def cut(waveform: np.ndarray, sample_rate: int, tokens: int) -> np.ndarray:
    """The first tokens' audio, its last 20 ms faded out."""
    kept = waveform[: tokens * sample_rate // TOKENS_PER_SECOND].copy()
    fade = min(len(kept), sample_rate // 50)
    if fade:
        kept[-fade:] *= np.linspace(1.0, 0.0, fade, dtype=kept.dtype)
    return kept
