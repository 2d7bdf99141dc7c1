"""Upstream's side of the benchmarks, by its own package; runs where PyTorch is installed.

Upstream decodes one sentence at a time. The batched stages are what a user of the same network in
Hugging Face transformers would write: one forward of its Llama for the two rows of every sentence,
its key-value cache, and upstream's own processors and draw for all sentences at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from parity.torch.env import prepare
from parity.torch.networks import Networks

from .clock import PartsClock, TokenClock, watch_positions
from .errors import BenchmarkError
from .inputs import BATCHES, DECODED_TOKENS, SAMPLE_RATE, UTTERANCE_TOKENS

_device = "cpu"


def use_device(device: str) -> None:
    """Compute on the "cpu" or on the "gpu", CUDA's or Apple's.

    Raises:
        BenchmarkError: this build of PyTorch has no GPU.
    """
    global _device
    prepare()
    import torch

    if device == "cpu":
        _device = "cpu"
    elif torch.cuda.is_available():
        _device = "cuda"
    elif torch.backends.mps.is_available():
        _device = "mps"
    else:
        raise BenchmarkError("--device gpu: this PyTorch has no GPU here.")


def device_memory() -> int | None:
    """Peak memory of the GPU in bytes; None on the CPU, where the process's counts."""
    import torch

    if _device == "cuda":
        return torch.cuda.max_memory_allocated()
    return torch.mps.driver_allocated_memory() if _device == "mps" else None


def load(folder: Path, variant: str = "english"):
    """Load all three modules, as upstream's `from_local` does."""
    networks = Networks(folder, variant=variant)
    for module in (networks.t3, networks.s3gen, networks.voice_encoder):
        module.to(_device)
    _wait()
    return networks


def _wait() -> None:
    """Wait until the device has done its work."""
    import torch

    if _device == "cuda":
        torch.cuda.synchronize()
    elif _device == "mps":
        torch.mps.synchronize()


def stages(folder: Path, inputs: Mapping[str, np.ndarray], variant: str) -> dict[str, Callable]:
    """Group of stages to a function of the flow's steps."""
    import torch

    networks = load(folder, variant)
    arrays = {name: torch.from_numpy(value) for name, value in inputs.items() if name != "audio"}
    arrays = {k: v.long() if v.dtype == torch.int32 else v for k, v in arrays.items()}
    arrays = {name: value.to(_device) for name, value in arrays.items()}
    if variant == "nano":
        work = {"nano_utterance": _nano(networks, arrays)}
    elif variant == "flash":
        work = {"utterance": _flash(networks, arrays, inputs["audio"])}
    else:
        work = {
            "conditioning": lambda steps: _conditioning(networks, inputs["audio"]),
            "t3": lambda steps: _t3(networks.t3, arrays),
            "logits": lambda steps: _logits(networks.t3, arrays),
            **_s3gen(networks.s3gen, arrays),
        }
        for sentences in BATCHES:
            work[f"t3_batch{sentences}"] = _batched(networks.t3, arrays, sentences)
    return {name: _fenced(function) for name, function in work.items()}


def _fenced(work: Callable) -> Callable:
    import torch

    @torch.inference_mode()
    def fenced(steps: int):
        result = work(steps)
        _wait()
        return result if isinstance(result, (dict, np.ndarray)) else None

    return fenced


def _t3(t3, arrays) -> dict[str, float]:
    import torch

    torch.manual_seed(0)
    clock = TokenClock()
    end = watch_positions(t3, clock)
    try:
        t3.inference(
            t3_cond=_condition(arrays["speaker"], arrays["t3_prompt"]),
            text_tokens=arrays["text_tokens"][None].repeat(2, 1),
            max_new_tokens=1 + DECODED_TOKENS,
        )
    finally:
        end()
    return clock.seconds()


def _prompt(t3, arrays, texts):
    """The embeddings before the first token of sentences (n, length), (2 n, positions, C): the
    rows with text first, then those without."""
    import torch

    t3_cond = _condition(arrays["speaker"], arrays["t3_prompt"])
    start = torch.full_like(texts[:1, :1], t3.hp.start_speech_token)
    pairs = []
    for text in texts:
        rows = text[None].repeat(2, 1)
        pair, _ = t3.prepare_input_embeds(
            t3_cond=t3_cond, text_tokens=rows, speech_tokens=start.repeat(2, 1), cfg_weight=0.5
        )
        again = t3.speech_emb(start) + t3.speech_pos_emb.get_fixed_embedding(0)
        pairs.append(torch.cat([pair, again.repeat(2, 1, 1)], dim=1))
    return torch.cat([pair[:1] for pair in pairs] + [pair[1:] for pair in pairs])


def _logits(t3, arrays) -> np.ndarray:
    embedded = _prompt(t3, arrays, arrays["text_tokens"][None])
    hidden = t3.tfmr(inputs_embeds=embedded).last_hidden_state
    return t3.speech_head(hidden[:, -1]).cpu().numpy()


def _batched(t3, arrays, sentences: int) -> Callable[[int], dict[str, float]]:
    """Decode several sentences together; seconds per token of all of them."""
    import torch
    from transformers.generation.logits_process import (
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
    )

    penalise, keep_likely = RepetitionPenaltyLogitsProcessor(1.2), MinPLogitsWarper(0.05)

    def work(steps: int) -> dict[str, float]:
        torch.manual_seed(0)
        clock = TokenClock()
        embedded = _prompt(t3, arrays, arrays["text_batch"][:sentences])
        written = torch.full((sentences, 1), t3.hp.start_speech_token, device=embedded.device)
        cache = None
        for step in range(1 + DECODED_TOKENS):
            output = t3.tfmr(inputs_embeds=embedded, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            with_text, without = t3.speech_head(output.last_hidden_state[:, -1]).chunk(2)
            logits = penalise(written, with_text + 0.5 * (with_text - without)) / 0.8
            probabilities = torch.softmax(keep_likely(written, logits), dim=-1)
            tokens = torch.multinomial(probabilities, num_samples=1)
            # Read, as a loop must that ends when every sentence has stopped.
            tokens.tolist()
            clock.tick()
            written = torch.cat([written, tokens], dim=1)
            embedded = t3.speech_emb(tokens) + t3.speech_pos_emb.get_fixed_embedding(step + 1)
            embedded = embedded.repeat(2, 1, 1)
        step_seconds = clock.seconds()["t3_token"]
        return {f"t3_token_batch{sentences}": step_seconds / sentences}

    return work


def _s3gen(s3gen, arrays) -> dict[str, Callable]:
    import torch

    reference = _reference(arrays)
    mel = arrays["mel"].transpose(1, 2)

    def flow(steps: int):
        return _flow(s3gen, arrays["speech_tokens"], reference, n_timesteps=steps)

    def vocode(mel) -> None:
        s3gen.mel2wav.inference(mel, torch.zeros(1, 1, 0, device=_device))

    return {
        "flow": flow,
        "vocoder": lambda steps: vocode(mel),
        "s3gen": lambda steps: vocode(flow(steps)),
    }


def _reference(arrays) -> dict:
    import torch

    prompt = arrays["prompt_token"]
    return {
        "prompt_token": prompt,
        "prompt_token_len": torch.tensor([prompt.shape[1]], device=_device),
        "prompt_feat": arrays["prompt_feat"],
        "prompt_feat_len": None,
        "embedding": arrays["embedding"],
    }


def _flow(s3gen, tokens, reference: dict, **settings):
    import torch

    length = torch.tensor([tokens.shape[1]], device=_device)
    return s3gen.flow.inference(
        token=tokens, token_len=length, finalize=True, **settings, **reference
    )[0]


def _nano(networks, arrays) -> Callable[[int], None]:
    import torch

    reference = _reference(arrays)

    def utterance(steps: int) -> None:
        torch.manual_seed(0)
        written = networks.t3.inference_turbo(
            t3_cond=_condition(arrays["speaker"], arrays["nano_prompt"]),
            text_tokens=arrays["text_tokens"][None],
            top_k=0,
            max_gen_len=UTTERANCE_TOKENS - 1,
        )
        if written.shape[1] != UTTERANCE_TOKENS:
            raise RuntimeError(f"T3 stopped after {written.shape[1]} tokens")
        tokens = arrays["utterance_tokens"]
        mel = _flow(networks.s3gen, tokens, reference, n_timesteps=2, meanflow=True)
        networks.s3gen.mel2wav.inference(mel, torch.zeros(1, 1, 0, device=_device))

    return utterance


def _flash(networks, arrays, audio: np.ndarray) -> Callable[[int], dict[str, float]]:
    """Speak by upstream's package `chatterbox-flash` as its later scripts do."""
    import torch

    reference = _reference(arrays)

    def utterance(steps: int) -> dict[str, float]:
        torch.manual_seed(0)
        clock = PartsClock()
        _conditioning(networks, audio)
        _wait()
        clock.done("conditioning")
        written = networks.t3.generate(
            t3_cond=_condition(arrays["speaker"], arrays["t3_prompt"]),
            text_tokens=arrays["text_tokens"][None],
            total_speech_len=UTTERANCE_TOKENS,
            num_steps=10,
            temperature=0.2,
            time_shift_tau=0.5,
            omnivoice_schedule_t_shift=0.5,
            cfg_scale=1.0,
            position_temperature=5.0,
            backend="torch",
        )
        _wait()
        clock.done("t3")
        if written.shape[1] != UTTERANCE_TOKENS:
            raise RuntimeError(f"T3 stopped after {written.shape[1]} tokens")
        tokens = arrays["utterance_tokens"]
        mel = _flow(networks.s3gen, tokens, reference, n_timesteps=2, meanflow=True)
        networks.s3gen.mel2wav.inference(mel, torch.zeros(1, 1, 0, device=_device))
        _wait()
        clock.done("s3gen")
        return clock.seconds()

    return utterance


def _condition(speaker, prompt):
    import torch
    from chatterbox.models.t3.modules.cond_enc import T3Cond

    return T3Cond(
        speaker_emb=speaker,
        cond_prompt_speech_tokens=prompt,
        emotion_adv=0.5 * torch.ones(1, 1, 1, device=_device),
    )


def _conditioning(networks, audio: np.ndarray) -> None:
    """Follow upstream's `prepare_conditionals` with a loaded recording."""
    import librosa

    at_16k = librosa.resample(audio, orig_sr=SAMPLE_RATE, target_sr=16000)
    networks.s3gen.embed_ref(audio, SAMPLE_RATE, device=_device)
    networks.s3gen.tokenizer.forward([at_16k[: 6 * 16000]], max_len=150)
    networks.voice_encoder.embeds_from_wavs([at_16k], sample_rate=16000)
