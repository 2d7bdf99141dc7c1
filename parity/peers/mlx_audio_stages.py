"""mlx-audio's Chatterbox, stage by stage, by its own functions; runs where mlx-audio is installed.

A peer to be measured, not a reference. Each stage does what its `prepare_conditionals` and
`generate` do with the inputs given; what it has no counterpart of is left out.

    python -m parity.peers.mlx_audio_stages --checkpoint FOLDER --inputs IN --output OUT
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_audio.tts.models.chatterbox.s3gen.mel import mel_spectrogram
from mlx_audio.tts.models.chatterbox.s3gen.xvector import kaldi_fbank
from mlx_audio.tts.models.chatterbox.s3tokenizer import log_mel_spectrogram
from mlx_audio.tts.models.chatterbox.t3.cond_enc import T3Cond
from mlx_audio.utils import resample_audio

from .. import stages
from ..dumps import read_dump, write_dump
from .mlx_audio import load

Arrays = Mapping[str, np.ndarray]
SAMPLE_RATE_16K, SAMPLE_RATE_24K = 16000, 24000


class _Watched:
    """A network that remembers what it was called with."""

    def __init__(self, network):
        self._network, self.arguments = network, {}

    def __getattr__(self, name: str):
        return getattr(self._network, name)

    def __call__(self, **arguments):
        self.arguments = arguments
        return self._network(**arguments)


def _given(inputs: Arrays, name: str) -> mx.array:
    return mx.array(inputs[name])


def _voice_encoder(model, inputs: Arrays) -> dict:
    encoder, results = model.ve, {}
    original = encoder.embeds_from_mels

    def embeds_from_mels(mels, *arguments, **settings):
        results["voice_encoder/mel"] = mels[0]
        return original(mels, *arguments, **settings)

    encoder.embeds_from_mels = embeds_from_mels
    try:
        waveform = _given(inputs, "audio/ref_16k")
        embedding = encoder.embeds_from_wavs([waveform], sample_rate=SAMPLE_RATE_16K)
    finally:
        del encoder.embeds_from_mels
    return {**results, "voice_encoder/embedding": embedding}


def _s3_tokenizer(model, inputs: Arrays) -> dict:
    log_mel = log_mel_spectrogram(_given(inputs, "audio/ref_16k"))
    tokens, _ = model._s3_tokenizer(log_mel[None], mx.array([log_mel.shape[1]]))
    return {"s3_tokenizer/log_mel": log_mel, "s3_tokenizer/tokens": tokens[0]}


def _speaker_encoder(model, inputs: Arrays) -> dict:
    waveform = _given(inputs, "audio/ref_16k")
    features = kaldi_fbank(waveform, num_mel_bins=80)
    return {
        "speaker_encoder/fbank": features - mx.mean(features, axis=0, keepdims=True),
        "speaker_encoder/embedding": model.s3gen.speaker_encoder.inference(waveform[None]),
    }


def _ref_mel(model, inputs: Arrays) -> dict:
    return {"s3gen/ref_mel": mel_spectrogram(_given(inputs, "audio/ref_24k")[None])[0].T}


def _resample(model, inputs: Arrays) -> dict:
    waveform = _given(inputs, "audio/ref_24k")
    return {"resample/ref_16k": resample_audio(waveform, SAMPLE_RATE_24K, SAMPLE_RATE_16K)}


def _condition(inputs: Arrays):
    return T3Cond(
        speaker_emb=_given(inputs, "voice_encoder/embedding"),
        cond_prompt_speech_tokens=_given(inputs, "t3/cond_prompt_tokens")[None],
        emotion_adv=_given(inputs, "t3/emotion").reshape(1, 1, 1),
    )


def _both_rows(inputs: Arrays) -> mx.array:
    text = _given(inputs, "t3/text_tokens")
    return mx.broadcast_to(text[None], (2, text.shape[0]))


def _t3(model, inputs: Arrays) -> dict:
    t3, speech = model.t3, _given(inputs, "t3/speech_tokens")
    prompt = t3._prepare_inference_context(_condition(inputs), _both_rows(inputs), 0.5)
    steps = [
        t3.speech_emb(token.reshape(1, 1)) + t3.speech_pos_emb.get_fixed_embedding(step + 1)
        for step, token in enumerate(speech)
    ]
    steps = mx.concatenate(steps, axis=1)
    embedded = mx.concatenate([prompt, mx.broadcast_to(steps, (2, *steps.shape[1:]))], axis=1)
    hidden = t3.tfmr.model(inputs=None, input_embeddings=embedded)
    return {
        "t3/cond_emb": t3.prepare_conditioning(_condition(inputs))[0],
        "t3/logits": t3.speech_head(hidden[:, -(speech.shape[0] + 1) :]),
    }


def _t3_greedy(model, inputs: Arrays) -> dict:
    tokens = model.t3.inference(
        t3_cond=_condition(inputs),
        text_tokens=_both_rows(inputs),
        max_new_tokens=int(np.ravel(inputs["t3/greedy_steps"])[0]),
        temperature=0.0,
        top_p=1.0,
        min_p=0.0,
        repetition_penalty=stages.GREEDY_REPETITION_PENALTY,
        cfg_weight=stages.GREEDY_CFG_WEIGHT,
    )[0].tolist()[1:]
    stop = model.t3.hp.stop_speech_token
    end = tokens.index(stop) if stop in tokens else len(tokens)
    return {"t3/greedy_tokens": mx.array(tokens[:end])}


def _flow(model, inputs: Arrays) -> dict:
    flow = model.s3gen.flow
    decoder, noise = flow.decoder, flow.decoder.rand_noise
    watched = _Watched(decoder)
    tokens, prompt = (_given(inputs, f"flow/{n}")[None] for n in ("speech_tokens", "prompt_token"))
    feat = _given(inputs, "flow/prompt_feat")[None]
    decoder.rand_noise, flow.decoder = _given(inputs, "flow/noise")[None], watched
    try:
        mel, _ = flow.inference(
            tokens,
            mx.array([tokens.shape[1]]),
            prompt_token=prompt,
            prompt_token_len=mx.array([prompt.shape[1]]),
            prompt_feat=feat,
            prompt_feat_len=mx.array([feat.shape[1]]),
            embedding=_given(inputs, "speaker_encoder/embedding"),
            finalize=True,
            n_timesteps=int(np.ravel(inputs["flow/n_timesteps"])[0]),
        )
    finally:
        flow.decoder, decoder.rand_noise = decoder, noise
    return {
        "flow/mu": watched.arguments["mu"][0].T,
        "flow/speaker": watched.arguments["spks"],
        "flow/mel": mel[0].T,
    }


def _estimator(model, inputs: Arrays) -> dict:
    x = _given(inputs, "estimator/x")
    out = model.s3gen.flow.decoder.estimator(
        x,
        mx.ones((x.shape[0], 1, x.shape[2])),
        _given(inputs, "estimator/mu"),
        _given(inputs, "estimator/t"),
        _given(inputs, "estimator/spks"),
        _given(inputs, "estimator/cond"),
    )
    return {"estimator/out": out}


def _vocoder(model, inputs: Arrays) -> dict:
    vocoder = model.s3gen.mel2wav
    mel = _given(inputs, "vocoder/mel").T[None]
    source = _given(inputs, "vocoder/source")[None, None]
    return {
        "vocoder/f0": vocoder.f0_predictor(mel)[0],
        "vocoder/waveform": vocoder.decode(mel, source)[0],
    }


_STAGES = {
    "voice_encoder": _voice_encoder,
    "s3_tokenizer": _s3_tokenizer,
    "speaker_encoder": _speaker_encoder,
    "ref_mel": _ref_mel,
    "resample": _resample,
    "t3": _t3,
    "t3_greedy": _t3_greedy,
    "flow": _flow,
    "estimator": _estimator,
    "vocoder": _vocoder,
}


def compute(model, inputs: Arrays) -> dict[str, np.ndarray]:
    """Compute the outputs of every stage that it has and whose inputs are present."""
    results = stages.compute_each(_STAGES, model, inputs)
    outputs = {name: np.array(value) for name, value in results.items()}
    return {
        name: value.astype(np.int32 if value.dtype.kind in "iu" else np.float32)
        for name, value in outputs.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="a folder of mlx-audio's")
    parser.add_argument("--inputs", type=Path)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    mx.set_default_device(mx.cpu)
    outputs = compute(load(arguments.checkpoint), read_dump(arguments.inputs))
    write_dump(arguments.output, outputs, {"backend": "mlx-audio"})


if __name__ == "__main__":
    main()
