"""The five measurements of `benchmarks.company`, as seconds of each round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median

import mlx_chatterbox  # noqa: F401  (before mlx.core)

# isort: split
import mlx.core as mx

from mlx_chatterbox.doctor.timing import finish
from mlx_chatterbox.models.decoder.engine import DecodingEngine, prefill, stepper_of
from mlx_chatterbox.models.decoder.native_stepper import NativeStepper
from mlx_chatterbox.models.s3gen.batch import speech_of
from mlx_chatterbox.runtime.parallel import run_all

from .company_model import VOICES, CompanyModel, check_rows, check_running

COUNTS = tuple(range(1, 17))
# Product rows of a full step; a sentence with guidance has two.
FULL = 16
# Steps in which a prefill may show: a queued one shows in the next.
_AFTER_JOINING = 3


@dataclass(frozen=True)
class Amount:
    """How much is measured.

    Attributes:
        rounds: turns that are counted; one before them is not.
        steps: of T3, timed in a turn.
        counts: numbers of sentences of the first table.
        modes: those of the third.
        together: those of the last.
        cfm_steps: of the flow; None: the model's own.
    """

    rounds: int = 3
    steps: int = 8
    counts: tuple[int, ...] = COUNTS
    modes: tuple[int, ...] = (1, 4, 8)
    together: tuple[int, ...] = (2, 4, 8)
    cfm_steps: int | None = None


SHORT = Amount(
    rounds=1, steps=4, counts=(1, 2, 4, 8, 16), modes=(4,), together=(2,), cfm_steps=1
)  # fmt: skip


def step_seconds(engine: DecodingEngine, steps: int) -> list[float]:
    """Seconds of each of some steps of an engine."""
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        engine.step()
        seconds.append(time.perf_counter() - started)
    return seconds


def in_turns(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, a first one not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            taken = way()
            if number:
                seconds[name].append(taken)
    return seconds


def _timed(work: Callable[[], object]) -> float:
    """Seconds of work, until the device has computed what it returns."""
    finish()
    started = time.perf_counter()
    finish(work())
    return time.perf_counter() - started


def steps_by_count(model: CompanyModel, amount: Amount) -> dict[int, list[float]]:
    """Seconds of a step by the number of sentences: one joins after the other."""
    seconds: dict[int, list[float]] = {count: [] for count in amount.counts}
    for number in range(amount.rounds + 1):
        engine = _room_for(model, max(amount.counts))
        for count in range(1, max(amount.counts) + 1):
            engine.join(model.request(count - 1, 1))
            for _ in range(_AFTER_JOINING):
                engine.step()
            if count in amount.counts:
                taken = median(step_seconds(engine, amount.steps))
                check_running(engine, count)
                if number:
                    seconds[count].append(taken)
    return seconds


def _room_for(model: CompanyModel, sentences: int) -> DecodingEngine:
    return DecodingEngine(model.t3, rows=sentences)


def voices_apart(model: CompanyModel, amount: Amount) -> dict[int, dict[str, list[float]]]:
    """Seconds of a full step, with all sentences in one voice and in four, by their number."""
    sentences = FULL // model.rows_of_sentence
    engines = {
        "one voice": partial(model.engine, sentences, 1),
        f"{VOICES} voices": partial(model.engine, sentences, VOICES),
    }
    return {sentences: _compared_steps(engines, amount)}


def modes_apart(model: CompanyModel, amount: Amount) -> dict[int, dict[str, list[float]]]:
    """A step's seconds in both modes, by the number of sentences; none where they are one."""
    if isinstance(stepper_of(model.t3, "fast", FULL), NativeStepper):
        return {}
    return {
        sentences: _compared_steps(
            {
                mode: partial(model.engine, sentences, 1, mode=mode)
                for mode in ("fast", "invariant")
            },
            amount,
        )
        for sentences in amount.modes
    }


def _compared_steps(engines: Mapping[str, Callable], amount: Amount) -> dict[str, list[float]]:
    made = {name: make() for name, make in engines.items()}
    counts = {name: len(engine.running) for name, engine in made.items()}

    def step(name: str) -> float:
        taken = median(step_seconds(made[name], amount.steps))
        check_running(made[name], counts[name])
        return taken

    return in_turns({name: partial(step, name) for name in made}, amount.rounds)


def joining(model: CompanyModel, amount: Amount) -> dict[str, list[float]]:
    """Seconds of a usual step, of a prefill by itself, and of the longest step as one joins."""
    others = FULL // model.rows_of_sentence - 1
    engine = _room_for(model, others + 1)
    for number in range(others):
        engine.join(model.request(number, VOICES))
    for _ in range(others + _AFTER_JOINING):
        engine.step()
    seconds: dict[str, list[float]] = {"step": [], "prefill": [], "longest": []}

    def prefilled(number: int):
        logits, _, past = prefill(model.t3, model.request(number, VOICES))
        return [logits, *past.keys, *past.values]

    for number in range(amount.rounds + 1):
        usual = median(step_seconds(engine, amount.steps))
        alone = _timed(partial(prefilled, others + number))
        row = engine.join(model.request(others + number, VOICES))
        longest = max(step_seconds(engine, _AFTER_JOINING))
        check_rows([row, *engine.running])
        engine.leave(row)
        step_seconds(engine, 2)
        if number:
            for name, taken in (("step", usual), ("prefill", alone), ("longest", longest)):
                seconds[name].append(taken)
    return seconds


def vocoding(model: CompanyModel, amount: Amount) -> dict[int, dict[str, list[float]]]:
    """S3Gen's seconds for sentences one by one and together, by their number.

    As `generate_batch` computes them: on two or three cores, each call has one of them.
    """
    steps = amount.cfm_steps or model.config.generation.cfm_steps
    return {
        count: in_turns(_vocoding_ways(model, count, steps), amount.rounds)
        for count in amount.together
    }


def _vocoding_ways(model: CompanyModel, count: int, steps: int) -> dict[str, Callable[[], float]]:
    tokens, references = model.sentences(count)
    keys = [mx.random.key(i) for i in range(count)]
    mx.eval(keys)

    def alone(i: int) -> None:
        mx.eval(model.s3gen(tokens[i], references[i], key=keys[i], n_timesteps=steps))

    def together() -> None:
        mx.eval(speech_of(model.s3gen, tokens, references, keys, steps))

    singles = [partial(alone, i) for i in range(count)]
    return {
        "one by one": partial(_timed, lambda: run_all(singles)),
        "together": partial(_timed, lambda: run_all([together])),
    }
