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

from mlx_chatterbox.models.flash.draws import POSITIONS as POSITIONS_DRAWN
from mlx_chatterbox.models.flash.draws import TOKENS as TOKENS_DRAWN
from mlx_chatterbox.models.flash.draws import keys_of, position_draws, token_noise
from mlx_chatterbox.runtime.seeds import random_key

from .encoding import encoded

TEXTS = {
    "english": ("The quick brown fox, he said, jumps over 2 lazy dogs!", ""),
    "multilingual": ("Ça va bien ? Le petit renard brun saute par-dessus le chien.", "fr"),
    "gpt2": ("The quick brown fox, he said [laugh], jumps over 2 lazy dogs!", ""),
    "flash": ("Dr. Fox, he said, jumps over 21 lazy dogs at 7:30!", ""),
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
    audio = audio[: len(audio) // _SAMPLES_PER_TOKEN * _SAMPLES_PER_TOKEN]
    if len(audio) <= config.generation.min_reference_seconds * config.s3gen.sampling_rate:
        return {}
    text, language = TEXTS[config.kind]
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
        **(block_draws_of if config.t3.has_mask else draws_of)(seed, config),
        "pipeline/noise": rng.standard_normal((config.s3gen.mel_bins, frames), dtype=np.float32),
        "pipeline/source": source,
    }


def draws_of(seed: int, config) -> dict[str, np.ndarray]:
    """(TOKENS, vocabulary) Gumbel noise whose largest sum with the logits `generate` draws.

    As `seeds.token_and_sound_keys` splits the seed's key and `decode_batch` the tokens' half of it.
    """
    token_key, vocabulary = mx.random.split(random_key(seed))[0], config.t3.speech_tokens_dict_size
    keys = mx.random.split(token_key, TOKENS)
    noise = np.stack([np.array(mx.random.gumbel((vocabulary,), key=key)) for key in keys])
    return {"pipeline/gumbel": noise}


def block_draws_of(seed: int, config) -> dict[str, np.ndarray]:
    """Flash's noise of tokens, (blocks, steps, positions, vocabulary), and numbers from 0 to 1 for
    positions, as `generate` draws them."""
    size, vocabulary = config.blocks.size, config.t3.speech_tokens_dict_size
    token_key = mx.random.split(random_key(seed))[0]
    keys = mx.array(keys_of(token_key, -(-TOKENS // size), config.blocks.num_steps))
    return {
        "pipeline/gumbel": np.array(token_noise(keys[..., TOKENS_DRAWN, :], size, vocabulary)),
        "pipeline/uniform": np.array(position_draws(keys[..., POSITIONS_DRAWN, :], size)),
    }
