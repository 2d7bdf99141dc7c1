"""Inputs of the stage `pipeline`: a whole `generate` with fixed randomness.

The recording is that of the other stages, cut to whole tokens of 40 ms: after one with half a token
more, upstream speaks 20 ms less and ours does not. The tokens' draws are those that our `generate`
makes with a seed, as numbers, so that upstream's can be made to draw the same. Noise and source are
for the longest speech that may come of it; their beginning is used.
"""

from __future__ import annotations

import mlx_chatterbox  # noqa: F401  (before mlx.core, so that a fast BLAS is found)

# isort: split
import mlx.core as mx
import numpy as np

from mlx_chatterbox.runtime.seeds import random_key

from .encoding import encoded

TEXTS = {
    "english": ("The quick brown fox, he said, jumps over 2 lazy dogs!", ""),
    "multilingual": ("Ça va bien ? Le petit renard brun saute par-dessus le chien.", "fr"),
    "gpt2": ("The quick brown fox, he said [laugh], jumps over 2 lazy dogs!", ""),
}
TOKENS = 40
# Tokens of 10 s, the most that S3Gen uses.
_LONGEST_PROMPT = 250
_SAMPLES_PER_TOKEN = 960


def pipeline_inputs(config, audio: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """All inputs of the stage `pipeline`.

    Args:
        config: `ModelConfig`.
        audio: (n,) the recording at 24 kHz.
        seed: of everything random.

    Returns:
        Tensors under the names of `parity.stages`; none where the recording is shorter than the
        model takes.
    """
    if config.t3.has_mask:
        return {}
    audio = audio[: len(audio) // _SAMPLES_PER_TOKEN * _SAMPLES_PER_TOKEN]
    if len(audio) <= config.generation.min_reference_seconds * config.s3gen.sampling_rate:
        return {}
    text, language = TEXTS[config.text.tokenizer]
    rng = np.random.default_rng([seed, 10])
    ratio = config.s3gen.token_mel_ratio
    new_frames = ratio * (TOKENS + config.generation.silence_tokens)
    frames = ratio * _LONGEST_PROMPT + new_frames
    samples = new_frames * config.s3gen.sampling_rate // 50
    source = np.tanh(0.1 * rng.standard_normal(samples, dtype=np.float32))
    return {
        "pipeline/ref_24k": audio,
        "pipeline/text": encoded(text),
        **({"pipeline/language": encoded(language)} if language else {}),
        "pipeline/seed": np.array([seed], dtype=np.int32),
        "pipeline/gumbel": draws_of(seed, config.t3.speech_tokens_dict_size),
        "pipeline/noise": rng.standard_normal((config.s3gen.mel_bins, frames), dtype=np.float32),
        "pipeline/source": source,
    }


def draws_of(seed: int, vocabulary: int) -> np.ndarray:
    """(TOKENS, vocabulary) Gumbel noise whose largest sum with the logits `generate` draws.

    As `seeds.token_and_sound_keys` splits the seed's key and `decode_batch` the tokens' half of it.
    """
    token_key = mx.random.split(random_key(seed))[0]
    keys = mx.random.split(token_key, TOKENS)
    return np.stack([np.array(mx.random.gumbel((vocabulary,), key=key)) for key in keys])
