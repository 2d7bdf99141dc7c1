"""The stage `flash` in plain NumPy, from upstream's weights: voice, prefix, blocks and priors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import stages
from .flash import guided, pmi
from .flash_network import (
    FlashSizes,
    block_seen,
    hidden_states,
    prefix_rows,
    prior,
    speech_rows,
)
from .layers import Weights, attention, layer_norm, linear

Arrays = Mapping[str, np.ndarray]


def conditioning(w: Weights, inputs: Arrays, heads: int) -> np.ndarray:
    """Embed a voice, (34, C): the speaker, the prompt through the perceiver, the emotion."""
    parts = w.at("cond_enc")
    block = parts.at("perceiver.attn")

    def attend(x: np.ndarray, context: np.ndarray) -> np.ndarray:
        normed = layer_norm(block.at("norm"), context)
        rows = (
            linear(block.at("to_q"), layer_norm(block.at("norm"), x)),
            *(linear(block.at(name), normed) for name in ("to_k", "to_v")),
        )
        split = (row.reshape(len(row), heads, -1).swapaxes(0, 1) for row in rows)
        attended = attention(*split).swapaxes(0, 1).reshape(len(x), -1)
        return x + linear(block.at("proj_out"), attended)

    prompt = speech_rows(w, np.asarray(inputs["flash/cond_prompt_tokens"]))
    resampled = attend(parts["perceiver.pre_attention_query"][0], prompt)
    speaker = np.asarray(inputs["flash/speaker_emb"], dtype=np.float64).reshape(1, -1)
    emotion = np.asarray(inputs["flash/emotion"], dtype=np.float64).reshape(1, 1)
    return np.concatenate(
        [
            linear(parts.at("spkr_enc"), speaker),
            attend(resampled, resampled),
            linear(parts.at("emotion_adv_fc"), emotion),
        ]
    )


def blocks(w: Weights, config: Mapping[str, Any], inputs: Arrays) -> dict[str, np.ndarray]:
    """Compute every output of the stage.

    Args:
        w: of T3, upstream's names.
        config: of T3, what weights do not tell.
    """
    sizes = FlashSizes(
        heads=config["num_attention_heads"],
        start=config["start_speech_token"],
        mask=config["speech_tokens_dict_size"],
    )
    voice = conditioning(w, inputs, config["perceiver_heads"])
    text = np.asarray(inputs["flash/text_tokens"])
    first, last, second = (
        np.asarray(inputs[f"flash/{name}"])
        for name in ("block0_tokens", "block0_final_tokens", "block1_tokens")
    )
    prefixes = [prefix_rows(w, voice, text, has_text, sizes) for has_text in (True, False)]
    length = len(prefixes[0])

    def passed(*blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Hidden states of all positions, (2, L, C), and the last block's logits, (2, T, V)."""
        seen = block_seen(length, [len(block) for block in blocks])
        rows = [speech_rows(w, block) for block in blocks]
        hidden = np.stack(
            [
                hidden_states(w.at("tfmr"), np.concatenate([prefix, *rows]), seen, sizes)
                for prefix in prefixes
            ]
        )
        return hidden, linear(w.at("speech_head"), hidden[:, -len(blocks[-1]) - 1 : -1])

    hidden, logits = passed(first)
    own = prior(w, len(first), sizes)
    tokens = guided(logits, stages.FLASH_CFG_SCALE).argmax(axis=-1)
    with_text, without = (pmi(row, tokens, own) for row in logits)
    weight = stages.FLASH_CFG_SCALE
    later, later_logits = passed(last, second)
    return {
        "t3/cond_emb": voice,
        "flash/prior": own,
        "flash/prior_32": prior(w, stages.FLASH_LARGE_BLOCK, sizes),
        "flash/prefix_shift": hidden[:, length - 1],
        "flash/block0_hidden": hidden[:, length:],
        "flash/block0_logits": logits,
        "flash/block0_pmi_cond": with_text,
        "flash/block0_pmi_uncond": without,
        "flash/block0_pmi": (1 + weight) * with_text - weight * without,
        "flash/block1_shift": later[:, length + len(last) - 1],
        "flash/block1_logits": later_logits,
    }
