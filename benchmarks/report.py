"""Reports of a run, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median

from mlx_chatterbox.doctor.counts import flow_flops, t3_step_bytes, vocoder_flops

from .inputs import DECODED_TOKENS, NEW_TOKENS, REFERENCE_SECONDS, TEXT_TOKENS
from .measure import Measured
from .stages import ENGINES, STAGES, TITLES

VARIANT_TITLES = {"english": "English", "nano": "Nano"}


def in_units(seconds: float) -> str:
    """Seconds as text of three figures, in seconds or milliseconds."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"


def ratio(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Ours divided by theirs: of the medians, and the least and the most of paired runs.

    A peer may have fewer runs than ours.
    """
    each = [a / b for a, b in zip(ours, theirs, strict=False)]
    return median(ours) / median(theirs), min(each), max(each)


def table(measured: Measured, peers: list[str]) -> str:
    """Medians, and our time over the peers' with its range over the runs, as Markdown."""
    head = ["stage", "ours"]
    for peer in peers:
        head += [TITLES[peer], f"ours / {TITLES[peer]}"]
    rows = [head, ["---"] * len(head)]
    for stage, seconds in measured.seconds.items():
        row = [STAGES[stage].title, in_units(median(seconds["ours"]))]
        for peer in peers:
            if peer not in seconds:
                row += ["-", "-"]
                continue
            middle, least, most = ratio(seconds["ours"], seconds[peer])
            row += [in_units(median(seconds[peer])), f"{middle:.2f} ({least:.2f} to {most:.2f})"]
        rows.append(row)
    for variant, memory in measured.memory.items():
        rows.append(_memory_row(variant, memory, peers))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _memory_row(variant: str, memory: dict[str, int], peers: list[str]) -> list[str]:
    row = [f"peak memory, {VARIANT_TITLES[variant]}", f"{memory['ours'] / 1e9:.2f} GB"]
    for peer in peers:
        if peer not in memory:
            row += ["-", "-"]
            continue
        row += [f"{memory[peer] / 1e9:.2f} GB", f"{memory['ours'] / memory[peer]:.2f}"]
    return row


def work_of(config, steps: int) -> dict[str, tuple[str, int]]:
    """Stage -> the limit that it is held against and how much of it one run takes.

    Args:
        config: `ModelConfig` of the model that was timed, English.
        steps: of the flow.
    """
    prompt = REFERENCE_SECONDS * config.s3gen.input_frame_rate
    frames = NEW_TOKENS * config.s3gen.token_mel_ratio
    flow = flow_flops(config.s3gen, prompt, NEW_TOKENS, steps)
    vocoder = vocoder_flops(config.s3gen.hift, frames)
    # Speaker, prompt and emotion, text with its start and stop, two start tokens; and on the
    # average half of what is decoded.
    context = config.t3.perceiver_queries + 2 + TEXT_TOKENS + 2 + 2 + DECODED_TOKENS // 2

    def read(sentences: int) -> tuple[str, int]:
        nbytes = t3_step_bytes(config.t3, 2 * sentences, context, sentences)
        return "bytes_per_second", nbytes

    return {
        "t3_token": read(1),
        "t3_token_batch4": read(4),
        "t3_token_batch8": read(8),
        "flow": ("flops_per_second", flow),
        "vocoder": ("flops_per_second", vocoder),
        "s3gen": ("flops_per_second", flow + vocoder),
    }


def shares(measured: Measured, work: dict[str, tuple[str, int]]) -> dict[str, dict[str, float]]:
    """Stage -> engine -> the share of this machine's limit that its median time comes to."""
    shares_by_stage: dict[str, dict[str, float]] = {}
    for stage, (limit, amount) in work.items():
        if limit not in measured.limits:
            continue
        for engine, seconds in measured.seconds.get(stage, {}).items():
            reached = amount / median(seconds)
            shares_by_stage.setdefault(stage, {})[engine] = reached / measured.limits[limit]
    return shares_by_stage


def shares_text(measured: Measured, work: dict[str, tuple[str, int]]) -> str:
    """The shares as lines, after what they are shares of; nothing if no such stage was timed."""
    shares_by_stage = shares(measured, work)
    if not shares_by_stage:
        return ""
    lines = [
        f"This machine, measured through MLX in this run: reads "
        f"{measured.limits['bytes_per_second'] / 1e9:.1f} GB/s, multiplies float32 matrices at "
        f"{measured.limits['flops_per_second'] / 1e9:.0f} GFLOP/s. Of that:"
    ]
    for stage, by_engine in shares_by_stage.items():
        limit, amount = work[stage]
        what = f"{amount / 1e9:.3g} " + ("GB" if limit == "bytes_per_second" else "GFLOP")
        each = ", ".join(f"{TITLES[name]} {100 * share:.0f} %" for name, share in by_engine.items())
        lines.append(f"  {STAGES[stage].title} ({what}): {each}")
    return "\n".join(lines)


def summary(measured: Measured) -> dict:
    """The last line's object: medians in seconds, null where an engine did not run."""
    stages = {
        stage: {name: median(runs[name]) if name in runs else None for name in ENGINES}
        for stage, runs in measured.seconds.items()
    }
    memory = {
        variant: {name: peaks.get(name) for name in ENGINES}
        for variant, peaks in measured.memory.items()
    }
    return {"stages": stages, "memory_bytes": memory}


def full(measured: Measured, work: dict[str, tuple[str, int]]) -> dict:
    """Object for `--json`: the last line's, each run, the limits and the shares."""
    return {**summary(measured), **asdict(measured), "shares": shares(measured, work)}
