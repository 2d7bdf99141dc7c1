"""Inputs of every engine: one set of seeded arrays, at the sizes of real use."""

from __future__ import annotations

import numpy as np

SAMPLE_RATE = 24000
REFERENCE_SECONDS = 10
NEW_TOKENS = 100
TEXT_TOKENS = 60
# Tokens after the first that T3 is timed on.
DECODED_TOKENS = 16
# Sentences decoded together.
BATCHES = (4, 8)
# A whole utterance: 6 s of speech; Nano's from a prompt of 15 s.
UTTERANCE_TOKENS = 150


def make_inputs(seed: int = 0) -> dict[str, np.ndarray]:
    """A 10 s reference, a text of 60 tokens and 100 speech tokens (4 s of speech).

    `text_batch` has eight texts of that length, the first of them the same.
    """
    # Not at the top: the peers' processes read the sizes above and may have no SciPy.
    from parity.inputs.synthetic_voice import synthetic_voice

    rng = np.random.default_rng(seed)
    prompt_tokens = 25 * REFERENCE_SECONDS

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    def text(rng: np.random.Generator) -> np.ndarray:
        return np.array([255, *rng.integers(3, 255, TEXT_TOKENS), 0], dtype=np.int32)

    first = text(rng)
    others = np.random.default_rng(seed + 1)
    return {
        "audio": synthetic_voice(float(REFERENCE_SECONDS), seed),
        "text_tokens": first,
        "text_batch": np.stack([first, *(text(others) for _ in range(max(BATCHES) - 1))]),
        "speaker": normal(1, 256) / 16,
        "t3_prompt": rng.integers(0, 6561, (1, 150)).astype(np.int32),
        "nano_prompt": rng.integers(0, 6561, (1, 375)).astype(np.int32),
        "utterance_tokens": rng.integers(0, 6561, (1, UTTERANCE_TOKENS)).astype(np.int32),
        "speech_tokens": rng.integers(0, 6561, (1, NEW_TOKENS)).astype(np.int32),
        "prompt_token": rng.integers(0, 6561, (1, prompt_tokens)).astype(np.int32),
        "prompt_feat": normal(1, 2 * prompt_tokens, 80),
        "embedding": normal(1, 192),
        "mel": normal(1, 2 * NEW_TOKENS, 80) - 3.0,
    }
