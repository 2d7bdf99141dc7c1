"""Inputs of Flash's stages: a voice, a text, and blocks of which some positions are decided."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import stages
from ..numpy.flash_steps import PADDING, USUAL_STEPS, decided_counts


def flash_inputs(config, rng: np.random.Generator, voice: dict, sizes) -> dict[str, np.ndarray]:
    """Draw inputs of every stage of Flash.

    Args:
        config: `ModelConfig`.
        voice: inputs of T3, under the names of the other variants: they are taken over.
        sizes: `make.Sizes`.
    """
    mask, codes = config.t3.mask_token, config.s3gen.vocab_size
    width = max(sizes.flash_blocks)
    half, next_half = (_half_decided(rng, codes, width, mask) for _ in range(2))
    before, numbers = recorded(rng, codes, sizes.flash_blocks, mask)
    steps = {"before": before, "steps": numbers}
    uniform = rng.random(before.shape, dtype=np.float32)
    return {
        "flash/speaker_emb": voice["voice_encoder/embedding"],
        "flash/cond_prompt_tokens": voice["t3/cond_prompt_tokens"],
        "flash/emotion": voice["t3/emotion"],
        "flash/text_tokens": voice["t3/text_tokens"],
        "flash/block0_tokens": half,
        "flash/block0_final_tokens": rng.integers(0, codes, width).astype(np.int32),
        "flash/block1_tokens": next_half,
        **{f"flash/greedy/{name}": array for name, array in steps.items()},
        **{f"flash/noise/{name}": array for name, array in steps.items()},
        "flash/noise/position_uniform": np.where(before == PADDING, 0, uniform).astype(np.float32),
    }


def _half_decided(rng: np.random.Generator, codes: int, width: int, mask: int) -> np.ndarray:
    tokens = rng.integers(0, codes, width)
    tokens[rng.permutation(width)[: width // 2]] = mask
    return tokens.astype(np.int32)


def recorded(
    rng: np.random.Generator, codes: int, lengths: Sequence[int], mask: int
) -> tuple[np.ndarray, np.ndarray]:
    """Made-up tokens before each step of blocks of these lengths, (S, D), masked as the schedule
    has it; and the steps' numbers, (S, 2)."""
    rows, numbers = [], []
    for block, length in enumerate(lengths):
        tokens = np.full(length, mask)
        order = rng.permutation(length)
        shift, tau = stages.FLASH_SCHEDULE_SHIFT, stages.FLASH_TIME_SHIFT
        done = 0
        for step, count in enumerate(decided_counts(length, USUAL_STEPS, shift, tau)):
            rows.append(np.pad(tokens, (0, max(lengths) - length), constant_values=PADDING))
            numbers.append((block, step))
            chosen = order[done : done + count]
            tokens[chosen] = rng.integers(0, codes, len(chosen))
            done += count
    return np.array(rows, np.int32), np.array(numbers, np.int32)
