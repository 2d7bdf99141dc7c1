"""Our side of the benchmarks: each stage as a function that returns when its work is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import mlx_chatterbox  # noqa: F401  (before mlx.core)

# isort: split
import mlx.core as mx
import numpy as np

from mlx_chatterbox.api.tts import CLASSES
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.models.flash.decoding import decode as decode_blocks
from mlx_chatterbox.models.flash.requests import FlashRequest
from mlx_chatterbox.models.flash.schedule import table
from mlx_chatterbox.models.flash.settings import usual_sampling
from mlx_chatterbox.models.s3gen.s3gen import S3GenConditionals
from mlx_chatterbox.models.t3.decoding import decode, decode_batch
from mlx_chatterbox.models.t3.sampling import SamplingSettings
from mlx_chatterbox.voices.voice import embed_voice
from mlx_chatterbox.weights.checkpoint import load_converted

from .clock import PartsClock, TokenClock, block_seconds
from .inputs import BATCHES, DECODED_TOKENS, UTTERANCE_TOKENS
from .limits import device_memory, limits, use_device

__all__ = ["device_memory", "limits", "load", "stages", "use_device"]


def load(folder: Path):
    """Load all weights into memory; returns the checkpoint."""
    checkpoint = load_converted(folder)
    mx.eval(checkpoint.networks.parameters())
    return checkpoint


def stages(folder: Path, inputs: Mapping[str, np.ndarray], variant: str) -> dict[str, Callable]:
    """Group of stages to a function of the flow's steps; the folder's configuration says the
    variant."""
    checkpoint = load(folder)
    networks, generation = checkpoint.networks, checkpoint.config.generation
    arrays = {name: mx.array(value) for name, value in inputs.items() if name != "audio"}
    reference = S3GenConditionals(
        arrays["prompt_token"], arrays["prompt_feat"], arrays["embedding"]
    )
    s3gen, t3 = networks.s3gen, networks.t3
    is_nano, is_flash = checkpoint.config.t3.is_gpt2, checkpoint.config.t3.has_mask
    prompt = arrays["nano_prompt" if is_nano else "t3_prompt"]
    settings = SamplingSettings(
        0.8, 1.2, 0.0 if is_nano else 0.05, generation.top_p, 0, generation.sampler_order
    )

    def conditioning() -> mx.array:
        return t3.embed_conditioning(arrays["speaker"], prompt, 0.5)

    def conditioned(steps: int) -> None:
        # Evaluates what it returns.
        embed_voice(networks, inputs["audio"], generation)

    def decoded(count: int, on_token: Callable[[], None] = lambda: None) -> None:
        key = mx.random.key(0)
        cond, written = conditioning(), 0
        if is_flash:
            request = FlashRequest(arrays["text_tokens"], cond, max_new_tokens=count, key=key)
            tokens = (token for block in decode_blocks(t3, request) for token in block)
        else:
            tokens = decode(t3, cond, arrays["text_tokens"], settings, 0.5, count, key)
        for _ in tokens:
            on_token()
            written += 1
        if written != count:
            raise RuntimeError(f"T3 stopped after {written} of {count} tokens")

    def t3_alone(steps: int) -> dict[str, float]:
        clock = TokenClock()
        decoded(1 + DECODED_TOKENS, clock.tick)
        return clock.seconds()

    def logits(steps: int) -> np.ndarray:
        none = mx.zeros((0,), dtype=mx.int32)
        return np.array(t3.teacher_forced_logits(conditioning(), arrays["text_tokens"], none)[:, 0])

    def spoken(tokens: mx.array, steps: int) -> None:
        mx.eval(s3gen(tokens[0], reference, key=mx.random.key(3), n_timesteps=steps))

    def flow(steps: int) -> None:
        tokens = arrays["speech_tokens"]
        noise = s3gen.noise_for(tokens.shape[1], reference, mx.random.key(1))
        arguments = (reference.prompt_token, reference.prompt_feat, reference.embedding, noise)
        mx.eval(s3gen.flow.inference(tokens, *arguments, steps))

    def utterance(steps: int) -> None:
        decoded(UTTERANCE_TOKENS)
        spoken(arrays["utterance_tokens"], generation.cfm_steps)

    def parts(steps: int) -> dict[str, float]:
        moments: list[float] = []
        clock = PartsClock()
        conditioned(steps)
        clock.done("conditioning")
        decoded(UTTERANCE_TOKENS, lambda: moments.append(time.perf_counter()))
        clock.done("t3")
        spoken(arrays["utterance_tokens"], generation.cfm_steps)
        clock.done("s3gen")
        return clock.seconds() | block_seconds(moments, *_block_of(checkpoint.config))

    def first_sound(steps: int) -> dict[str, float]:
        tts = CLASSES[checkpoint.config.kind](checkpoint)
        tts.conds = tts.voice_of(inputs["audio"], 0.5)
        started = time.perf_counter()
        said = {"seed": 0, "guard": False, "max_new_tokens": UTTERANCE_TOKENS}
        next(iter(tts.stream("Hello there, how are you?", **said)))
        return {"first_sound": time.perf_counter() - started}

    if is_nano:
        return {"nano_utterance": utterance}
    of_utterances = {"utterance": parts, "first_sound": first_sound}
    if is_flash:
        return of_utterances
    return {
        "conditioning": conditioned,
        "t3": t3_alone,
        "flow": flow,
        "vocoder": lambda steps: mx.eval(s3gen.mel2wav(arrays["mel"], None, mx.random.key(2))[0]),
        "s3gen": lambda steps: spoken(arrays["speech_tokens"], steps),
        "logits": logits,
        **of_utterances,
        **batch_stages(t3, conditioning, arrays["text_batch"], settings),
    }


def _block_of(config: ModelConfig) -> tuple[int, int]:
    """The tokens of a block and the passes that it takes, the one that keeps it included."""
    if not config.t3.has_mask:
        return 1, 1
    size = config.blocks.size
    return size, 1 + sum(map(bool, table(size, usual_sampling(config))))


def batch_stages(t3, conditioning: Callable, texts: mx.array, settings) -> dict[str, Callable]:
    """Several sentences decoded together: seconds per token of all of them."""

    def batched(sentences: int) -> dict[str, float]:
        clock = TokenClock()
        keys = [mx.random.key(number) for number in range(sentences)]
        chosen = list(texts[:sentences])
        arguments = (conditioning(), chosen, settings, 0.5, 1 + DECODED_TOKENS, keys)
        for drawn in decode_batch(t3, *arguments):
            if len(drawn) != sentences:
                raise RuntimeError(f"T3 stopped in {sentences - len(drawn)} of {sentences} rows")
            clock.tick()
        return {f"t3_token_batch{sentences}": clock.seconds()["t3_token"] / sentences}

    return {f"t3_batch{n}": lambda steps, n=n: batched(n) for n in BATCHES}
