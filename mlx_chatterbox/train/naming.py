"""Names of logged metrics, and means of their sums."""

from __future__ import annotations

from collections import Counter


def metrics_by_name(stage: str, losses: dict[str, dict[str, float]]) -> dict[str, float]:
    """Name losses as TTSTune's guide does: `train_loss`, `train_speech_loss`, ...

    With several tasks `train_loss` is the sum of their losses, and each task's own loss has the
    task's name in it; so has a part that several tasks have.

    Args:
        stage: "train" or "eval".
        losses: loss, parts and metrics by task.
    """
    counts = Counter(part for parts in losses.values() for part in parts)
    values = {}
    if all("loss" in parts for parts in losses.values()):
        values[f"{stage}_loss"] = sum(parts["loss"] for parts in losses.values())
    for name, parts in losses.items():
        if len(losses) > 1 and "loss" in parts:
            values[f"{stage}_{name}_loss"] = parts["loss"]
        for part, value in parts.items():
            if part not in ("loss", "gradient_norm", "skipped"):
                part = part if counts[part] == 1 else f"{name}_{part}"
                values[f"{stage}_{_loss_name(part)}"] = value
    return values


def below(name: str, values: dict[str, float]) -> dict[str, float]:
    """Select a task's values, without the task's name in front."""
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def means(sums: dict[str, float]) -> dict[str, float]:
    """Turn sums over steps into means: losses over finite steps, norms over updates made."""
    finite, updates = sums.pop("finite", 0.0), sums.pop("updates", 0.0)
    averages = {"skipped": sums.pop("skipped")} if "skipped" in sums else {}
    if "gradient_norm" in sums:
        averages["gradient_norm"] = sums.pop("gradient_norm") / updates
    return {**averages, **{name: value / finite for name, value in sums.items()}}


def _loss_name(part: str) -> str:
    return part if part.endswith(("loss", "accuracy")) else f"{part}_loss"
