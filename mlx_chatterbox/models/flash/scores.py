"""Tokens for the positions of a block, and scores by which positions are selected.

A position's score is the pointwise mutual information of its token and what is known: how much
likelier it is there than a token without text, the prior. Always float32, whatever the weights
are: scores are differences of logarithms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mlx.core as mx

_LOG_LEAST = math.log(1e-8)
_TINY = 1e-10


@dataclass(frozen=True)
class Proposal:
    """A step's tokens for the positions of a block; n is 2 with guidance, else 1.

    Of several sentences all have the same axes before these.

    Attributes:
        guided: (T, V), what the tokens are drawn from; after guidance log probabilities that do
            not sum to one, without it logits.
        tokens: (T,) int32.
        information: (n, T), that with text first.
        scores: (T,), of both together.
        log_prior: (1, 1, V), or (n, 1, V) if it was that of the block.
    """

    guided: mx.array
    tokens: mx.array
    information: mx.array
    scores: mx.array
    log_prior: mx.array


def propose(
    logits: mx.array,
    log_prior: mx.array | None,
    cfg_scale: float | mx.array,
    temperature: float | mx.array,
    noise: mx.array | None = None,
) -> Proposal:
    """Draw a token for every position of a block, and score it.

    Of several sentences everything has one more axis in front.

    Args:
        logits: (n, T, V), that with text first.
        log_prior: (V,), or of `Proposal`; None: the mean prediction of each row over its own
            positions.
        cfg_scale, temperature: numbers, or (S, 1, 1) of S sentences; a temperature of 0 takes the
            likeliest token.
        noise: (T, V), Gumbel noise for a temperature over 0; None where there is none.
    """
    logits = logits.astype(mx.float32)
    log_shares = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    if log_prior is None:
        log_prior = block_prior(log_shares)
    elif log_prior.ndim == 1:
        log_prior = log_prior[None, None]
    is_guided = logits.shape[-3] == 2
    guided = logits[..., 0, :, :]
    if is_guided:
        with_text, without = log_shares[..., 0, :, :], log_shares[..., 1, :, :]
        both = with_text + cfg_scale * (with_text - without)
        is_array = isinstance(cfg_scale, mx.array)
        # In the company of sentences with guidance too, one without is drawn from its logits.
        guided = mx.where(cfg_scale > 0, both, guided) if is_array else both
    tokens = _drawn_from(guided, temperature, noise).argmax(axis=-1).astype(mx.int32)
    at = mx.broadcast_to(tokens[..., None, :, None], (*logits.shape[:-1], 1))
    own = mx.take_along_axis(log_shares, at, axis=-1)[..., 0]
    usual = mx.take_along_axis(mx.broadcast_to(log_prior, logits.shape), at, axis=-1)[..., 0]
    information = mx.maximum(own, _LOG_LEAST) - mx.maximum(usual, _LOG_LEAST)
    scores = information[..., 0, :]
    if is_guided:
        scale = cfg_scale[..., 0] if isinstance(cfg_scale, mx.array) else cfg_scale
        scores = (1.0 + scale) * scores - scale * information[..., 1, :]
    return Proposal(guided, tokens, information, scores, log_prior)


def block_prior(log_shares: mx.array, is_there: mx.array | None = None) -> mx.array:
    """Logarithms of the mean of (..., T, V) log shares over the positions, (..., 1, V).

    Args:
        is_there: (..., T, 1), false for positions that are no part of the block.
    """
    shares = mx.exp(log_shares)
    if is_there is None:
        return mx.log(shares.mean(axis=-2, keepdims=True))
    count = is_there.sum(axis=-2, keepdims=True)
    return mx.log(mx.where(is_there, shares, 0.0).sum(axis=-2, keepdims=True) / count)


def _drawn_from(
    guided: mx.array, temperature: float | mx.array, noise: mx.array | None
) -> mx.array:
    """Numbers of which the largest is the draw."""
    if isinstance(temperature, mx.array):
        if noise is None:
            return guided
        is_random = temperature > 0
        warm = mx.where(is_random, temperature, 1.0)
        return mx.where(is_random, guided / warm + noise, guided)
    if temperature == 0:
        return guided
    if noise is None:
        raise ValueError("a temperature over 0 needs noise.")
    return guided / temperature + noise


def position_noise(uniform: mx.array) -> mx.array:
    """Gumbel noise of numbers from 0 to 1, as upstream rounds it."""
    return -mx.log(-mx.log(uniform + _TINY) + _TINY)


def select(scores: mx.array, is_masked: mx.array, count: int | mx.array) -> mx.array:
    """Select the masked positions with the highest scores, of equal ones the first.

    Args:
        scores: (..., T)
        is_masked: (..., T) bool.
        count: a number, or (..., 1).

    Returns:
        (..., T) bool, true for `count` of them, or for all if there are fewer.
    """
    scores = mx.where(is_masked, scores, -mx.inf)
    index = mx.arange(scores.shape[-1])
    one, other = scores[..., :, None], scores[..., None, :]
    # Counted, not sorted: no sort on a GPU promises the order of equal numbers.
    is_before = (other > one) | ((other == one) & (index[None] < index[:, None]))
    return is_masked & (is_before.sum(axis=-1) < count)
