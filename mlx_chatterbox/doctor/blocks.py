"""Compare the GPU with the CPU: a small Flash, whose T3 decides blocks of masked tokens.

On a machine without a GPU the GPU's branches are taken by pretending, while MLX computes on the
CPU: that compares MLX's passes over blocks with those of this package's C, where it is in use.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ..models.flash.cache import BlockCache
from ..models.flash.decoding import decode
from ..models.flash.native_pass import NativePass
from ..models.flash.requests import FlashRequest
from ..models.flash.sentences import BLOCK_SIZE
from ..models.flash.writer import BlockWriter
from ..models.t3.t3 import T3
from ..runtime import device
from .correctness import (
    BOUNDS,
    HALF_BOUNDS,
    TF32_FACTOR,
    compare_tokens,
    relative_rms,
    the_cpu,
    the_gpu,
)
from .examination import Examination
from .findings import Section
from .small_t3 import small_t3

TITLE = "Blocks of tokens, a small Flash on the GPU against the CPU"
# Seconds without which it is not begun.
LEAST = 1.5
# Two blocks, and a short one.
_TOKENS = 2 * BLOCK_SIZE + 7
_TEXT_TOKENS, _DECIDED = 30, 6


@dataclass(frozen=True)
class BlockOutputs:
    """Results on one device.

    Attributes:
        prior: (V,) logarithms.
        logits: (2, T, V) each, of a first and a second block that are decided in part.
        tokens: of a sentence.
    """

    prior: np.ndarray
    logits: tuple[np.ndarray, np.ndarray]
    tokens: list[int]


def examine(exam: Examination, section: Section) -> None:
    """Compare."""
    if not device.is_gpu_there():
        section.not_applicable(
            "gpu", "the GPU itself", "there is none: MLX makes the GPU's passes on the CPU"
        )
    with section.guarded("comparison", "the comparison"):
        with the_cpu():
            t3 = small_t3("flash")
            is_in_c = NativePass.of_blocks(t3) is not None
            expected = compute(t3)
        section.figure("in_c", "the CPU's passes are this package's C", is_in_c)
        with the_gpu():
            result = compute(t3)
        compare(section, result, expected, 1.0 if not exam.has_tf32 else TF32_FACTOR)
    if not device.is_gpu_there():
        section.not_applicable("halves", "half precision on the GPU", "there is no GPU")
        return
    for dtype, bound in HALF_BOUNDS.items():
        with section.guarded(dtype, f"{dtype} against float32"):
            with the_gpu():
                halves = compute(small_t3("flash", dtype))
            error = max(map(relative_rms, halves.logits, expected.logits))
            section.proof(
                f"{dtype}_logits", f"logits of blocks in {dtype} on the GPU against float32",
                error <= bound, error, "relative RMS", f"at most {bound}",
            )  # fmt: skip


def compute(t3: T3) -> BlockOutputs:
    """Everything from the same inputs: the prior, passes over given blocks, and a sentence."""
    draw, sizes = np.random.default_rng(0), t3.config
    speaker = draw.standard_normal((1, sizes.speaker_embed_size)).astype(np.float32)
    prompt = draw.integers(0, sizes.start_speech_token, (1, sizes.speech_cond_prompt_len))
    voice = t3.embed_conditioning(mx.array(speaker), mx.array(prompt), 0.5)
    words = draw.integers(1, sizes.text_tokens_dict_size - 1, _TEXT_TOKENS)
    text = mx.array(words.astype(np.int32))
    codes = draw.integers(0, sizes.start_speech_token, (2, BLOCK_SIZE)).astype(np.int32)
    is_masked = draw.permuted(np.arange(2 * BLOCK_SIZE).reshape(2, -1) % BLOCK_SIZE, axis=1)
    states = np.where(is_masked >= _DECIDED, sizes.mask_token, codes).astype(np.int32)

    writer, prefix = BlockWriter(t3), t3.conditioning_cache(voice)
    before, past = writer.prefill(prefix, text, True)
    cache, logits = BlockCache(past), []
    for state, whole in zip(states, codes, strict=True):
        cache.make_room_for(BLOCK_SIZE)
        for block in (state, whole):
            hidden = writer.run([mx.array(block)], [cache], BLOCK_SIZE)[0]
            if block is state:
                logits.append(np.array(writer.logits(before, hidden)))
        cache.commit(BLOCK_SIZE)
        before = hidden[:, -1]
    request = FlashRequest(text, voice, max_new_tokens=_TOKENS, key=mx.random.key(1))
    tokens = [token for block in decode(t3, request) for token in block]
    return BlockOutputs(np.array(writer.log_prior(BLOCK_SIZE)), (logits[0], logits[1]), tokens)


def compare(
    section: Section, result: BlockOutputs, expected: BlockOutputs, leeway: float = 1.0
) -> None:
    """Compare the results of two devices.

    Args:
        leeway: factor on all bounds.
    """
    bound = leeway * BOUNDS["logits"]
    stages = {
        "prior": ("the prior of a block", result.prior, expected.prior),
        "first": ("logits of a first block", result.logits[0], expected.logits[0]),
        "second": ("logits of the block after it", result.logits[1], expected.logits[1]),
    }
    for name, (title, own, other) in stages.items():
        error = relative_rms(own, other)
        section.proof(name, title, error <= bound, error, "relative RMS", f"at most {bound:.0e}")
    compare_tokens(section, result.tokens, expected.tokens, leeway)
