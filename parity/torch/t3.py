"""T3's stages of the reference: upstream's Llama and GPT-2 paths, and their samplers.

The Llama's order is that of `T3.inference`, GPT-2's that of `T3.inference_turbo`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .. import stages
from ..taps.replacing import replaced
from .networks import Networks

Arrays = Mapping[str, np.ndarray]


def as_float(inputs: Arrays, name: str):
    """A tensor of the dump, as upstream's floating-point type."""
    import torch

    return torch.from_numpy(np.array(inputs[name], dtype=np.float32))


def as_long(inputs: Arrays, name: str):
    """A tensor of the dump, as upstream's token type."""
    import torch

    return torch.from_numpy(np.array(inputs[name], dtype=np.int64))


def as_int(inputs: Arrays, name: str) -> int:
    """The one number in a tensor of the dump."""
    return int(np.ravel(inputs[name])[0])


def _conditioning(inputs: Arrays):
    from chatterbox.models.t3.modules.cond_enc import T3Cond

    return T3Cond(
        speaker_emb=as_float(inputs, "voice_encoder/embedding"),
        cond_prompt_speech_tokens=as_long(inputs, "t3/cond_prompt_tokens")[None],
        emotion_adv=as_float(inputs, "t3/emotion").view(1, 1, 1),
    )


def logits(networks: Networks, inputs: Arrays) -> dict:
    """The conditioning, and the logits of all steps in one pass over the given tokens."""
    t3 = networks.t3
    forced = _gpt2_logits if networks.variant.is_turbo else _llama_logits
    hooked: dict = {}
    hook = t3.cond_enc.register_forward_hook(lambda m, x, y: hooked.update(cond_emb=y[0].clone()))
    try:
        logits = forced(t3, inputs)
    finally:
        hook.remove()
    return {"t3/cond_emb": hooked["cond_emb"], "t3/logits": logits}


def _llama_logits(t3, inputs: Arrays):
    """Logits of `T3.inference`'s steps, (2, S + 1, V).

    Upstream's prompt ends in two start tokens, both at learned position 0; the token drawn at step
    i enters at position i + 1. Row 1 has the text embeddings zeroed, its positions kept.
    """
    import torch
    from chatterbox.models.t3.inference.t3_hf_backend import T3HuggingfaceBackend

    text = as_long(inputs, "t3/text_tokens")[None].repeat(2, 1)
    start = torch.full((2, 1), t3.hp.start_speech_token, dtype=torch.long)
    prompt, _ = t3.prepare_input_embeds(
        t3_cond=_conditioning(inputs), text_tokens=text, speech_tokens=start, cfg_weight=0.5
    )
    start_again = t3.speech_emb(start) + t3.speech_pos_emb.get_fixed_embedding(0)
    speech = as_long(inputs, "t3/speech_tokens")[None]
    positions = torch.arange(1, speech.shape[1] + 1)[None]
    steps = t3.speech_emb(speech) + t3.speech_pos_emb.get_fixed_embedding(positions)
    embeds = torch.cat([prompt, start_again, steps.expand(2, -1, -1)], dim=1)
    model = T3HuggingfaceBackend(
        config=t3.cfg, llama=t3.tfmr, speech_enc=t3.speech_emb, speech_head=t3.speech_head
    )
    result = model(inputs_embeds=embeds, use_cache=False).logits
    return result[:, -(speech.shape[1] + 1) :]


def _gpt2_logits(t3, inputs: Arrays):
    """Logits of `T3.inference_turbo`'s steps, (S + 1, V): one start token, no guidance."""
    import torch

    text = as_long(inputs, "t3/text_tokens")[None]
    prompt, _ = t3.prepare_input_embeds(
        t3_cond=_conditioning(inputs),
        text_tokens=text,
        speech_tokens=t3.hp.start_speech_token * torch.ones_like(text[:, :1]),
        cfg_weight=0.0,
    )
    steps = t3.speech_emb(as_long(inputs, "t3/speech_tokens")[None])
    hidden = t3.tfmr(inputs_embeds=torch.cat([prompt, steps], dim=1), use_cache=False)[0]
    return t3.speech_head(hidden[0, prompt.shape[1] - 1 :])


def greedy(networks: Networks, inputs: Arrays) -> dict:
    """Tokens of upstream's own loop, with the most probable one in place of the draw."""
    import torch

    t3, steps = networks.t3, as_int(inputs, "t3/greedy_steps")
    text = as_long(inputs, "t3/text_tokens")[None]
    penalty = stages.GREEDY_REPETITION_PENALTY
    with replaced(torch, "multinomial", lambda probs, num_samples: probs.argmax(-1, keepdim=True)):
        if networks.variant.is_turbo:
            tokens = t3.inference_turbo(
                _conditioning(inputs),
                text,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                repetition_penalty=penalty,
                max_gen_len=steps - 1,  # after the first
            )[0]
            return {"t3/greedy_tokens": tokens}
        tokens = t3.inference(
            t3_cond=_conditioning(inputs),
            text_tokens=text.repeat(2, 1),
            max_new_tokens=steps,
            temperature=1.0,
            min_p=0.0,
            top_p=1.0,
            repetition_penalty=penalty,
            cfg_weight=stages.GREEDY_CFG_WEIGHT,
        )[0]
    stops = tokens == t3.hp.stop_speech_token
    return {"t3/greedy_tokens": tokens[: int(stops.int().argmax())] if stops.any() else tokens}


def sampler(networks: Networks, inputs: Arrays) -> dict:
    """Upstream's processors in the order of `T3.inference`."""
    from transformers.generation.logits_process import (
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TopPLogitsWarper,
    )

    def processors(penalty: float, temperature: float, min_p: float, top_p: float) -> list:
        return [
            RepetitionPenaltyLogitsProcessor(penalty=float(penalty)),
            lambda seen, scores: scores if temperature == 1.0 else scores / temperature,
            MinPLogitsWarper(min_p=min_p),
            TopPLogitsWarper(top_p=top_p),
        ]

    return {"sampler/probs": _distributions(inputs, "sampler", processors)}


def sampler_turbo(networks: Networks, inputs: Arrays) -> dict:
    """Upstream's processors in the order, and under the conditions, of `T3.inference_turbo`."""
    from transformers.generation.logits_process import (
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    def processors(penalty: float, temperature: float, top_k: float, top_p: float) -> list:
        chosen = []
        if temperature > 0 and temperature != 1.0:
            chosen.append(TemperatureLogitsWarper(temperature))
        if top_k > 0:
            chosen.append(TopKLogitsWarper(int(top_k)))
        if top_p < 1.0:
            chosen.append(TopPLogitsWarper(top_p))
        if penalty != 1.0:
            chosen.append(RepetitionPenaltyLogitsProcessor(penalty))
        return chosen

    return {"sampler_turbo/probs": _distributions(inputs, "sampler_turbo", processors)}


def _distributions(inputs: Arrays, stage: str, processors: Callable[..., Sequence[Callable]]):
    """The softmax after all processors, one case at a time.

    In float64: PyTorch's float32 sum over thousands of entries alone can err by a millionth.
    """
    import torch

    rows = []
    for scores, history, settings in zip(
        as_float(inputs, f"{stage}/logits"),
        as_long(inputs, f"{stage}/history"),
        np.array(inputs[f"{stage}/settings"], dtype=np.float32).tolist(),
        strict=True,
    ):
        scores = scores[None]
        for process in processors(*settings):
            scores = process(history[None], scores)
        rows.append(torch.softmax(scores.double(), dim=-1)[0])
    return torch.stack(rows).float()
