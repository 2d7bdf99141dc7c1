"""Compare the GPU with the CPU: the pocket model on both, stage by stage.

On a machine without a GPU the GPU's branches are taken by pretending, while MLX computes on the
CPU: that proves the branches, not the GPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ..api.tts import ChatterboxTTS
from ..runtime import device
from ..voices.voice import Voice, embed_voice
from ..watermark import THRESHOLD, detect
from .examination import Examination
from .findings import Section
from .pocket import OTHER_TEXT, TEXT, open_pocket, say
from .timing import finish

TITLE = "Correctness, pocket on the GPU against the CPU"
# Seconds without which it is not begun.
LEAST = 5.0

# Relative RMS. Rounding alone was 1e-7 to 2e-4 wherever it was measured; a wrong kernel, mask or
# cast is 0.1 and more. Products by TF32 have ten bits instead of 23.
BOUNDS = {"logits": 1e-4, "voice": 1e-3, "mel": 2e-3, "vocoder": 2e-3, "speech": 1e-2}
TF32_FACTOR = 50.0
# Of networks in half precision against float32: ten times what rounding to it does (measured by
# pretending: float16 0.0004 to 0.0008, bfloat16 0.004 to 0.006).
HALF_BOUNDS = {"float16": 0.01, "bfloat16": 0.06}


@dataclass(frozen=True)
class StageOutputs:
    """Results of all stages on one device, as NumPy arrays, which the other device can compare."""

    logits: np.ndarray
    speaker: np.ndarray
    mel: np.ndarray
    vocoded: np.ndarray
    tokens: list[int]
    speech: np.ndarray


@dataclass(frozen=True)
class StageInputs:
    """Inputs of the stages, the same for both devices."""

    text: mx.array
    tokens: mx.array
    noise: mx.array
    mel: mx.array
    source: mx.array
    recording: np.ndarray


def relative_rms(result: np.ndarray, expected: np.ndarray) -> float:
    """Infinite where the shapes differ; not a number where one is not finite."""
    if result.shape != expected.shape:
        return float("inf")
    expected = expected.astype(np.float64)
    difference = result.astype(np.float64) - expected
    return float(np.sqrt((difference**2).mean() / max((expected**2).mean(), 1e-30)))


def the_gpu() -> contextlib.AbstractContextManager:
    """Compute on the GPU, or on the CPU by the GPU's branches where there is none."""
    if device.is_gpu_there():
        return contextlib.nullcontext()
    return device.pretend("gpu")


def the_cpu() -> contextlib.AbstractContextManager:
    """Compute on the CPU."""
    return mx.stream(mx.cpu)


def examine(exam: Examination, section: Section) -> None:
    """Compare."""
    is_gpu = device.is_gpu_there()
    if not is_gpu:
        section.not_applicable(
            "gpu", "the GPU itself", "there is none: the GPU's branches are computed on the CPU, "
            "which proves the branches, and nothing about a GPU",
        )  # fmt: skip
    with section.guarded("comparison", "the comparison"):
        with the_cpu():
            inputs = _stage_inputs()
            expected = compute(inputs)
        with the_gpu():
            result = compute(inputs)
        compare(section, result, expected, 1.0 if not exam.has_tf32 else TF32_FACTOR)
        _look_for_mark(section, result, expected)
    if is_gpu:
        for dtype in HALF_BOUNDS:
            with section.guarded(dtype, f"{dtype} against float32"):
                with the_gpu():
                    halves = compute(inputs, dtype)
                compare_halves(section, dtype, halves, expected)
    else:
        section.not_applicable("halves", "half precision on the GPU", "there is no GPU")


def _stage_inputs() -> StageInputs:
    """Compute the inputs, once, on the CPU."""
    tts = open_pocket()
    recording = say(tts, OTHER_TEXT, seed=3, watermark=False)
    say(tts, TEXT, watermark=False)
    tokens = mx.array(tts.last_tokens, dtype=mx.int32)
    s3gen, voice = tts.networks.s3gen, _voice_of(tts)
    noise = s3gen.noise_for(tokens.shape[0], voice.reference, mx.random.key(5))
    conditionals = (voice.prompt_token, voice.prompt_feat, voice.embedding, noise)
    mel = s3gen.flow.inference(tokens[None], *conditionals, tts.defaults.cfm_steps)
    _, source = s3gen.mel2wav(mel, None, mx.random.key(6))
    text = mx.array([*range(10, 50)], dtype=mx.int32)
    finish([text, tokens, noise, mel, source])
    return StageInputs(text, tokens, noise, mel, source, recording)


def compute(inputs: StageInputs, dtype: str | None = None) -> StageOutputs:
    """All stages, each from the same inputs, and a whole sentence."""
    tts = open_pocket(dtype=dtype)
    networks, voice = tts.networks, _voice_of(tts)
    t3, s3gen = networks.t3, networks.s3gen
    prompt = voice.cond_prompt_tokens
    cond = t3.embed_conditioning(voice.speaker_embedding, prompt, voice.emotion)
    logits = t3.teacher_forced_logits(cond, inputs.text, inputs.tokens)
    reference = (voice.prompt_token, voice.prompt_feat, voice.embedding, inputs.noise)
    mel = s3gen.flow.inference(inputs.tokens[None], *reference, tts.defaults.cfm_steps)
    vocoded, _ = s3gen.mel2wav(inputs.mel.astype(mel.dtype), inputs.source)
    embedded = embed_voice(networks, inputs.recording, tts.defaults)
    speech = say(tts)
    return StageOutputs(
        _numpy(logits),
        _speaker(embedded),
        _numpy(mel),
        _numpy(vocoded),
        list(tts.last_tokens),
        speech,
    )


def _voice_of(tts: ChatterboxTTS) -> Voice:
    voice = tts.conds
    assert voice is not None  # the pocket model has one built in
    return voice


def _numpy(array: mx.array) -> np.ndarray:
    return np.array(array.astype(mx.float32))


def _speaker(voice: Voice) -> np.ndarray:
    """Both speaker embeddings, each of unit length."""
    parts = [_numpy(voice.speaker_embedding).ravel(), _numpy(voice.embedding).ravel()]
    return np.concatenate([part / np.linalg.norm(part) for part in parts])


def compare(
    section: Section, result: StageOutputs, expected: StageOutputs, leeway: float = 1.0
) -> None:
    """Compare the results of two devices.

    Args:
        leeway: factor on all bounds.
    """
    stages: dict[str, tuple[str, Callable[[StageOutputs], np.ndarray]]] = {
        "logits": ("T3's logits along given tokens", lambda one: one.logits),
        "voice": ("a voice from a recording", lambda one: one.speaker),
        "mel": ("the flow's mel of given tokens", lambda one: one.mel),
        "vocoder": ("the vocoder's sound of a given mel", lambda one: one.vocoded),
    }
    for name, (title, part) in stages.items():
        error, bound = relative_rms(part(result), part(expected)), leeway * BOUNDS[name]
        section.proof(name, title, error <= bound, error, "relative RMS", f"at most {bound:.0e}")
    if compare_tokens(section, result.tokens, expected.tokens, leeway):
        error, bound = relative_rms(result.speech, expected.speech), leeway * BOUNDS["speech"]
        section.proof(
            "speech", "that sentence's sound, mark included", error <= bound, error,
            "relative RMS", f"at most {bound:.0e}",
        )  # fmt: skip


def compare_tokens(
    section: Section, result: list[int], expected: list[int], leeway: float = 1.0
) -> bool:
    """Compare the tokens of two devices; returns whether they are equal.

    Args:
        leeway: above 1 others are no failure.
    """
    title, are_equal = "tokens of a sentence with the same seed", result == expected
    if leeway > 1.0 and not are_equal:
        section.figure("tokens", title, "others", note="as is to be expected with TF32")
        return False
    shared = next(
        (i for i, (a, b) in enumerate(zip(result, expected, strict=False)) if a != b),
        min(len(result), len(expected)),
    )
    note = "" if are_equal else f"they differ from token {shared + 1} of {len(expected)} on"
    section.proof("tokens", title, are_equal, "equal" if are_equal else "others", note=note)
    return are_equal


def _look_for_mark(section: Section, result: StageOutputs, expected: StageOutputs) -> None:
    score = min(detect(one.speech, 24000) for one in (result, expected))
    section.proof(
        "mark", "the watermark is found", score >= THRESHOLD, score, "", f"from {THRESHOLD} on"
    )


def compare_halves(
    section: Section, dtype: str, result: StageOutputs, expected: StageOutputs
) -> None:
    """Compare networks in half precision with those in float32."""
    stages = {
        "logits": (result.logits, expected.logits),
        "mel": (result.mel, expected.mel),
        "vocoder": (result.vocoded, expected.vocoded),
    }
    bound = HALF_BOUNDS[dtype]
    for name, (array, exact) in stages.items():
        error = relative_rms(array, exact)
        section.proof(
            f"{dtype}_{name}", f"{name} in {dtype} on the GPU against float32", error <= bound,
            error, "relative RMS", f"at most {bound}",
        )  # fmt: skip
