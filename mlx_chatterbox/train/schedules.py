"""Learning rate schedules: those of Transformers, by their names and formulas.

Each gives a factor of the learning rate for the next update, by its step counted from 0. The
formulas are those of `transformers.optimization`. Nothing here imports MLX.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from .config_options import MAX_REAL, nearest

# Each schedule's own settings and their defaults; None: computed from the length of the run.
SCHEDULES: dict[str, dict[str, Any]] = {
    "linear": {},
    "cosine": {"num_cycles": 0.5},
    "cosine_with_restarts": {"num_cycles": 1},
    "cosine_with_min_lr": {"num_cycles": 0.5, "min_lr": None, "min_lr_rate": None},
    "cosine_warmup_with_min_lr": {
        "num_cycles": 0.5,
        "min_lr": None,
        "min_lr_rate": None,
        "warmup_lr_rate": None,
    },
    "polynomial": {"lr_end": 1e-7, "power": 1.0},
    "constant": {},
    "constant_with_warmup": {},
    "inverse_sqrt": {"timescale": None},
    "warmup_stable_decay": {
        "num_decay_steps": None,
        "num_stable_steps": None,
        "warmup_type": "linear",
        "decay_type": "cosine",
        "min_lr_ratio": 0.0,
        "num_cycles": 0.5,
    },
}
_SHAPES = ("linear", "cosine", "1-sqrt")
# Share of all steps in which the rate falls; Transformers requires the setting.
_DECAY_SHARE = 0.1

Factor = Callable[[int], float]


def warmup_length(total_steps: int, warmup_steps: int = 0, warmup_ratio: float = 0.0) -> int:
    """Steps of warm-up: their number, or else a share of the run, rounded up."""
    return warmup_steps if warmup_steps else math.ceil(warmup_ratio * total_steps)


def steps_of(value: float, total_steps: int) -> int:
    """A number of steps, or a share of all (below 1), rounded up."""
    return int(value) if value >= 1 else share(value, total_steps)


def share(part: float, steps: int) -> int:
    """Share of a number of steps, rounded up; 1.1 of 10 are 11, despite float rounding."""
    return math.ceil(round(part * steps, 6))


def is_due(strategy: str, every: int, step: int, ends_epoch: bool, last: bool) -> bool:
    """True if it is time to log, evaluate or save; the end of the run is handled elsewhere."""
    if last or strategy == "no":
        return False
    return ends_epoch if strategy == "epoch" else step % every == 0


def check_settings(kind: str, settings: Mapping[str, Any], learning_rate: float) -> None:
    """Refuse settings that a schedule does not have, or values that it cannot use.

    Raises:
        ValueError: another kind, an unknown setting, a value of the wrong kind.
    """
    if kind not in SCHEDULES:
        raise ValueError(f"unknown schedule {kind!r}; known are {', '.join(SCHEDULES)}.")
    known = SCHEDULES[kind]
    for name, value in settings.items():
        if name not in known:
            hint = nearest(name, known) if known else "it has none."
            raise ValueError(f"{kind} has no setting {name}; {hint}")
        if name in ("warmup_type", "decay_type"):
            if value not in _SHAPES:
                raise ValueError(f"{name} must be {', '.join(_SHAPES)}, not {value}.")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} must be a number, not {value}.")
        elif value != value or value > MAX_REAL:
            raise ValueError(f"{name} must be at most {MAX_REAL:g}.")
        elif value < 0 or (value == 0 and name in ("timescale", "power", "num_cycles")):
            raise ValueError(f"{name} must be {'at least' if value else 'more than'} 0.")
    if "min_lr" in known and len({"min_lr", "min_lr_rate"} & settings.keys()) != 1:
        raise ValueError(
            f"{kind} needs one of min_lr (a learning rate) and min_lr_rate (a share of the "
            "highest): lr_scheduler_kwargs: {min_lr_rate: 0.1}."
        )
    end = settings.get("lr_end", known.get("lr_end", 0.0))
    if end >= learning_rate:
        raise ValueError(f"lr_end {end:g} must be less than learning_rate {learning_rate:g}.")


def schedule(
    kind: str,
    total_steps: int,
    warmup: int,
    learning_rate: float = 1.0,
    settings: Mapping[str, Any] | None = None,
) -> Factor:
    """Return the function from a step to the factor of the learning rate.

    It rises linearly from 0 over `warmup` steps, then follows its kind. "constant" has no warm-up.

    Args:
        kind: a key of `SCHEDULES`.
        learning_rate: the highest, to which `min_lr` and `lr_end` are related.
        settings: the schedule's own settings, as in `SCHEDULES`.

    Raises:
        ValueError: see `check_settings`.
    """
    settings = settings or {}
    check_settings(kind, settings, learning_rate)
    if kind == "constant":
        return lambda step: 1.0
    own = {**SCHEDULES[kind], **settings}
    if own.get("min_lr") is not None:
        own["min_lr_rate"] = own["min_lr"] / learning_rate
    if kind == "warmup_stable_decay":
        return _stable(total_steps, warmup, own)
    if kind == "cosine_warmup_with_min_lr":
        return _late_cosine(total_steps, warmup, own)
    after = _AFTER[kind](total_steps, warmup, learning_rate, own)

    def factor(step: int) -> float:
        return step / max(1, warmup) if step < warmup else after(step)

    return factor


# --- After the warm-up: factors by step ----------------------------------------------------------


def _linear(total: int, warmup: int, rate: float, own: Mapping) -> Factor:
    return lambda step: 1.0 - min(1.0, (step - warmup) / max(1, total - warmup))


def _cosine(total: int, warmup: int, rate: float, own: Mapping) -> Factor:
    least = own.get("min_lr_rate") or 0.0

    def factor(step: int) -> float:
        progress = (step - warmup) / max(1, total - warmup)
        # Further steps of a half wave would rise again.
        if own["num_cycles"] == 0.5:
            progress = min(1.0, progress)
        return max(0.0, _wave(2 * own["num_cycles"] * progress) * (1.0 - least) + least)

    return factor


def _restarts(total: int, warmup: int, rate: float, own: Mapping) -> Factor:
    def factor(step: int) -> float:
        progress = (step - warmup) / max(1, total - warmup)
        return 0.0 if progress >= 1.0 else _wave((own["num_cycles"] * progress) % 1.0)

    return factor


def _polynomial(total: int, warmup: int, rate: float, own: Mapping) -> Factor:
    def factor(step: int) -> float:
        left = 1.0 - min(1.0, (step - warmup) / max(1, total - warmup))
        return ((rate - own["lr_end"]) * left ** own["power"] + own["lr_end"]) / rate

    return factor


def _inverse_sqrt(total: int, warmup: int, rate: float, own: Mapping) -> Factor:
    timescale = own["timescale"] or warmup or 10_000
    return lambda step: math.sqrt(timescale / (step + timescale - warmup))


def _wave(half_waves: float) -> float:
    """Cosine between 0 and 1: 1 at 0, 0 at 1, and 1 again at 2."""
    return 0.5 * (1.0 + math.cos(math.pi * half_waves))


_AFTER = {
    "linear": _linear,
    "cosine": _cosine,
    "cosine_with_min_lr": _cosine,
    "cosine_with_restarts": _restarts,
    "polynomial": _polynomial,
    "constant_with_warmup": lambda total, warmup, rate, own: lambda step: 1.0,
    "inverse_sqrt": _inverse_sqrt,
}


# --- Schedules with their own warm-up ------------------------------------------------------------


def _late_cosine(total: int, warmup: int, own: Mapping) -> Factor:
    """Cosine that is one step ahead, with a warm-up that begins above 0."""
    least, first = own["min_lr_rate"], own["warmup_lr_rate"]

    def factor(step: int) -> float:
        if step < warmup:
            if first is None:
                return (step + 1.0) / max(1.0, warmup)
            return first + (1.0 - first) * step / max(1, warmup - 1)
        progress = (step - warmup + 1.0) / max(1.0, total - warmup)
        return max(0.0, _wave(2 * own["num_cycles"] * progress) * (1.0 - least) + least)

    return factor


def _stable(total: int, warmup: int, own: Mapping) -> Factor:
    """Rises, stays, and falls in the last steps."""
    least = own["min_lr_ratio"]
    decay = own["num_decay_steps"]
    decay = math.ceil(_DECAY_SHARE * total) if decay is None else decay
    stable = own["num_stable_steps"]
    stable = total - warmup - decay if stable is None else stable
    rising = {
        "linear": lambda x: x,
        "cosine": lambda x: 1.0 - _wave(x),
        "1-sqrt": lambda x: 1.0 - math.sqrt(1.0 - x),
    }[own["warmup_type"]]
    falling = {
        "linear": lambda x: 1.0 - x,
        "cosine": lambda x: _wave(2 * own["num_cycles"] * x),
        "1-sqrt": lambda x: 1.0 - math.sqrt(x),
    }[own["decay_type"]]

    def factor(step: int) -> float:
        if step < warmup:
            return max(0.0, rising(step / max(1, warmup)) * (1.0 - least) + least)
        if step < warmup + stable:
            return 1.0
        if step < warmup + stable + decay:
            progress = (step - warmup - stable) / max(1, decay)
            return max(0.0, falling(progress) * (1.0 - least) + least)
        return least

    return factor
