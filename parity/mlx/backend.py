"""Our networks, stage by stage, from a converted checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

import mlx_chatterbox  # noqa: F401  (before mlx.core, so that a fast BLAS is found)
from mlx_chatterbox import watermark
from mlx_chatterbox.audio.kaldi import fbank
from mlx_chatterbox.audio.mel import s3_tokenizer_log_mel, s3gen_mel, voice_encoder_mel
from mlx_chatterbox.audio.resample import resample_sinc, resample_soxr
from mlx_chatterbox.audio.silence import trim_silence
from mlx_chatterbox.checks.plain import MAX_INTEGER
from mlx_chatterbox.checks.tensors import check_tokens
from mlx_chatterbox.models.chattts.networks import ChatTTSNetworks
from mlx_chatterbox.models.t3.decoding import decode
from mlx_chatterbox.models.t3.sampling import SamplingSettings, process_logits
from mlx_chatterbox.watermark.detector import answer, at_32k

# isort: split
import mlx.core as mx

from mlx_chatterbox.weights.checkpoint import load
from mlx_chatterbox.weights.hub import holds_chattts

from .. import stages
from ..errors import ParityError
from ..tables.stage import PIPELINE
from ..taps.names import CHATTTS_TAPPED_STAGES, TAPPED_STAGES
from ..taps.recording import CALLS, Tap
from ..upstream.chattts_files import load_chattts
from . import chattts, flash
from .pipeline import pipeline
from .taps import MLXRecorder, tapped

# 4 minutes; S3Gen's work grows with the square.
_MOST_TOKENS = 6000

Arrays = Mapping[str, np.ndarray]
Outputs = dict[str, "mx.array | np.ndarray"]


def compute(
    folder: str | Path, inputs: Arrays, only: Iterable[str] | None = None, **model
) -> dict[str, np.ndarray]:
    """Compute the outputs of every stage whose inputs are present.

    Args:
        folder: a converted checkpoint, or one of ChatTTS's own files.
        inputs: a dump's tensors under the names of `parity.stages`.
        only: names of stages; the others are left out.
        model: further arguments of `checkpoint.load`.

    Raises:
        CheckpointError: the folder does not load.
    """
    if holds_chattts(Path(folder)):
        return compute_with(load_chattts(folder).networks, inputs, only)
    checkpoint = load(folder, **model)
    whole = {PIPELINE: lambda _, inputs: pipeline(checkpoint, inputs)}
    return _computed({**_STAGES, **whole}, checkpoint.networks, inputs, only)


def compute_with(
    networks, inputs: Arrays, only: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Compute as `compute` does, with networks loaded by `checkpoint.build` or `load`.

    The stage `pipeline` needs a whole checkpoint and is left out.

    Args:
        only: names of stages; the others are left out.
    """
    return _computed(_functions(networks), networks, inputs, only)


def _functions(networks) -> dict[str, Callable[..., Outputs]]:
    """Functions of the stages of the networks' family, by name."""
    return chattts.STAGES if isinstance(networks, ChatTTSNetworks) else _STAGES


def _computed(functions, networks, inputs: Arrays, only) -> dict[str, np.ndarray]:
    outputs = stages.compute_each(functions, networks, inputs, only)
    return {name: _array(value) for name, value in outputs.items()}


def record_with(
    networks, inputs: Arrays, only: Iterable[str] | None = None, calls: int = CALLS
) -> list[Tap]:
    """Record every layer's inputs and outputs, stage by stage.

    Args:
        only: names of stages; the others are left out.
        calls: how many of a layer in a stage.
    """
    recorder = MLXRecorder(calls)
    with tapped(networks, recorder):
        functions = _functions(networks)
        only = only or (*TAPPED_STAGES, *CHATTTS_TAPPED_STAGES)
        stages.compute_each(functions, networks, inputs, only, recorder, _array)
    return recorder.taps


def _array(value) -> np.ndarray:
    if isinstance(value, mx.array):
        # NumPy has no bfloat16, and a dump no use for unsigned tokens.
        if value.dtype == mx.bfloat16:
            value = value.astype(mx.float32)
        value = np.array(value)
    return value.astype(np.int32) if value.dtype.kind in "iu" else np.ascontiguousarray(value)


def _floats(inputs: Arrays, name: str) -> mx.array:
    return mx.array(np.asarray(inputs[name], dtype=np.float32))


def _tokens(inputs: Arrays, name: str, count: int, most: int) -> mx.array:
    """Tokens (n,) below `count`, at most `most` of them; checked, since MLX checks neither."""
    tokens = np.asarray(inputs[name])
    check_tokens(tokens, count, name, ParityError)
    if tokens.ndim != 1 or len(tokens) > most:
        raise ParityError(f"{name} has shape {tokens.shape}; it must be (n,), n at most {most}.")
    return mx.array(tokens.astype(np.int32))


def _number(inputs: Arrays, name: str) -> int:
    """A single integer, 0 or more."""
    values = np.asarray(inputs[name])
    check_tokens(values, MAX_INTEGER, name, ParityError)
    if values.size != 1:
        raise ParityError(f"{name} has shape {values.shape}; it must be one number.")
    return int(values.reshape(-1)[0])


def _voice_encoder(networks, inputs: Arrays) -> Outputs:
    trimmed = trim_silence(np.asarray(inputs["audio/ref_16k"], dtype=np.float32))
    mel = voice_encoder_mel(mx.array(trimmed))
    return {
        "voice_encoder/trimmed": trimmed,
        "voice_encoder/mel": mel,
        "voice_encoder/embedding": networks.ve.embed_mel(mel),
    }


def _s3_tokenizer(networks, inputs: Arrays) -> Outputs:
    log_mel = s3_tokenizer_log_mel(_floats(inputs, "audio/ref_16k"))
    return {
        "s3_tokenizer/log_mel": log_mel,
        "s3_tokenizer/tokens": networks.s3_tokenizer.encode_mel(log_mel),
    }


def _s3_encoder(networks, inputs: Arrays) -> Outputs:
    tokenizer = networks.s3_tokenizer
    hidden = tokenizer.encoder(_floats(inputs, "s3_encoder/log_mel").T[None])
    return {"s3_encoder/codes": tokenizer.quantizer.codebook.project_down(hidden)[0]}


def _speaker_encoder(networks, inputs: Arrays) -> Outputs:
    features = fbank(_floats(inputs, "audio/ref_16k"))
    features = features - features.mean(axis=0, keepdims=True)
    return {
        "speaker_encoder/fbank": features,
        "speaker_encoder/embedding": networks.s3gen.speaker_encoder(features[None]),
    }


def _ref_mel(networks, inputs: Arrays) -> Outputs:
    return {"s3gen/ref_mel": s3gen_mel(_floats(inputs, "audio/ref_24k"))}


def _resample(networks, inputs: Arrays) -> Outputs:
    waveform = np.asarray(inputs["audio/ref_24k"], dtype=np.float32)
    return {"resample/ref_16k": resample_soxr(waveform, 24000, 16000)}


def _sinc_resample(networks, inputs: Arrays) -> Outputs:
    return {"resample/sinc_16k": resample_sinc(_floats(inputs, "audio/ref_24k"), 24000, 16000)}


def _conditioning(networks, inputs: Arrays) -> mx.array:
    config = networks.t3.config
    speech, most = config.speech_tokens_dict_size, config.max_prompt_tokens
    return networks.t3.embed_conditioning(
        _floats(inputs, "voice_encoder/embedding"),
        _tokens(inputs, "t3/cond_prompt_tokens", speech, most)[None],
        _floats(inputs, "t3/emotion"),
    )


def _text_tokens(networks, inputs: Arrays, speech: int) -> mx.array:
    """Text tokens, checked to fit the positions beside `speech` speech tokens."""
    config = networks.t3.config
    most = config.max_text_tokens + 2
    if config.is_gpt2:
        most = config.max_position_embeddings - config.speech_cond_prompt_len - 2 - speech
    return _tokens(inputs, "t3/text_tokens", config.text_tokens_dict_size, most)


def _t3(networks, inputs: Arrays) -> Outputs:
    cond_emb = _conditioning(networks, inputs)
    config = networks.t3.config
    most = config.max_position_embeddings if config.is_gpt2 else config.max_speech_tokens + 3
    speech = _tokens(inputs, "t3/speech_tokens", config.speech_tokens_dict_size, most)
    text = _text_tokens(networks, inputs, len(speech))
    logits = networks.t3.teacher_forced_logits(cond_emb, text, speech)
    gpt2 = config.is_gpt2
    return {"t3/cond_emb": cond_emb[0], "t3/logits": logits[0] if gpt2 else logits}


def _t3_greedy(networks, inputs: Arrays) -> Outputs:
    settings = SamplingSettings(
        temperature=0.0,
        repetition_penalty=stages.GREEDY_REPETITION_PENALTY,
        min_p=0.0,
        top_p=1.0,
        order="penalty_last" if networks.t3.config.is_gpt2 else "penalty_first",
    )
    tokens = decode(
        networks.t3,
        _conditioning(networks, inputs),
        _text_tokens(networks, inputs, 0),
        settings,
        cfg_weight=stages.GREEDY_CFG_WEIGHT,
        max_new_tokens=_number(inputs, "t3/greedy_steps"),
    )
    return {"t3/greedy_tokens": np.array(list(tokens), dtype=np.int32)}


def _sampler(networks, inputs: Arrays) -> Outputs:
    def settings(penalty: float, temperature: float, min_p: float, top_p: float):
        return SamplingSettings(temperature, penalty, min_p, top_p)

    return {"sampler/probs": _distributions(inputs, "sampler", settings)}


def _sampler_turbo(networks, inputs: Arrays) -> Outputs:
    def settings(penalty: float, temperature: float, top_k: float, top_p: float):
        return SamplingSettings(temperature, penalty, 0.0, top_p, int(top_k), "penalty_last")

    return {"sampler_turbo/probs": _distributions(inputs, "sampler_turbo", settings)}


def _distributions(inputs: Arrays, stage: str, as_settings: Callable) -> np.ndarray:
    """Distributions case by case, since the settings belong to a call and not to a row.

    The distribution drawn from is the softmax of the processed logits; it is written out in
    float64, because `mx.softmax` over 8,000 entries loses more on the CPU than the bound allows.
    """
    logits = np.asarray(inputs[f"{stage}/logits"], dtype=np.float32)
    rows = []
    for row, history, values in zip(
        logits, inputs[f"{stage}/history"], inputs[f"{stage}/settings"], strict=True
    ):
        seen = np.zeros((1, logits.shape[1]), dtype=bool)
        seen[0, history] = True
        settings = as_settings(*np.asarray(values, dtype=np.float32).tolist())
        processed = np.array(process_logits(mx.array(row)[None], mx.array(seen), settings)[0])
        weights = np.exp(processed.astype(np.float64) - processed.max())
        rows.append((weights / weights.sum()).astype(np.float32))
    return np.stack(rows)


def _flow(networks, inputs: Arrays) -> Outputs:
    flow = networks.s3gen.flow
    codes = networks.s3gen.config.vocab_size
    prompt, tokens = (
        _tokens(inputs, f"flow/{name}", codes, _MOST_TOKENS)[None]
        for name in ("prompt_token", "speech_tokens")
    )
    embedding = _floats(inputs, "speaker_encoder/embedding")
    mel = flow.inference(
        tokens,
        prompt,
        _floats(inputs, "flow/prompt_feat")[None],
        embedding,
        _floats(inputs, "flow/noise").T[None],
        n_timesteps=_number(inputs, "flow/n_timesteps"),
    )
    return {
        "flow/mu": flow.encode(mx.concatenate([prompt, tokens], axis=1))[0],
        "flow/speaker": flow.project_speaker(embedding),
        "flow/mel": mel[0],
    }


def _estimator(networks, inputs: Arrays) -> Outputs:
    x, mu, cond = (
        _floats(inputs, f"estimator/{name}").transpose(0, 2, 1) for name in ("x", "mu", "cond")
    )
    out = networks.s3gen.flow.decoder.estimator(
        x,
        mu,
        _floats(inputs, "estimator/t"),
        _floats(inputs, "estimator/spks"),
        cond,
        r=_floats(inputs, "estimator/r") if "estimator/r" in inputs else None,
    )
    return {"estimator/out": out.transpose(0, 2, 1)}


def _source(networks, inputs: Arrays) -> Outputs:
    vocoder = networks.s3gen.mel2wav
    excitation, _ = vocoder.m_source.excite(
        _floats(inputs, "source/f0")[None],
        vocoder.samples_per_frame,
        _floats(inputs, "source/phases")[None, None],
        vocoder.m_source.merge_noise(_floats(inputs, "source/noise")[None]),
    )
    return {"source/excitation": excitation[0]}


def _vocoder(networks, inputs: Arrays) -> Outputs:
    vocoder = networks.s3gen.mel2wav
    mel = _floats(inputs, "vocoder/mel")[None]
    source = _floats(inputs, "vocoder/source")[None]
    return {
        "vocoder/f0": vocoder.f0_predictor(mel)[0],
        "vocoder/waveform": vocoder.decode(mel, source)[0],
    }


def _watermark(networks, inputs: Arrays) -> Outputs:
    waveform = np.asarray(inputs["audio/ref_24k"], dtype=np.float32)
    # Upstream cuts the end to whole frames of 10 ms.
    length = len(waveform) // 240 * 240
    return {
        "watermark/marked": watermark.apply(waveform, 24000)[:length],
        "watermark/answer": np.array([answer(at_32k(waveform, 24000))], dtype=np.float32),
    }


_STAGES: dict[str, Callable[..., Outputs]] = {
    "voice_encoder": _voice_encoder,
    "s3_tokenizer": _s3_tokenizer,
    "s3_encoder": _s3_encoder,
    "speaker_encoder": _speaker_encoder,
    "ref_mel": _ref_mel,
    "resample": _resample,
    "sinc_resample": _sinc_resample,
    "t3": _t3,
    "t3_greedy": _t3_greedy,
    "flash": flash.blocks,
    "flash_steps": flash.steps,
    "flash_greedy": flash.greedy,
    "flash_noise": flash.noise,
    "sampler": _sampler,
    "sampler_turbo": _sampler_turbo,
    "flow": _flow,
    "estimator": _estimator,
    "source": _source,
    "vocoder": _vocoder,
    "watermark": _watermark,
}
