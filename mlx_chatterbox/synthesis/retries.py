"""Attempts at utterances: once, and again where a guard finds something wrong (`monitor.py`).

Each further attempt has a seed of its own, derived from the first one's, so that the same call
gives the same audio. If all attempts have a finding the least bad one is kept, without its
worthless part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ..errors import TextError, errors_about
from .assembling import FinishedPiece, TextAssembler
from .monitor import (
    Finding,
    Plausible,
    TokenMonitor,
    cut,
    judge_audio,
    judge_decoded,
    plausible,
    quiet_end,
)
from .request import Utterance
from .result import Outcome
from .synthesizer import Attempt, BatchSynthesizer

MAX_ATTEMPTS = 3


class RetryLoop:
    """Speaks utterances together, and those with a finding again.

    An utterance without a finding is finished at once, before others are vocoded. One that is not
    guarded has one attempt, which is kept.

    Args:
        synthesizer: decodes and vocodes.
        assembler: takes each utterance that is finished or failed, perhaps two at the same time.
        sample_rate, seconds_per_letter: the model's.
        together: most utterances that are decoded at a time.
    """

    def __init__(
        self,
        synthesizer: BatchSynthesizer,
        assembler: TextAssembler,
        sample_rate: int,
        seconds_per_letter: float,
        together: int = 1,
    ):
        self._synthesizer, self._assembler = synthesizer, assembler
        self._sample_rate, self._seconds_per_letter = sample_rate, seconds_per_letter
        self._together = together
        self._attempts: dict[int, list[Attempt]] = {}
        self._is_one = True

    def run(self, utterances: Sequence[Utterance]) -> None:
        """Attempt, judge, attempt again, up to `MAX_ATTEMPTS` times.

        Raises:
            TextError: the model decoded nothing that has a sound; some may be finished by then.
        """
        self._attempts = {one.number: [] for one in utterances}
        self._is_one = len(utterances) == 1
        pending, hopeless = list(utterances), list[Utterance]()
        for number in range(MAX_ATTEMPTS):
            attempts = self._attempt(pending, number)
            pending = []
            for one in attempts:
                if one.finding is not None:
                    (hopeless if one.finding.is_final else pending).append(one.utterance)
            if not pending:
                break
        kept = [min(self._attempts[one.number], key=_badness) for one in [*hopeless, *pending]]
        self._refuse_silence(kept)
        self._synthesizer.vocode(kept, self._finish)

    def _attempt(self, utterances: Sequence[Utterance], number: int) -> list[Attempt]:
        """Attempt number 0, 1, ... at each: those whose tokens are plausible are vocoded.

        Returns:
            All attempts, in the order of the utterances.
        """
        seeds = [attempt_seed(one.seed, number) for one in utterances]
        monitors = [
            TokenMonitor(self._bounds(one)) if one.settings.guard else None for one in utterances
        ]
        attempts: dict[int, Attempt] = {}
        plausible_ones: list[tuple[int, Attempt]] = []
        decoding = self._synthesizer.decode_tokens(utterances, seeds, monitors, self._together)
        for index, decoded in decoding:
            if isinstance(decoded, Exception):
                self._assembler.fail(utterances[index], decoded)
                continue
            attempt = attempts[index] = Attempt(utterances[index], seeds[index], decoded)
            self._judge(attempt)
            if attempt.finding is None:
                plausible_ones.append((index, attempt))
            # Not one by one: two cores share several better.
            if len(plausible_ones) >= self._together and len(attempts) < len(utterances):
                self._vocode(plausible_ones)
                plausible_ones = []
        self._vocode(plausible_ones)
        return [attempts[index] for index in sorted(attempts)]

    def _judge(self, attempt: Attempt) -> None:
        """Judge the tokens of an attempt, if its utterance is guarded."""
        utterance = attempt.utterance
        self._attempts[utterance.number].append(attempt)
        if utterance.settings.guard:
            attempt.finding = judge_decoded(attempt.decoded, self._bounds(utterance))
        else:
            self._refuse_silence([attempt])

    def _vocode(self, attempts: list[tuple[int, Attempt]]) -> None:
        in_order = [attempt for _, attempt in sorted(attempts, key=lambda one: one[0])]
        self._synthesizer.vocode(in_order, self._finish_if_well)

    def _finish_if_well(self, attempt: Attempt) -> None:
        """Judge the audio of an attempt, and finish it if there is no finding."""
        if attempt.utterance.settings.guard:
            attempt.finding = judge_audio(attempt.vocoded, self._sample_rate)
        if attempt.finding is None:
            self._finish(attempt)

    def _finish(self, attempt: Attempt) -> None:
        tokens, waveform, verdict = attempt.decoded.audible, attempt.vocoded, ""
        if attempt.finding is not None:
            verdict = attempt.finding.reason
            keep = self._worth_keeping(attempt, attempt.finding)
            if keep is not None and keep < len(tokens):
                tokens, waveform = tokens[:keep], cut(waveform, self._sample_rate, keep)
        utterance = attempt.utterance
        outcome = Outcome(
            tuple(tokens),
            verdict,
            len(self._attempts[utterance.number]),
            attempt.seed,
            attempt.decoded.stopped,
            utterance.piece.unread,
        )
        attempt.waveform = None  # or it stays in memory until all are finished
        self._assembler.add(utterance, FinishedPiece(waveform, attempt.decoded, outcome))

    def _worth_keeping(self, attempt: Attempt, finding: Finding) -> int | None:
        """The number of tokens to keep of an attempt with a finding; None: all."""
        decoded, bounds = attempt.decoded, self._bounds(attempt.utterance)
        # A text that takes longer than the model can speak is not babble: all of it is kept.
        ran_on = decoded.ran_on and bounds.usual < decoded.count
        keep = finding.keep_tokens
        if keep is None and (decoded.was_ended or ran_on):
            return quiet_end(attempt.vocoded, self._sample_rate, bounds)
        return keep

    def _bounds(self, utterance: Utterance) -> Plausible:
        return plausible(utterance.piece.read, self._seconds_per_letter)

    def _refuse_silence(self, attempts: Sequence[Attempt]) -> None:
        for one in attempts:
            if not one.decoded.audible:
                text = one.utterance.piece.text
                which = "" if self._is_one else f" for {text[:40]!r}"
                with errors_about(one.utterance.name):
                    raise TextError(
                        f"the model wrote {one.decoded.count} speech tokens{which} and none that "
                        "has a sound; try another seed or more max_new_tokens."
                    )


def attempt_seed(seed: int, number: int) -> int:
    """The seed of attempt 0, 1, ...: the first is `seed`; the others are derived from it.

    They are far from the seeds of other sentences, which are often consecutive numbers.
    """
    if number == 0:
        return seed
    digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _badness(attempt: Attempt) -> float:
    return 0.0 if attempt.finding is None else attempt.finding.weight
