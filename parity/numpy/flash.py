"""Decoding of Chatterbox-Flash in plain NumPy, float64: schedule, scores, selection, ends.

Written from the definitions and without a line of `mlx_chatterbox`; what a position predicts comes
from a function, so that the rules can be held against any network, or against recorded logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LEAST_PROBABILITY = 1e-8
_TINY = 1e-10

# Takes the tokens of each block, of which the last is being decided; returns the logits (n, T, V)
# of the last, the row with text first, n being 1 without guidance.
Predict = Callable[[list[np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Rules:
    """Settings of decoding.

    Attributes:
        mask, stop: tokens.
        steps: K, at most.
        shift: of the schedule; 0 or less shares the positions out evenly.
        tau: of early decoding; 0 turns it off.
        weight: of guidance.
        prior: (V,) probabilities, or None: those of the block itself, at each step.
        exact: a block ends with its first stop token, as upstream has it, and positions before it
            that are still masked are lost; otherwise it goes on until these are decided.
    """

    mask: int
    stop: int
    steps: int = 10
    shift: float = 0.5
    tau: float = 0.0
    weight: float = 1.0
    prior: np.ndarray | None = None
    exact: bool = False


@dataclass(frozen=True)
class Step:
    """A step of a block: tokens before and after, (T,), the candidates and their scores."""

    block: int
    number: int
    before: np.ndarray
    candidates: np.ndarray
    scores: np.ndarray
    after: np.ndarray


def schedule(length: int, steps: int, shift: float) -> np.ndarray:
    """Positions to decide at each of `steps` steps, of a block of `length`."""
    if shift <= 0:
        targets = np.arange(steps + 1) * (length // steps)
    else:
        part = np.arange(steps + 1) / steps
        targets = np.rint(length * shift * part / (1 + (shift - 1) * part)).astype(int)
    targets[-1] = length
    return np.diff(targets)


def early(scores: np.ndarray, step: int, steps: int, tau: float) -> int:
    """The number of scores at or above the quantile that time shift sets for a step."""
    if tau <= 0:
        return 0
    quantile = max(0.0, 1 - tau * (step + 1) / steps)
    threshold = np.quantile(scores.astype(np.float32), np.float32(quantile))
    return int(np.count_nonzero(scores.astype(np.float32) >= threshold))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(..., V)."""
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def marginal(logits: np.ndarray) -> np.ndarray:
    """Mean probabilities over positions: (..., T, V) -> (..., V)."""
    return np.exp(log_softmax(logits)).mean(axis=-2)


def guided(logits: np.ndarray, weight: float) -> np.ndarray:
    """What tokens are drawn from: (n, T, V) -> (T, V), log probabilities that do not sum to one."""
    if len(logits) == 1:
        return logits[0].astype(np.float64)
    with_text, without = log_softmax(logits)
    return with_text + weight * (with_text - without)


def pmi(logits: np.ndarray, tokens: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Information between each position and its token: (T, V), (T,), (V,) -> (T,)."""
    own = np.exp(log_softmax(logits))[np.arange(len(tokens)), tokens]
    return np.log(np.maximum(own, LEAST_PROBABILITY)) - np.log(
        np.maximum(prior[tokens], LEAST_PROBABILITY)
    )


def scores(logits: np.ndarray, tokens: np.ndarray, rules: Rules) -> np.ndarray:
    """By which positions are selected: (n, T, V), (T,) -> (T,)."""
    priors = marginal(logits) if rules.prior is None else [rules.prior] * len(logits)
    rows = [pmi(row, tokens, prior) for row, prior in zip(logits, priors, strict=True)]
    if len(rows) == 1:
        return rows[0]
    return (1 + rules.weight) * rows[0] - rules.weight * rows[1]


def gumbel(uniform: np.ndarray) -> np.ndarray:
    """Noise of positions."""
    return -np.log(-np.log(uniform + _TINY) + _TINY)


def decode(
    predict: Predict,
    lengths: Sequence[int],
    rules: Rules,
    token_noise: Callable[[int, int], np.ndarray] | None = None,
    temperature: float = 0.0,
    position_noise: Callable[[int, int], np.ndarray] | None = None,
) -> tuple[np.ndarray, list[Step]]:
    """Decode blocks of these lengths, or fewer if there is a stop token.

    Args:
        token_noise: of a block and step, Gumbel noise (T, V), for a temperature over 0.
        position_noise: of a block and step, (T,), added to the scores.

    Returns:
        The tokens before the first stop token, and all steps.
    """
    tokens: list[int] = []
    steps: list[Step] = []
    done: list[np.ndarray] = []
    for number, length in enumerate(lengths):
        block = np.full(length, rules.mask)
        plan = schedule(length, rules.steps, rules.shift)
        for k in range(rules.steps):
            logits, masked = predict([*done, block]), block == rules.mask
            likely = guided(logits, rules.weight)
            if temperature > 0 and token_noise is not None:
                likely = likely / temperature + token_noise(number, k)
            candidates = likely.argmax(axis=-1)
            values = scores(logits, candidates, rules)
            ranked = values if position_noise is None else values + position_noise(number, k)
            count = max(plan[k], early(ranked[masked], k, rules.steps, rules.tau))
            if k == rules.steps - 1:
                count = masked.sum()
            order = np.argsort(-np.where(masked, ranked, -np.inf), kind="stable")
            before, block = block, block.copy()
            chosen = order[: min(count, masked.sum())]
            block[chosen] = candidates[chosen]
            steps.append(Step(number, k, before, candidates, values, block))
            if is_over(block, rules):
                break
        stops = np.flatnonzero(block == rules.stop)
        tokens += block[: stops[0] if len(stops) else None].tolist()
        if len(stops):
            break
        done.append(block)
    return np.array(tokens, dtype=np.int64), steps


def is_over(block: np.ndarray, rules: Rules) -> bool:
    """Tell whether a block, (T,), needs no further step."""
    stops = np.flatnonzero(block == rules.stop)
    if not len(stops):
        return not (block == rules.mask).any()
    return rules.exact or not (block[: stops[0]] == rules.mask).any()
