"""mlx-audio's side of the benchmarks, by its own classes; runs where mlx-audio is installed.

Each stage does what its own `Model.generate` does, with the tokens and prompts given. It has no
Nano, and decodes one sentence at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_audio.tts.models.chatterbox.t3.cond_enc import T3Cond

from parity.peers.mlx_audio import load

from .clock import TokenClock, watch_positions
from .inputs import DECODED_TOKENS, SAMPLE_RATE
from .limits import device_memory, use_device

__all__ = ["device_memory", "load", "stages", "use_device"]


def stages(folder: Path, inputs: Mapping[str, np.ndarray], variant: str) -> dict[str, Callable]:
    """Group of stages to a function of the flow's steps."""
    model = load(folder)
    t3, s3gen = model.t3, model.s3gen
    arrays = {name: mx.array(value) for name, value in inputs.items() if name != "audio"}
    reference = {
        "prompt_token": arrays["prompt_token"],
        "prompt_token_len": mx.array([arrays["prompt_token"].shape[1]]),
        "prompt_feat": arrays["prompt_feat"],
        "prompt_feat_len": mx.array([arrays["prompt_feat"].shape[1]]),
        "embedding": arrays["embedding"],
    }
    tokens = arrays["speech_tokens"]
    mel = arrays["mel"].transpose(0, 2, 1)
    text = mx.broadcast_to(arrays["text_tokens"][None], (2, arrays["text_tokens"].shape[0]))

    def condition():
        # Made anew: it keeps the prompt's embedding once it has it.
        return T3Cond(
            speaker_emb=arrays["speaker"],
            cond_prompt_speech_tokens=arrays["t3_prompt"],
            emotion_adv=mx.ones((1, 1, 1)) * 0.5,
        )

    def t3_alone(steps: int) -> dict[str, float]:
        mx.random.seed(0)
        clock = TokenClock()
        end = watch_positions(t3, clock)
        try:
            t3.inference(
                t3_cond=condition(),
                text_tokens=text,
                max_new_tokens=1 + DECODED_TOKENS,
                temperature=0.8,
                cfg_weight=0.5,
                repetition_penalty=1.2,
                min_p=0.05,
                top_p=1.0,
            )
        finally:
            end()
        return clock.seconds()

    def logits(steps: int) -> np.ndarray:
        embedded = t3._prepare_inference_context(condition(), text, 0.5)
        hidden = t3.tfmr.model(inputs=None, input_embeddings=embedded)
        return np.array(t3.speech_head(hidden[:, -1]))

    def flowed(steps: int) -> mx.array:
        lengths = mx.array([tokens.shape[1]])
        return s3gen.flow.inference(tokens, lengths, finalize=True, n_timesteps=steps, **reference)[
            0
        ]

    def vocoded(mel: mx.array) -> mx.array:
        return s3gen.mel2wav.inference(speech_feat=mel, cache_source=mx.zeros((1, 1, 0)))[0]

    def conditioning(steps: int) -> None:
        # Evaluates what it returns, as `generate` has it.
        model.prepare_conditionals(mx.array(inputs["audio"]), SAMPLE_RATE, 0.5)

    return {
        "conditioning": conditioning,
        "t3": t3_alone,
        "flow": lambda steps: mx.eval(flowed(steps)),
        "vocoder": lambda steps: mx.eval(vocoded(mel)),
        "s3gen": lambda steps: mx.eval(vocoded(flowed(steps))),
        "logits": logits,
    }
