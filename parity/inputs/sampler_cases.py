"""Random cases for the samplers: logits, histories and settings on which no rounding decides.

Min-p and top-p compare probabilities with a threshold, and top-k logits with each other. Where a
number lies within rounding of the threshold, two correct programs may differ by a whole token,
which proves nothing about either; so each threshold is moved to the middle of the next gap that
is wide enough.
"""

from __future__ import annotations

import numpy as np

_GAP = 2e-5


def sampler_cases(cases: int, vocabulary: int, seed: int) -> dict[str, np.ndarray]:
    """`cases` rows of a dump's `sampler/` inputs.

    Returns:
        `sampler/logits` (N, V) float32, positive and negative; `sampler/history` (N, H) int32, with
        repeats; `sampler/settings` (N, 4) float32: repetition penalty, temperature, min-p, top-p.
    """
    rng = np.random.default_rng([seed, 11])
    logits, history = _logits_and_history(rng, cases, vocabulary)
    settings = np.stack([_settings(rng, row) for row in range(cases)])
    for row in range(cases):
        settings[row] = _clear_of_rounding(logits[row], history[row], settings[row])
    return {
        "sampler/logits": logits,
        "sampler/history": history,
        "sampler/settings": settings.astype(np.float32),
    }


def turbo_sampler_cases(cases: int, vocabulary: int, seed: int) -> dict[str, np.ndarray]:
    """The same for `sampler_turbo/`, whose settings are repetition penalty, temperature, top-k
    (0 for all tokens) and top-p."""
    rng = np.random.default_rng([seed, 12])
    logits, history = _logits_and_history(rng, cases, vocabulary)
    settings = np.stack([_turbo_settings(rng, row, vocabulary) for row in range(cases)])
    for row in range(cases):
        settings[row] = _turbo_clear_of_rounding(logits[row], settings[row])
    return {
        "sampler_turbo/logits": logits,
        "sampler_turbo/history": history,
        "sampler_turbo/settings": settings.astype(np.float32),
    }


def _logits_and_history(rng: np.random.Generator, cases: int, vocabulary: int):
    logits = rng.standard_normal((cases, vocabulary)) * rng.uniform(1.0, 6.0, (cases, 1))
    logits = (logits + rng.uniform(-5.0, 5.0, (cases, 1))).astype(np.float32)
    length = 23
    pool = rng.integers(0, vocabulary, (cases, 12))
    history = np.take_along_axis(pool, rng.integers(0, 12, (cases, length)), axis=1)
    # The most probable tokens must be among the penalised, or the penalty would not show.
    top = np.argsort(-logits, axis=1)[:, :4]
    history[:, :4] = np.where(rng.random((cases, 4)) < 0.5, top, history[:, :4])
    return logits, history.astype(np.int32)


def _settings(rng: np.random.Generator, row: int) -> np.ndarray:
    """Settings of a case: upstream's defaults, each switched off in turn, then random ones."""
    if row == 0:
        return np.array([1.2, 0.8, 0.05, 1.0])
    penalty = 1.0 if row % 7 == 1 else rng.uniform(1.0, 2.0)
    temperature = 1.0 if row % 5 == 1 else rng.uniform(0.3, 1.6)
    min_p = 0.0 if row % 3 == 1 else rng.uniform(0.005, 0.3)
    top_p = 1.0 if row % 4 == 2 else rng.uniform(0.3, 0.98)
    return np.array([penalty, temperature, min_p, top_p])


def _turbo_settings(rng: np.random.Generator, row: int, vocabulary: int) -> np.ndarray:
    if row == 0:
        return np.array([1.2, 0.8, 1000, 0.95])
    penalty = 1.0 if row % 7 == 1 else rng.uniform(1.0, 2.0)
    # Not lower: of scores over 64, float32 keeps too little for probabilities to a millionth.
    temperature = 1.0 if row % 5 == 1 else rng.uniform(0.5, 1.6)
    # From a handful to more than there are.
    top_k = 0 if row % 3 == 1 else round(np.exp(rng.uniform(np.log(2), np.log(1.2 * vocabulary))))
    top_p = 1.0 if row % 4 == 2 else rng.uniform(0.3, 0.98)
    return np.array([penalty, temperature, top_k, top_p])


def _clear_of_rounding(logits, history, settings) -> np.ndarray:
    penalty, temperature, min_p, top_p = settings
    scores = logits.astype(np.float64)
    seen = np.unique(history)
    scores[seen] = np.where(scores[seen] < 0, scores[seen] * penalty, scores[seen] / penalty)
    probs = _softmax(scores / temperature)
    if min_p > 0:
        ratios = np.sort(probs / probs.max())
        min_p = _middle_of_gap(ratios, min_p)
        probs = np.where(probs < min_p * probs.max(), 0.0, probs)
        probs /= probs.sum()
    if top_p < 1:
        top_p = 1.0 - _middle_of_gap(np.cumsum(np.sort(probs)), 1.0 - top_p)
    return np.array([penalty, temperature, min_p, top_p])


def _turbo_clear_of_rounding(logits, settings) -> np.ndarray:
    penalty, temperature, top_k, top_p = settings
    scores = np.sort(logits.astype(np.float64) / temperature)
    if 0 < top_k < len(scores):
        # The k-th largest must lie clear of the next one; float32 has seven digits.
        gaps = np.diff(scores)[::-1] > 1e-5 * np.abs(scores).max()
        wide = 1 + np.flatnonzero(gaps)
        top_k = wide[np.argmin(np.abs(wide - top_k))]
        scores = scores[-int(top_k) :]
    if top_p < 1:
        top_p = 1.0 - _middle_of_gap(np.cumsum(_softmax(scores)), 1.0 - top_p)
    return np.array([penalty, temperature, top_k, top_p])


def _middle_of_gap(ascending: np.ndarray, threshold: float) -> float:
    """The middle of the gap, at least `_GAP` wide, whose middle is nearest to `threshold`."""
    edges = np.concatenate([[0.0], ascending])
    middles, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    wide = middles[widths >= _GAP]
    return float(wide[np.argmin(np.abs(wide - threshold))])


def _softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max())
    return exponentials / exponentials.sum()
