"""Inputs of ChatTTS's stages: drawn from a seed, or those that its stored reference is for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mlx_chatterbox.audio.files import load_audio
from mlx_chatterbox.models.chattts.config import ChatTTSConfig, GPTConfig

from ..compare import without_padding
from ..dumps import read_dump
from ..stages import expanded
from ..tables.chattts import CHATTTS_STAGES
from .chattts_cases import as_notes
from .synthetic_voice import SAMPLE_RATE, synthetic_voice

# Tensors that ChatTTS's own modules made on the weights that `fabricate` makes of `STORED_SEED`.
STORED = Path(__file__).parents[2] / "tests" / "data" / "chattts-reference.safetensors"
STORED_VERSIONS = {
    "torch": "2.13.0",
    "transformers": "4.46.3",
    "vector-quantize-pytorch": "1.14.24",
}
_STEPS, _PADDING, _PROMPT_CODES, _FORCED = 11, 3, 5, 4
_GREEDY = {
    "greedy_text": {"repetition_penalty": 1.2, "max_new_token": 12},
    "greedy_code": {"repetition_penalty": 1.05, "max_new_token": 24},
}
_SETTINGS = {
    "usual": {"temperature": 0.3, "top_P": 0.7, "top_K": 20, "repetition_penalty": 1.05},
    "codebooks": {
        "temperature": [0.2, 0.5, 0.9, 2.0],
        "top_P": 0.9,
        "top_K": 20,
        "repetition_penalty": 1.3,
    },
    "narrow": {"temperature": 1.0, "top_P": 0.01, "top_K": 1, "repetition_penalty": 1.0},
    "early": {
        "temperature": 1.0,
        "top_P": None,
        "top_K": None,
        "repetition_penalty": 1.3,
        "min_new_token": 40,
    },
}


def make_inputs(
    config: ChatTTSConfig, seed: int, audio: Path | None = None
) -> dict[str, np.ndarray]:
    """Draw inputs for every stage of a model of this size.

    Args:
        audio: the recording to encode; a synthetic voice without it.

    Raises:
        AudioError: the recording cannot be read.
    """
    random = np.random.default_rng(seed)
    normal = random.standard_normal
    ids = random.integers(0, config.dvae.codes, (2, config.gpt.num_vq, _STEPS))
    inputs = {
        **_prompts(config.gpt, random),
        "speaker/vector": (4 * normal(config.gpt.hidden_size)).astype(np.float16),
        "decoder/hidden": normal((2, _STEPS, config.gpt.hidden_size), dtype=np.float32),
        "dvae/ids": ids.astype(np.int32),
        "dvae/waveform": _voice(seed) if audio is None else recording(audio),
        "vocos/mel": 2 * normal((1, config.n_mels, 2 * _STEPS), dtype=np.float32),
        "notes": as_notes({"sampler": _SETTINGS, **_GREEDY}),
    }
    for case in _SETTINGS:
        count = config.gpt.num_audio_tokens
        logits = 3 * normal((2 * config.gpt.num_vq, count), dtype=np.float32)
        history = random.integers(0, count - 1, (len(logits), 24)).astype(np.int32)
        # Some of the likeliest were drawn several times, the last of them too long ago.
        history[:, -9:-6], history[:, :2] = (
            logits.argmax(axis=1)[:, None],
            logits.argsort(axis=1)[:, -2:],
        )
        inputs |= {f"sampler/{case}/logits": logits, f"sampler/{case}/history": history}
    return inputs


def _prompts(config: GPTConfig, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Two prompts of text, and two of text, a speaker and codes; the first of each is padded."""
    result = {}
    for case, codes in (("text", 0), ("code", _PROMPT_CODES + _FORCED)):
        length = 9 + codes
        ids = random.integers(1, config.num_text_tokens, (2, length, 1))
        ids[ids == config.speaker_token] = 1
        ids = np.repeat(ids, config.num_vq, axis=2)
        mask, is_text = np.ones((2, 2, length), np.uint8)
        if codes:
            ids[:, _PADDING + 1] = config.speaker_token
            shape = (2, codes, config.num_vq)
            ids[:, -codes:] = random.integers(0, config.num_audio_tokens - 1, shape)
            is_text[:, -codes:] = 0
            result["gpt/code/start"] = np.array([length - _FORCED], np.int32)
        ids[0, :_PADDING], mask[0, :_PADDING], is_text[0, :_PADDING] = 0, 0, 0
        values = {"input_ids": ids.astype(np.int32), "attention_mask": mask, "text_mask": is_text}
        result |= {f"gpt/{case}/{name}": value for name, value in values.items()}
        # The same rows without the codes, to go on with.
        written = ids[:, : length - codes].astype(np.int32)
        result[f"generate/{case}/input_ids"] = written if codes else written[..., 0]
        result[f"generate/{case}/attention_mask"] = mask[:, : length - codes]
    return result


def recording(path: Path) -> np.ndarray:
    """Read the recording to encode: (n,) float32 at 24 kHz, its first 10 s."""
    return np.array(load_audio(path, SAMPLE_RATE), dtype=np.float32)[: 10 * SAMPLE_RATE]


def _voice(seed: int) -> np.ndarray:
    voice = synthetic_voice(1.2, seed)
    # Without noise its treble is a millionth of its bass, and rounding is all that float32 has
    # of it; before the voice there is silence, whose logarithms are bounded.
    noise = 0.01 * np.random.default_rng(seed).standard_normal(len(voice), dtype=np.float32)
    return np.where(voice == 0, voice, voice + noise)


def stored_reference() -> dict[str, np.ndarray]:
    """Every tensor of ChatTTS's stored reference; {} where tests are not installed."""
    return read_dump(STORED) if STORED.is_file() else {}


def stored_inputs(reference: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs of stages among the tensors of a reference."""
    table = expanded(reference, CHATTTS_STAGES)
    names = [name for stage in table for name in (*stage.inputs, *stage.optional_inputs)]
    return {name: reference[name] for name in dict.fromkeys(names) if name in reference}


def stored_outputs(
    reference: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """A reference's outputs of the stages that have its inputs; zero at padding."""
    outputs = {}
    for stage in expanded(reference, CHATTTS_STAGES):
        names = [*stage.inputs, *(n for n in stage.optional_inputs if n in reference)]
        shared = [n for n in names if n in inputs and n in reference]
        if shared != names or not all(np.array_equal(inputs[n], reference[n]) for n in names):
            continue
        for output in stage.outputs:
            if output.name in reference:
                outputs[output.name] = without_padding(reference[output.name], output, inputs)
    return outputs
