"""Names of what is logged, and means of what was added up."""

from __future__ import annotations

from collections import Counter


def metrics_by_name(when: str, found: dict[str, dict[str, float]]) -> dict[str, float]:
    """Losses under the names of the guide: `train_loss`, `train_speech_loss`, ...

    With several tasks the loss of each has its name in it, and `train_loss` is their sum; a
    part that several have, too.
    """
    counts = Counter(part for parts in found.values() for part in parts)
    values = {}
    if all("loss" in parts for parts in found.values()):
        values[f"{when}_loss"] = sum(parts["loss"] for parts in found.values())
    for name, parts in found.items():
        if len(found) > 1 and "loss" in parts:
            values[f"{when}_{name}_loss"] = parts["loss"]
        for part, value in parts.items():
            if part not in ("loss", "gradient_norm", "skipped"):
                part = part if counts[part] == 1 else f"{name}_{part}"
                values[f"{when}_{_loss_name(part)}"] = value
    return values


def below(name: str, values: dict[str, float]) -> dict[str, float]:
    """A task's values among those of all."""
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def means(sums: dict[str, float]) -> dict[str, float]:
    """Sums over steps to means: losses over the finite ones, norms over the updates made."""
    finite, updates = sums.pop("finite", 0.0), sums.pop("updates", 0.0)
    found = {"skipped": sums.pop("skipped")} if "skipped" in sums else {}
    if "gradient_norm" in sums:
        found["gradient_norm"] = sums.pop("gradient_norm") / updates
    return {**found, **{name: value / finite for name, value in sums.items()}}


def _loss_name(part: str) -> str:
    return part if part.endswith(("loss", "accuracy")) else f"{part}_loss"
