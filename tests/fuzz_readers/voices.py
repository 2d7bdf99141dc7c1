"""Saved voices and arguments of S3Gen. Readable ones are used to speak."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from mlx_chatterbox.weights.hub import POCKET_FOLDER
from tests.fuzz_damage import (
    damage_bytes,
    damage_header,
    damage_tensors,
    safetensors_of,
    tensors_of,
)
from tests.fuzzing import Reader


def voice_files() -> list[bytes]:
    return [(POCKET_FOLDER / "voices" / "slt.safetensors").read_bytes()]


@cache
def pocket_speech():
    """The pocket model, speaking and converting."""
    from mlx_chatterbox import ChatterboxTTS, ChatterboxVC

    tts = ChatterboxTTS.from_pretrained("pocket")
    return tts, ChatterboxVC(tts.checkpoint)


def read_voice(path: Path) -> None:
    from mlx_chatterbox import Voice

    voice = Voice.load(path)
    tts, vc = pocket_speech()
    few = {"seed": 0, "n_cfm_timesteps": 1, "watermark": False}
    recording = np.sin(np.arange(4800, dtype=np.float32) / 20)
    vc.generate(recording, voice=voice, **few)
    tts.generate("Yes.", voice=voice, max_new_tokens=2, **few)
    list(tts.stream("Yes.", voice=voice, max_new_tokens=2, **few))
    voice.save(path.parent / "again.safetensors")


def read_conds(path: Path) -> None:
    """Convert and load a voice, as for upstream's and mlx-audio's models."""
    from mlx_chatterbox.weights.checkpoint import built_in_voice
    from mlx_chatterbox.weights.conversion.voice import convert_voice

    convert_voice(path, path.parent)
    built_in_voice(path.parent, pocket_speech()[0].networks)


@cache
def small_s3gen():
    from mlx_chatterbox import S3GenModel
    from mlx_chatterbox.models.s3tokenizer.config import S3TokenizerConfig
    from tests.small import small_s3gen

    return S3GenModel(
        small_s3gen(), S3TokenizerConfig(n_audio_state=32, n_audio_head=2, n_audio_layer=1)
    )


def read_call(path: Path) -> None:
    """S3Gen's interface with arrays of any kind."""
    tensors, _ = tensors_of(path.read_bytes())
    model = small_s3gen()
    ref = {name.removeprefix("ref."): v for name, v in tensors.items() if name.startswith("ref.")}
    call = {name: v for name, v in tensors.items() if not name.startswith("ref.")}
    tokens, steps = call.pop("speech_tokens", None), call.pop("n_cfm_timesteps", np.array(1))
    steps = steps.reshape(-1)[0].item() if steps.size else 1
    call = {name: v for name, v in call.items() if name in _CALL}
    # More take their time, and no other way.
    if isinstance(steps, int) and 3 < steps <= 1000:
        steps = 1
    model.inference(tokens, ref_dict=ref, seed=0, n_cfm_timesteps=steps, **call)
    lengths = call.get("speech_token_lens")
    if lengths is not None:
        model.mel_lengths(lengths, ref)


_CALL = ("speech_token_lens", "noised_mels", "cache_source")


def calls() -> list[bytes]:
    rng = np.random.default_rng(0)
    reference = {
        "ref.prompt_token": rng.integers(6561, size=(2, 5)).astype(np.int32),
        "ref.prompt_token_len": np.array([5, 4], np.int32),
        "ref.prompt_feat": rng.standard_normal((2, 10, 80)).astype(np.float32),
        "ref.prompt_feat_len": np.array([10, 8], np.int32),
        "ref.embedding": rng.standard_normal((2, 192)).astype(np.float32),
    }
    tokens = {
        "speech_tokens": rng.integers(6561, size=(2, 4)).astype(np.int32),
        "speech_token_lens": np.array([4, 3], np.int32),
        "n_cfm_timesteps": np.array([1], np.int32),
    }
    more = {
        "noised_mels": rng.standard_normal((2, 80, 8)).astype(np.float32),
        "cache_source": np.zeros((2, 1, 10), np.float32),
    }
    return [
        safetensors_of({**reference, **tokens}),
        safetensors_of({**reference, **tokens, **more}),
    ]


_DAMAGES = (damage_tensors, damage_tensors, damage_header, damage_bytes)

READERS = (
    Reader("voice", read_voice, voice_files, _DAMAGES, ".safetensors", quick=40),
    Reader("conds", read_conds, voice_files, _DAMAGES, ".safetensors", quick=0),
    Reader(
        "s3gen", read_call, calls, (damage_tensors,), ".safetensors",
        quick=0,
    ),
)  # fmt: skip
