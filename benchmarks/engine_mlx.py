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

from .inputs import DECODED_TOKENS


def stages(folder: Path, inputs: Mapping[str, np.ndarray], steps: int) -> dict[str, Callable]:
    """Stage name to a function of no arguments."""
    networks = load_converted(folder).networks
    mx.eval(networks.parameters())
    arrays = {name: mx.array(value) for name, value in inputs.items() if name != "audio"}
    reference = Reference(arrays["prompt_token"], arrays["prompt_feat"], arrays["embedding"])
    tokens, s3gen = arrays["speech_tokens"], networks.s3gen
    cond = networks.t3.embed_conditioning(arrays["speaker"], arrays["t3_prompt"], 0.5)
    mx.eval(cond)

    def decoded(count: int) -> None:
        settings = SamplingSettings()
        key = mx.random.key(0)
        written = list(decode(networks.t3, cond, arrays["text_tokens"], settings, 0.5, count, key))
        if len(written) != count:
            raise RuntimeError(f"T3 stopped after {len(written)} of {count} tokens: another seed")

    def flow() -> None:
        noise = s3gen.noise_for(tokens.shape[1], reference, mx.random.key(1))
        mx.eval(
            s3gen.flow.inference(
                tokens,
                reference.prompt_token,
                reference.prompt_feat,
                reference.embedding,
                noise,
                steps,
            )
        )

    return {
        "conditioning": lambda: embed_voice(networks, inputs["audio"]),
        "t3_first": lambda: decoded(1),
        "t3_many": lambda: decoded(1 + DECODED_TOKENS),
        "flow": flow,
        "vocoder": lambda: mx.eval(s3gen.mel2wav(arrays["mel"], None, mx.random.key(2))[0]),
        "s3gen": lambda: mx.eval(
            s3gen(tokens[0], reference, key=mx.random.key(3), n_timesteps=steps)
        ),
    }
