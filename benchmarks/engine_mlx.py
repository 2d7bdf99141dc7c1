"""Our side of the benchmarks: each stage as a function that returns when its work is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import mlx_chatterbox  # noqa: F401  (before mlx.core)

# isort: split
import mlx.core as mx
import numpy as np

from mlx_chatterbox.checkpoint import load_converted
from mlx_chatterbox.models.s3gen.s3gen import Reference
from mlx_chatterbox.models.t3.decoding import decode
from mlx_chatterbox.models.t3.sampling import SamplingSettings
from mlx_chatterbox.voice import embed_voice

from .inputs import DECODED_TOKENS, UTTERANCE_TOKENS


def stages(
    folder: Path, inputs: Mapping[str, np.ndarray], steps: int, variant: str
) -> dict[str, Callable]:
    """Stage name to a function of no arguments; the folder's configuration says the variant."""
    checkpoint = load_converted(folder)
    networks, generation = checkpoint.networks, checkpoint.config.generation
    mx.eval(networks.parameters())
    arrays = {name: mx.array(value) for name, value in inputs.items() if name != "audio"}
    reference = Reference(arrays["prompt_token"], arrays["prompt_feat"], arrays["embedding"])
    s3gen = networks.s3gen
    is_nano = checkpoint.config.t3.is_gpt2
    prompt = arrays["nano_prompt" if is_nano else "t3_prompt"]
    cond = networks.t3.embed_conditioning(arrays["speaker"], prompt, 0.5)
    mx.eval(cond)
    order = generation.sampler_order
    settings = SamplingSettings(0.8, 1.2, 0.0 if is_nano else 0.05, generation.top_p, 0, order)

    def decoded(count: int) -> None:
        key = mx.random.key(0)
        written = list(decode(networks.t3, cond, arrays["text_tokens"], settings, 0.5, count, key))
        if len(written) != count:
            raise RuntimeError(f"T3 stopped after {len(written)} of {count} tokens: another seed")

    def spoken(tokens: mx.array, n_timesteps: int) -> None:
        mx.eval(s3gen(tokens[0], reference, key=mx.random.key(3), n_timesteps=n_timesteps))

    def flow() -> None:
        tokens = arrays["speech_tokens"]
        noise = s3gen.noise_for(tokens.shape[1], reference, mx.random.key(1))
        given = (reference.prompt_token, reference.prompt_feat, reference.embedding, noise)
        mx.eval(s3gen.flow.inference(tokens, *given, steps))

    def utterance() -> None:
        decoded(UTTERANCE_TOKENS)
        spoken(arrays["utterance_tokens"], generation.cfm_steps)

    return {
        "conditioning": lambda: embed_voice(networks, inputs["audio"], generation),
        "t3_first": lambda: decoded(1),
        "t3_many": lambda: decoded(1 + DECODED_TOKENS),
        "flow": flow,
        "vocoder": lambda: mx.eval(s3gen.mel2wav(arrays["mel"], None, mx.random.key(2))[0]),
        "s3gen": lambda: spoken(arrays["speech_tokens"], steps),
        "nano_utterance": utterance,
    }
