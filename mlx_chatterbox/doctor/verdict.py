"""Conclusions from the figures: the best precision here, and the speed of each model."""

from __future__ import annotations

from dataclasses import dataclass, field

from .examination import Examination, S3GenSpeed, T3Speed
from .findings import FAILED, number, shown
from .made_up import bits_of

TITLE = "Verdict"
# The model of which a variant's two parts are measured.
T3_OF = {
    "english": "english",
    "multilingual": "english",
    "turbo": "turbo",
    "nano": "nano",
    "flash": "flash",
    "pocket": "pocket",
}
S3GEN_OF = {
    "english": "english",
    "multilingual": "english",
    "turbo": "turbo",
    "nano": "turbo",
    "flash": "turbo",
    "pocket": "pocket",
}
# From the most exact to the least.
ORDER = ("float32", "float16", "bfloat16", "8bit", "4bit")
TOKENS_PER_SECOND = 25
# A coarser precision must be faster by this factor to be worth it.
_WORTH = 1.1


@dataclass(frozen=True)
class Expected:
    """An estimate: seconds of work for a second of speech; below 1 it is faster than real time.

    Attributes:
        source: the figures it was computed from.
    """

    variant: str
    precision: str
    factor: float
    source: str


@dataclass
class MachineVerdict:
    """The conclusions that a user wants to read.

    Attributes:
        best: variant -> the best precision that was measured.
        sentences: for people.
        failed: titles of what failed, with the reason.
    """

    best: dict[str, str] = field(default_factory=dict)
    expected: list[Expected] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def real_time_factor(t3: T3Speed, s3gen: S3GenSpeed) -> float:
    """Seconds of work for each second of one sentence: T3 decodes it, S3Gen vocodes it.

    Text, voice and watermark are left out.
    """
    tokens = round(s3gen.of_speech * TOKENS_PER_SECOND)
    # The first tokens come with the reading of the text; the stop token is one more.
    seconds = t3.first + (tokens + 1 - t3.together) * t3.token + s3gen.seconds
    return seconds / s3gen.of_speech


def best_of(factors: dict[str, float]) -> str:
    """The most exact precision that no other beats by a tenth.

    Raises:
        ValueError: nothing was measured.
    """
    fastest = min(factors.values())
    return next(p for p in ORDER if p in factors and factors[p] <= _WORTH * fastest)


def estimates(exam: Examination) -> list[Expected]:
    """For each variant every precision of which both parts were measured."""
    expected = []
    for variant, t3_of in T3_OF.items():
        for precision in ORDER:
            t3 = exam.t3.get((t3_of, precision))
            picked = _s3gen_for(exam, S3GEN_OF[variant], precision)
            if t3 is None or picked is None:
                continue
            dtype, s3gen = picked
            about = "one step of the flow, multiplied" if s3gen.is_extrapolated else "whole"
            source = (
                f"T3 {number(1000 * t3.token)} ms a token ({t3.tokens} timed), first "
                f"{number(1000 * t3.first)} ms; S3Gen in {dtype} {number(s3gen.seconds)} s for "
                f"{s3gen.of_speech:.0f} s ({about})"
            )
            expected.append(Expected(variant, precision, real_time_factor(t3, s3gen), source))
    return expected


def _s3gen_for(exam: Examination, variant: str, precision: str) -> tuple[str, S3GenSpeed] | None:
    """S3Gen's type beside a T3 of that precision: its own, else the nearest that was measured."""
    wanted = "float32" if precision == "float32" else "float16"
    for dtype in (wanted, "float32"):
        if (variant, dtype) in exam.s3gen:
            return dtype, exam.s3gen[variant, dtype]
    return None


def judge(exam: Examination) -> MachineVerdict:
    """Put all findings together."""
    verdict = MachineVerdict(expected=estimates(exam))
    for section in exam.sections:
        for line in section.of_state(FAILED):
            value = "" if line.value is None else f": {shown(line.value, line.unit)}"
            note = f" ({line.note})" if line.note else ""
            verdict.failed.append(f"{section.title}: {line.title}{value}{note}")
    by_variant: dict[str, dict[str, float]] = {}
    for one in verdict.expected:
        by_variant.setdefault(one.variant, {})[one.precision] = one.factor
    verdict.best = {variant: best_of(factors) for variant, factors in by_variant.items()}
    verdict.sentences = [
        *_on_precision(verdict.best, by_variant),
        *_on_speed(verdict.best, by_variant),
        *_on_numbers(exam),
        _on_failures(verdict.failed),
    ]
    return verdict


def _on_precision(best: dict[str, str], factors: dict[str, dict[str, float]]) -> list[str]:
    full = "english" if "english" in best else next(iter(best), None)
    if full is None:
        return ["No precision can be recommended: none was measured."]
    precision = best[full]
    others = {p: f for p, f in factors[full].items() if p != precision}
    beside = ", ".join(f"{p} {f:.2g}" for p, f in others.items())
    compared = (
        f"real-time factor of {full} {factors[full][precision]:.2g}; {beside}"
        if beside
        else "the only one that was measured"
    )
    if bits_of(precision):
        how = f"`mlx-chatterbox-convert --quantize {bits_of(precision)}` makes such a model"
    else:
        how = f"`--dtype {precision}`"
    return [f"The best precision on this machine is {precision} ({compared}): {how}."]


def _on_speed(best: dict[str, str], factors: dict[str, dict[str, float]]) -> list[str]:
    fast = [v for v in best if factors[v][best[v]] <= 1.0]
    slow = [v for v in best if factors[v][best[v]] > 1.0]
    sentences = []
    if fast:
        sentences.append(f"Faster than real time, by estimate: {', '.join(fast)}.")
    if slow:
        sentences.append(f"Slower than real time, by estimate: {', '.join(slow)}.")
    missing = [variant for variant in T3_OF if variant not in best]
    if missing:
        sentences.append(f"Not estimated: {', '.join(missing)} (see what was left out or failed).")
    return sentences


def _on_numbers(exam: Examination) -> list[str]:
    if exam.has_tf32:
        return [
            "float32 products are rounded to ten bits (TF32): speech is as good, but seeds give "
            "other tokens than elsewhere. MLX_ENABLE_TF32=0 before Python starts turns it off."
        ]
    return []


def _on_failures(failed: list[str]) -> str:
    if not failed:
        return "Everything that was checked is right."
    return f"{len(failed)} check(s) failed: please post the text below as an issue."
