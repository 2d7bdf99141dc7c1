"""Numbers of positions of a block that are decided at each step: a fixed table.

Upstream decides positions whose score reaches a quantile of the scores. How many of some numbers
reach their quantile does not depend on the numbers, so the table is known before the block begins.
"""

from __future__ import annotations

import math
from functools import lru_cache

from .settings import FlashSampling


def scheduled(length: int, steps: int, shift: float) -> list[int]:
    """Positions that each of `steps` steps decides at least; together they are `length`.

    Args:
        shift: over 0: after a part s of the steps, `shift * s / (1 + (shift - 1) * s)` of the
            positions are decided, rounded to the nearest, and halves to even; otherwise the same
            number at each step, and the rest at the last.
    """
    if shift > 0:
        parts = [j / steps for j in range(steps)]
        decided = [round(length * shift * s / (1.0 + (shift - 1.0) * s)) for s in parts]
    else:
        decided = [j * (length // steps) for j in range(steps)]
    return [after - before for before, after in zip(decided, [*decided[1:], length], strict=True)]


def reaching_quantile(masked: int, step: int, steps: int, tau: float) -> int:
    """The number of `masked` scores that reach the quantile of a step: those decided early."""
    if tau <= 0 or masked == 0:
        return 0
    quantile = max(0.0, 1.0 - tau * (step + 1) / steps)
    # As much as what rounding can take from a whole number.
    return math.floor((masked - 1) * (1.0 - quantile) + 1e-9) + 1


@lru_cache(maxsize=1024)
def table(length: int, sampling: FlashSampling) -> tuple[int, ...]:
    """Positions that each step of a block decides, until all are.

    A step can decide none; then its pass can be left out, since nothing comes of it.
    """
    steps, counts, masked = sampling.num_steps, [], length
    planned = scheduled(length, steps, sampling.schedule_t_shift)
    for step, least in enumerate(planned):
        early = reaching_quantile(masked, step, steps, sampling.time_shift_tau)
        count = masked if step == steps - 1 else min(max(least, early), masked)
        counts.append(count)
        masked -= count
        if not masked:
            break
    return tuple(counts)
