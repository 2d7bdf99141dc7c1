"""Speaking pieces of text, and again where a guard finds something wrong (`guards.py`).

Each further try has a seed of its own that follows from the first one's, so that the same call
gives the same audio. Of tries that all have something wrong the least bad one is kept, without what
is worthless of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from .errors import TextError
from .guards import (
    Finding,
    Outcome,
    Plausible,
    Watch,
    cut,
    judge_audio,
    judge_tokens,
    plausible,
    quiet_end,
    seed_of_try,
)

MOST_TRIES = 3


@dataclass(frozen=True)
class Utterance:
    """A piece of text that is spoken in one go.

    Attributes:
        text_tokens: (n,) ids.
        seed: of its first try.
    """

    text: str
    text_tokens: mx.array
    seed: int


@dataclass
class Written:
    """The tokens of one try.

    Attributes:
        count: tokens written, with and without a sound.
        audible: those that have a sound.
        was_ended: by a watch, before the stop token came.
        is_cut_off: they are as many as were wanted.
    """

    count: int
    audible: list[int]
    was_ended: bool
    is_cut_off: bool


@dataclass
class Spoken:
    """A finished piece.

    Attributes:
        waveform: (samples,) float32.
        written: of the try that was kept.
    """

    waveform: np.ndarray
    written: Written
    outcome: Outcome


# From utterances, a seed for each, and a watch for each or none, to their tokens.
Write = Callable[[Sequence[Utterance], Sequence[int], Sequence[Watch] | None], list[Written]]
# From several utterances' audible tokens and seeds to their waveforms.
Sound = Callable[[list[tuple[list[int], int]]], list[np.ndarray]]


@dataclass
class _Try:
    number: int
    seed: int
    written: Written
    finding: Finding | None
    waveform: np.ndarray | None = None


def speak_unguarded(utterances: Sequence[Utterance], write: Write, sound: Sound) -> list[Spoken]:
    """Speak once, whatever comes of it."""
    seeds = [utterance.seed for utterance in utterances]
    written = write(utterances, seeds, None)
    _refuse_silence(utterances, written)
    waveforms = sound([(one.audible, seed) for one, seed in zip(written, seeds, strict=True)])
    return [
        Spoken(waveform, one, Outcome(tuple(one.audible), "", 1, seed))
        for waveform, one, seed in zip(waveforms, written, seeds, strict=True)
    ]


def speak_guarded(
    utterances: Sequence[Utterance],
    write: Write,
    sound: Sound,
    sample_rate: int,
    seconds_per_letter: float,
) -> list[Spoken]:
    """Speak; what has something wrong with it again, together, up to `MOST_TRIES` times."""
    bounds = [plausible(utterance.text, seconds_per_letter) for utterance in utterances]
    tries: list[list[_Try]] = [[] for _ in utterances]
    pending = list(range(len(utterances)))
    for number in range(MOST_TRIES):
        again = [utterances[i] for i in pending]
        seeds = [seed_of_try(utterance.seed, number) for utterance in again]
        watches = [Watch(bounds[i]) for i in pending]
        for i, seed, written in zip(pending, seeds, write(again, seeds, watches), strict=True):
            tries[i].append(_Try(number, seed, written, judge_written(written, bounds[i])))
        _listen([tries[i][-1] for i in pending], sound, sample_rate)
        pending = [i for i in pending if tries[i][-1].finding is not None]
        if not pending:
            break
    kept = [min(of_one, key=_badness) for of_one in tries]
    _refuse_silence(utterances, [best.written for best in kept])
    _sound(kept, sound)
    return [
        _finished(best, len(of_one), bound, sample_rate)
        for best, of_one, bound in zip(kept, tries, bounds, strict=True)
    ]


def _refuse_silence(utterances: Sequence[Utterance], written: Sequence[Written]) -> None:
    for utterance, one in zip(utterances, written, strict=True):
        if not one.audible:
            which = f" for {utterance.text[:40]!r}" if len(utterances) > 1 else ""
            raise TextError(
                f"the model wrote {one.count} speech tokens{which} and none that has a sound; try "
                "another seed or more max_new_tokens."
            )


def _badness(one: _Try) -> float:
    return 0.0 if one.finding is None else one.finding.weight


def judge_written(written: Written, bounds: Plausible) -> Finding | None:
    """What is wrong with the tokens of a try; what a watch ended is never well."""
    is_cut_off = written.is_cut_off and not written.was_ended
    finding = judge_tokens(written.audible, bounds, is_cut_off)
    if finding is None and written.was_ended:
        return Finding("no end, and many tokens without a sound", 4.5)
    return finding


def _sound(tries: list[_Try], sound: Sound) -> None:
    """Give a waveform to those that have none."""
    silent = [one for one in tries if one.waveform is None]
    given = [(one.written.audible, one.seed) for one in silent]
    for one, waveform in zip(silent, sound(given) if given else [], strict=True):
        one.waveform = waveform


def _listen(tries: list[_Try], sound: Sound, sample_rate: int) -> None:
    """Speak, and listen to, those whose tokens are well."""
    well = [one for one in tries if one.finding is None]
    _sound(well, sound)
    for one in well:
        one.finding = judge_audio(one.waveform, sample_rate)


def _finished(best: _Try, count: int, bounds: Plausible, sample_rate: int) -> Spoken:
    tokens, waveform, verdict = best.written.audible, best.waveform, ""
    if best.finding is not None:
        verdict, keep = best.finding.reason, best.finding.keep
        if keep is None and best.written.was_ended:
            keep = quiet_end(waveform, sample_rate, bounds)
        if keep is not None and keep < len(tokens):
            tokens, waveform = tokens[:keep], cut(waveform, sample_rate, keep)
    return Spoken(waveform, best.written, Outcome(tuple(tokens), verdict, count, best.seed))
