"""Upstream's side of the benchmarks, by its own package; runs where PyTorch is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from .inputs import DECODED_TOKENS, UTTERANCE_TOKENS

SAMPLE_RATE = 24000


def stages(
    folder: Path, inputs: Mapping[str, np.ndarray], steps: int, variant: str
) -> dict[str, Callable]:
    """Stage name to a function of no arguments; networks are loaded when first needed."""
    from parity.torch_env import prepare

    prepare()
    import torch

    from parity.torch_networks import Networks

    networks = Networks(folder, variant=variant)
    arrays = {name: torch.from_numpy(value) for name, value in inputs.items() if name != "audio"}
    arrays = {k: v.long() if v.dtype == torch.int32 else v for k, v in arrays.items()}
    reference = {
        "prompt_token": arrays["prompt_token"],
        "prompt_token_len": torch.tensor([arrays["prompt_token"].shape[1]]),
        "prompt_feat": arrays["prompt_feat"],
        "prompt_feat_len": None,
        "embedding": arrays["embedding"],
    }

    def decoded(count: int) -> None:
        cond = _condition(arrays["speaker"], arrays["t3_prompt"])
        torch.manual_seed(0)
        text = arrays["text_tokens"][None].repeat(2, 1)
        written = networks.t3.inference(t3_cond=cond, text_tokens=text, max_new_tokens=count)
        if written.shape[1] != count:
            raise RuntimeError(f"T3 stopped after {written.shape[1]} of {count} tokens")

    def flow(tokens=arrays["speech_tokens"], n_timesteps=steps, **meanflow):
        return networks.s3gen.flow.inference(
            token=tokens,
            token_len=torch.tensor([tokens.shape[1]]),
            finalize=True,
            n_timesteps=n_timesteps,
            **meanflow,
            **reference,
        )[0]

    mel = arrays["mel"].transpose(1, 2)

    def vocoder(mel=mel) -> None:
        networks.s3gen.mel2wav.inference(mel, torch.zeros(1, 1, 0))

    def utterance() -> None:
        torch.manual_seed(0)
        written = networks.t3.inference_turbo(
            t3_cond=_condition(arrays["speaker"], arrays["nano_prompt"]),
            text_tokens=arrays["text_tokens"][None],
            top_k=0,
            max_gen_len=UTTERANCE_TOKENS - 1,
        )
        if written.shape[1] != UTTERANCE_TOKENS:
            raise RuntimeError(f"T3 stopped after {written.shape[1]} tokens")
        vocoder(flow(arrays["utterance_tokens"], 2, meanflow=True))

    stages = {
        "conditioning": lambda: _conditioning(networks, inputs["audio"]),
        "t3_first": lambda: decoded(1),
        "t3_many": lambda: decoded(1 + DECODED_TOKENS),
        "flow": flow,
        "vocoder": vocoder,
        "s3gen": lambda: (flow(), vocoder()),
        "nano_utterance": utterance,
    }
    return {name: torch.inference_mode()(work) for name, work in stages.items()}


def _condition(speaker, prompt):
    import torch
    from chatterbox.models.t3.modules.cond_enc import T3Cond

    return T3Cond(
        speaker_emb=speaker,
        cond_prompt_speech_tokens=prompt,
        emotion_adv=0.5 * torch.ones(1, 1, 1),
    )


def _conditioning(networks, audio: np.ndarray) -> None:
    """What upstream's `prepare_conditionals` does with a loaded recording."""
    import librosa

    at_16k = librosa.resample(audio, orig_sr=SAMPLE_RATE, target_sr=16000)
    networks.s3gen.embed_ref(audio, SAMPLE_RATE, device="cpu")
    networks.s3gen.tokenizer.forward([at_16k[: 6 * 16000]], max_len=150)
    networks.voice_encoder.embeds_from_wavs([at_16k], sample_rate=16000)
