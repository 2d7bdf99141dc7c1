"""Inputs for every stage: one dump, from a seed and optionally a recording.

Sizes are moderate, so that a comparison at full model size takes a minute or two on two cores,
and mostly odd, so that an off-by-one shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from mlx_chatterbox.audio.files import load_audio

from .flash import flash_inputs
from .pipeline import pipeline_inputs
from .sampler_cases import sampler_cases, turbo_sampler_cases
from .synthetic_voice import SAMPLE_RATE, synthetic_voice

SAMPLE_RATE_16K = 16000
MAX_AUDIO_SECONDS = 10.0
SAMPLES_PER_FRAME = 480


@dataclass(frozen=True)
class Sizes:
    """Lengths of the inputs, in tokens unless the name has another unit."""

    audio_seconds: float = 7.3
    text_tokens: int = 24
    s3_encoder_frames: int = 203
    t3_prompt_tokens: int = 75
    t3_speech_tokens: int = 24
    greedy_steps: int = 32
    flow_prompt_tokens: int = 49
    flow_speech_tokens: int = 25
    flow_steps: int | None = None  # as many as the model takes
    estimator_frames: int = 61
    vocoder_frames: int = 41
    sampler_cases: int = 200
    flash_blocks: tuple[int, ...] = (16, 12)


def make_inputs(
    config,
    seed: int = 0,
    audio: str | Path | None = None,
    sizes: Sizes | None = None,
) -> dict[str, np.ndarray]:
    """Inputs of every stage but `pipeline` for a model of this configuration.

    Args:
        config: `ModelConfig`, for vocabularies and widths.
        seed: of everything random.
        audio: a recording to use as the reference instead of the synthetic voice; its first 10 s.
        sizes: other lengths.

    Raises:
        AudioError: the recording cannot be read.
    """
    sizes = sizes or Sizes()
    rng = np.random.default_rng([seed, 7])
    voice, t3 = _conditioning(config, rng), _t3(config, rng, sizes)
    if config.t3.has_mask:
        blocks = flash_inputs(config, np.random.default_rng([seed, 11]), voice | t3, sizes)
        # What decodes token by token is not there, nor its sampler.
        del voice["voice_encoder/embedding"]
        t3 = blocks
    else:
        t3 |= _sampler(config, seed, sizes)
    return {
        **_audio(seed, audio, sizes),
        **_s3_encoder(config, seed, sizes),
        **voice,
        **t3,
        **_flow(config, rng, sizes),
        **_estimator(config, rng, sizes),
        **_vocoder(config, rng, sizes),
        **_source(config, seed, sizes),
    }


def inputs_with_pipeline(
    config, seed: int = 0, audio: str | Path | None = None
) -> dict[str, np.ndarray]:
    """All inputs of the parity table; arguments and errors are those of `make_inputs`."""
    made = make_inputs(config, seed, audio)
    return {**made, **pipeline_inputs(config, made["audio/ref_24k"], seed)}


def _audio(seed: int, audio: str | Path | None, sizes: Sizes) -> dict[str, np.ndarray]:
    if audio is None:
        waveform = synthetic_voice(sizes.audio_seconds, seed)
    else:
        waveform = load_audio(audio, SAMPLE_RATE)[: round(MAX_AUDIO_SECONDS * SAMPLE_RATE)]
    at_16k = soxr.resample(waveform, SAMPLE_RATE, SAMPLE_RATE_16K, quality="HQ")
    return {"audio/ref_24k": _float32(waveform), "audio/ref_16k": _float32(at_16k)}


def _s3_encoder(config, seed: int, sizes: Sizes) -> dict[str, np.ndarray]:
    """A made-up log-mel of the tokenizer's range, about -0.7 to 1.5."""
    rng = np.random.default_rng([seed, 8])
    mel = _mel(rng, sizes.s3_encoder_frames, config.s3_tokenizer.n_mels)
    return {"s3_encoder/log_mel": np.ascontiguousarray(0.4 + 0.13 * (mel.T + 3.0))}


def _conditioning(config, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Stand-ins for the two speaker embeddings: one is a rectified unit vector, one is not."""
    voice = np.maximum(rng.standard_normal((1, config.t3.speaker_embed_size)), 0.0)
    return {
        "voice_encoder/embedding": _float32(voice / np.linalg.norm(voice)),
        "speaker_encoder/embedding": _normal(rng, 1, config.s3gen.speaker_embed_dim),
    }


def _t3(config, rng: np.random.Generator, sizes: Sizes) -> dict[str, np.ndarray]:
    t3 = config.t3
    start, stop = t3.start_text_token, t3.stop_text_token
    ordinary = np.setdiff1d(np.arange(t3.text_tokens_dict_size), (start, stop))
    if t3.is_gpt2:  # its text has neither
        text = rng.choice(ordinary, sizes.text_tokens)
    else:
        text = [start, *rng.choice(ordinary, sizes.text_tokens - 2), stop]
    codes = config.s3gen.vocab_size
    return {
        "t3/cond_prompt_tokens": _tokens(rng, codes, sizes.t3_prompt_tokens),
        "t3/emotion": _float32([0.6]),
        "t3/text_tokens": np.array(text, dtype=np.int32),
        "t3/speech_tokens": _tokens(rng, codes, sizes.t3_speech_tokens),
        "t3/greedy_steps": np.array([sizes.greedy_steps], dtype=np.int32),
    }


def _sampler(config, seed: int, sizes: Sizes) -> dict[str, np.ndarray]:
    """Sampler cases for the order of this model's sampler."""
    last = config.generation.sampler_order == "penalty_last"
    cases = turbo_sampler_cases if last else sampler_cases
    return cases(sizes.sampler_cases, config.t3.speech_tokens_dict_size, seed)


def _flow(config, rng: np.random.Generator, sizes: Sizes) -> dict[str, np.ndarray]:
    prompt, new = sizes.flow_prompt_tokens, sizes.flow_speech_tokens
    codes, bins = config.s3gen.vocab_size, config.s3gen.mel_bins
    steps = sizes.flow_steps or config.generation.cfm_steps
    return {
        "flow/prompt_token": _tokens(rng, codes, prompt),
        "flow/prompt_feat": _mel(rng, 2 * prompt, bins),
        "flow/speech_tokens": _tokens(rng, codes, new),
        "flow/noise": _normal(rng, bins, 2 * (prompt + new)),
        "flow/n_timesteps": np.array([steps], dtype=np.int32),
    }


def _estimator(config, rng: np.random.Generator, sizes: Sizes) -> dict[str, np.ndarray]:
    shape = (2, config.s3gen.mel_bins, sizes.estimator_frames)
    mels = [_mel(rng, shape[2], shape[1]).T for _ in range(2)]
    return {
        "estimator/x": _normal(rng, *shape),
        "estimator/mu": _normal(rng, *shape),
        "estimator/cond": _float32(np.stack(mels)),
        "estimator/spks": _normal(rng, *shape[:2]),
        "estimator/t": _float32([0.0123, 0.71]),
        **({"estimator/r": _float32([0.5, 1.0])} if config.s3gen.meanflow else {}),
    }


def _vocoder(config, rng: np.random.Generator, sizes: Sizes) -> dict[str, np.ndarray]:
    """A mel, and a source of its length: harmonics of a gliding pitch, then noise."""
    samples = SAMPLES_PER_FRAME * sizes.vocoder_frames
    phase = 2 * np.pi * np.cumsum(np.linspace(110.0, 230.0, samples)) / SAMPLE_RATE
    harmonics = sum(np.sin(order * phase) / order for order in range(1, 9))
    source = np.tanh(0.1 * harmonics + 0.003 * rng.standard_normal(samples))
    unvoiced = samples // 3
    source[:unvoiced] = 0.03 * rng.standard_normal(unvoiced)
    return {
        "vocoder/mel": _mel(rng, sizes.vocoder_frames, config.s3gen.mel_bins),
        "vocoder/source": _float32(source),
    }


def _source(config, seed: int, sizes: Sizes) -> dict[str, np.ndarray]:
    """A gliding pitch with unvoiced frames, the harmonics' phases but the first's, and noise."""
    rng = np.random.default_rng([seed, 9])
    frames, harmonics = sizes.vocoder_frames, config.s3gen.hift.nb_harmonics + 1
    pitch = np.linspace(110.0, 230.0, frames)
    pitch[frames // 3 : frames // 2] = 0.0
    phases = rng.uniform(-np.pi, np.pi, harmonics)
    phases[0] = 0.0
    return {
        "source/f0": _float32(pitch),
        "source/phases": _float32(phases),
        "source/noise": _normal(rng, SAMPLES_PER_FRAME * frames, harmonics),
    }


def _mel(rng: np.random.Generator, frames: int, bins: int) -> np.ndarray:
    """(T, bins): noise smoothed in time around the level of a log mel."""
    noise = rng.standard_normal((frames + 4, bins))
    smooth = np.stack([noise[offset : offset + frames] for offset in range(5)]).sum(axis=0)
    return _float32(-3.0 + smooth)


def _tokens(rng: np.random.Generator, vocabulary: int, count: int) -> np.ndarray:
    return rng.integers(0, vocabulary, count).astype(np.int32)


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def _float32(values) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float32)
