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

from ..errors import TextError
from .monitor import (
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
        number: among all of its call, from 0.
        text_tokens: (n,) ids.
        seed: of its first try.
        is_needed: False: its tokens are written with the others' and nothing comes of them.
        read: what of the text the model reads; `unread`: what it does not.
    """

    number: int
    text: str
    text_tokens: mx.array
    seed: int
    is_needed: bool = True
    read: str = ""
    unread: tuple[str, ...] = ()


@dataclass
class Written:
    """The tokens of one try.

    Attributes:
        count: tokens written, with and without a sound.
        audible: those that have a sound.
        was_ended: by a watch, before the stop token came.
        is_cut_off: they are as many as the caller wanted at most.
        ran_on: they are as many as the model can write, though nobody wanted so few.
    """

    count: int
    audible: list[int]
    was_ended: bool
    is_cut_off: bool
    ran_on: bool = False

    @property
    def stopped(self) -> bool:
        """Whether they came to an end before their limit."""
        return not (self.is_cut_off or self.ran_on)


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


@dataclass
class Try:
    """One try at an utterance.

    Attributes:
        waveform: (samples,) float32; None until it is sounded.
    """

    utterance: Utterance
    seed: int
    written: Written
    finding: Finding | None = None
    waveform: np.ndarray | None = None


# From utterances, a seed for each, and a watch for each or none, to their tokens.
Write = Callable[[Sequence[Utterance], Sequence[int], Sequence[Watch] | None], list[Written]]
# Gives those tries a waveform that have none; each is handed on in the work that sounded it, and
# perhaps two of them at the same time.
Sound = Callable[[Sequence[Try], Callable[[Try], None]], None]
# Takes a finished piece, in the same work.
Finish = Callable[[Utterance, Spoken], None]


def speak_unguarded(
    utterances: Sequence[Utterance], write: Write, sound: Sound, finish: Finish
) -> None:
    """Speak once, whatever comes of it."""
    seeds = [utterance.seed for utterance in utterances]
    tries = [
        Try(utterance, seed, written)
        for utterance, seed, written in zip(
            utterances, seeds, write(utterances, seeds, None), strict=True
        )
        if utterance.is_needed
    ]
    _refuse_silence(tries, len(utterances))

    def as_it_is(one: Try) -> None:
        outcome = _outcome(one, one.written.audible, "", 1)
        finish(one.utterance, Spoken(one.waveform, one.written, outcome))

    sound(tries, as_it_is)


def speak_guarded(
    utterances: Sequence[Utterance],
    write: Write,
    sound: Sound,
    finish: Finish,
    sample_rate: int,
    seconds_per_letter: float,
) -> None:
    """Speak; what has something wrong with it again, together, up to `MOST_TRIES` times.

    What is well is finished at once, before others are sounded.
    """
    bounds = {one.number: plausible(one.read, seconds_per_letter) for one in utterances}
    tries: dict[int, list[Try]] = {one.number: [] for one in utterances}

    def listen(one: Try) -> None:
        one.finding = judge_audio(one.waveform, sample_rate)
        if one.finding is None:
            keep(one)

    def keep(one: Try) -> None:
        number = one.utterance.number
        finish(one.utterance, _finished(one, len(tries[number]), bounds[number], sample_rate))

    pending, hopeless = list(utterances), []
    for number in range(MOST_TRIES):
        seeds = [seed_of_try(one.seed, number) for one in pending]
        watches = [Watch(bounds[one.number]) for one in pending]
        latest = [
            Try(one, seed, written, judge_written(written, bounds[one.number]))
            for one, seed, written in zip(
                pending, seeds, write(pending, seeds, watches), strict=True
            )
            if one.is_needed
        ]
        for one in latest:
            tries[one.utterance.number].append(one)
        sound([one for one in latest if one.finding is None], listen)
        found = [one for one in latest if one.finding is not None]
        pending = [one.utterance for one in found if not one.finding.is_final]
        hopeless += [one.utterance for one in found if one.finding.is_final]
        if not pending:
            break
    kept = [min(tries[one.number], key=_badness) for one in [*hopeless, *pending]]
    _refuse_silence(kept, len(utterances))
    sound(kept, keep)


def _refuse_silence(tries: Sequence[Try], together: int) -> None:
    for one in tries:
        if not one.written.audible:
            which = f" for {one.utterance.text[:40]!r}" if together > 1 else ""
            raise TextError(
                f"the model wrote {one.written.count} speech tokens{which} and none that has a "
                "sound; try another seed or more max_new_tokens."
            )


def _badness(one: Try) -> float:
    return 0.0 if one.finding is None else one.finding.weight


def judge_written(written: Written, bounds: Plausible) -> Finding | None:
    """What is wrong with the tokens of a try; what a watch ended is never well."""
    is_cut_off = written.is_cut_off and not written.was_ended
    own_limit = written.count if written.ran_on else None
    finding = judge_tokens(written.audible, bounds, is_cut_off, own_limit)
    if finding is None and written.was_ended:
        return Finding("no end, and many tokens without a sound", 4.5)
    return finding


def _finished(best: Try, count: int, bounds: Plausible, sample_rate: int) -> Spoken:
    tokens, waveform, verdict = best.written.audible, best.waveform, ""
    if best.finding is not None:
        verdict, keep = best.finding.reason, best.finding.keep
        # What takes longer than the model can speak is not babble: all of it is kept.
        ran_on = best.written.ran_on and bounds.usual < best.written.count
        if keep is None and (best.written.was_ended or ran_on):
            keep = quiet_end(waveform, sample_rate, bounds)
        if keep is not None and keep < len(tokens):
            tokens, waveform = tokens[:keep], cut(waveform, sample_rate, keep)
    return Spoken(waveform, best.written, _outcome(best, tokens, verdict, count))


def _outcome(one: Try, tokens: Sequence[int], verdict: str, count: int) -> Outcome:
    written, unread = one.written, one.utterance.unread
    return Outcome(tuple(tokens), verdict, count, one.seed, written.stopped, unread)
