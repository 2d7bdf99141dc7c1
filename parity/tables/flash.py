"""Stages of Flash beside those that it shares with Chatterbox's other variants."""

from __future__ import annotations

from .stage import Stage, StageOutput, tokens

_FLASH_SENTENCE = (
    "flash/speaker_emb",
    "flash/cond_prompt_tokens",
    "flash/emotion",
    "flash/text_tokens",
)

# What Flash has instead of the stages `t3` and `t3_greedy`; [with text, without]. `t3/cond_emb` is
# computed with them.
FLASH_STAGES: tuple[Stage, ...] = (
    Stage(
        "flash",
        inputs=(
            *_FLASH_SENTENCE,
            "flash/block0_tokens",
            "flash/block0_final_tokens",
            "flash/block1_tokens",
        ),
        outputs=(
            StageOutput("flash/prior", "(V,)"),
            StageOutput("flash/prior_32", "(V,)"),
            StageOutput("flash/prefix_shift", "(2, dim)"),
            StageOutput("flash/block0_hidden", "(2, D, dim)"),
            StageOutput("flash/block0_logits", "(2, D, V)"),
            StageOutput("flash/block0_pmi_cond", "(D,)"),
            StageOutput("flash/block0_pmi_uncond", "(D,)"),
            StageOutput("flash/block0_pmi", "(D,)"),
            StageOutput("flash/block1_shift", "(2, dim)"),
            StageOutput("flash/block1_logits", "(2, D, V)"),
        ),
    ),
    # Each step from the recorded tokens before it.
    Stage(
        "flash_steps",
        inputs=(*_FLASH_SENTENCE, "flash/greedy/before", "flash/greedy/steps"),
        outputs=(
            tokens("flash/greedy/candidates", "(S, D)"),
            StageOutput("flash/greedy/pmi", "(S, D)"),
            tokens("flash/greedy/after", "(S, D)"),
        ),
    ),
    # Runs from the beginning; of what is recorded only the blocks' lengths are used.
    Stage(
        "flash_greedy",
        inputs=(*_FLASH_SENTENCE, "flash/greedy/before", "flash/greedy/steps"),
        outputs=(tokens("flash/greedy/tokens", "(m,)"),),
    ),
    Stage(
        "flash_noise",
        inputs=(
            *_FLASH_SENTENCE,
            "flash/noise/before",
            "flash/noise/steps",
            "flash/noise/position_uniform",
        ),
        outputs=(
            tokens("flash/noise/tokens", "(m,)"),
            tokens("flash/noise/after", "(S, D)"),
        ),
    ),
)
# Of the likeliest tokens.
FLASH_SCORES = frozenset(
    (
        *(f"flash/block0_pmi{row}" for row in ("", "_cond", "_uncond")),
        "flash/greedy/pmi",
    )
)
