"""The reference: upstream's own modules (chatterbox-tts 0.1.7) in the order of its repository.

The package on the index is older than the revision that is matched (5de7a54), but its networks
are the same, so they are driven stage by stage instead of through the package's pipelines. What
upstream draws at random is injected: the flow's noise, the vocoder's source, and for greedy
decoding the arg max in place of the draw.

Neither MLX nor this library is imported: the module runs in an interpreter that has only PyTorch
and upstream's package (`python -m parity setup` makes one):

    python -m parity.torch_reference --checkpoint FOLDER --inputs IN --output OUT
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from . import stages, torch_env
from .dumps import read_dump, write_dump
from .errors import DumpError, ParityError
from .torch_networks import Networks
from .torch_text import text_reference

Arrays = Mapping[str, np.ndarray]

SAMPLE_RATE_16K, SAMPLE_RATE_24K = 16000, 24000


def compute(
    folder: str | Path | None, inputs: Arrays, *, t3_layers: int | None = None
) -> dict[str, np.ndarray]:
    """The outputs of every stage whose inputs are present.

    Args:
        folder: upstream's files; None when only stages without weights are wanted.
        inputs: a dump's tensors under the names of `parity.stages`.
        t3_layers: depth of T3 in `folder` where it is not upstream's 30 (tests).

    Raises:
        ReferenceMissing: upstream's package is not installed here.
        WeightMismatch: a file does not fit upstream's module exactly.
    """
    torch_env.prepare()
    import torch

    with torch.inference_mode():
        outputs = stages.compute_each(_STAGES, Networks(folder, t3_layers), inputs)
        return {name: _array(value) for name, value in outputs.items()}


def _array(value) -> np.ndarray:
    array = value if isinstance(value, np.ndarray) else value.detach().cpu().numpy()
    return array.astype(np.int32) if array.dtype.kind in "iu" else np.ascontiguousarray(array)


def _float(inputs: Arrays, name: str):
    import torch

    return torch.from_numpy(np.array(inputs[name], dtype=np.float32))


def _long(inputs: Arrays, name: str):
    import torch

    return torch.from_numpy(np.array(inputs[name], dtype=np.int64))


def _voice_encoder(networks: Networks, inputs: Arrays) -> dict:
    """What `VoiceEncoder.embeds_from_wavs` does with one recording, result by result."""
    import librosa
    from chatterbox.models.voice_encoder.melspec import melspectrogram

    encoder = networks.voice_encoder
    waveform = np.array(inputs["audio/ref_16k"], dtype=np.float32)
    trimmed = librosa.effects.trim(waveform, top_db=20)[0]
    mel = melspectrogram(trimmed, encoder.hp).T
    embedding = encoder.embeds_from_wavs([waveform], sample_rate=SAMPLE_RATE_16K)
    return {
        "voice_encoder/trimmed": trimmed,
        "voice_encoder/mel": mel.astype(np.float32),
        "voice_encoder/embedding": embedding,
    }


def _s3_tokenizer(networks: Networks, inputs: Arrays) -> dict:
    tokenizer = networks.s3gen.tokenizer
    waveform = _float(inputs, "audio/ref_16k")
    tokens, lengths = tokenizer.forward([waveform])
    return {
        "s3_tokenizer/log_mel": tokenizer.log_mel_spectrogram(waveform),
        "s3_tokenizer/tokens": tokens[0, : int(lengths[0])],
    }


def _s3_encoder(networks: Networks, inputs: Arrays) -> dict:
    import torch

    tokenizer = networks.s3gen.tokenizer
    mel = _float(inputs, "s3_encoder/log_mel")[None]
    hidden, _ = tokenizer.encoder(mel, torch.tensor([mel.shape[2]]))
    return {"s3_encoder/codes": tokenizer.quantizer._codebook.project_down(hidden)[0]}


def _speaker_encoder(networks: Networks, inputs: Arrays) -> dict:
    from chatterbox.models.s3gen.xvector import extract_feature

    waveform = _float(inputs, "audio/ref_16k")[None]
    features, _, _ = extract_feature(waveform)
    return {
        "speaker_encoder/fbank": features[0],
        "speaker_encoder/embedding": networks.s3gen.speaker_encoder.inference(waveform),
    }


def _ref_mel(networks: Networks, inputs: Arrays) -> dict:
    from chatterbox.models.s3gen.utils.mel import mel_spectrogram

    mel = mel_spectrogram(_float(inputs, "audio/ref_24k")[None])
    return {"s3gen/ref_mel": mel[0].T}


def _resample(networks: Networks, inputs: Arrays) -> dict:
    import librosa

    waveform = np.array(inputs["audio/ref_24k"], dtype=np.float32)
    resampled = librosa.resample(waveform, orig_sr=SAMPLE_RATE_24K, target_sr=SAMPLE_RATE_16K)
    return {"resample/ref_16k": resampled}


def _sinc_resample(networks: Networks, inputs: Arrays) -> dict:
    from chatterbox.models.s3gen.s3gen import get_resampler

    resampler = get_resampler(SAMPLE_RATE_24K, SAMPLE_RATE_16K, "cpu")
    return {"resample/sinc_16k": resampler(_float(inputs, "audio/ref_24k"))}


def _t3_conditioning(inputs: Arrays):
    from chatterbox.models.t3.modules.cond_enc import T3Cond

    return T3Cond(
        speaker_emb=_float(inputs, "voice_encoder/embedding"),
        cond_prompt_speech_tokens=_long(inputs, "t3/cond_prompt_tokens")[None],
        emotion_adv=_float(inputs, "t3/emotion").view(1, 1, 1),
    )


def _t3(networks: Networks, inputs: Arrays) -> dict:
    """Logits as `T3.inference` meets them, all steps in one pass over the given tokens.

    Upstream's prompt ends in two start tokens, both at learned position 0; the token drawn at step
    i enters at position i + 1. Row 1 has the text embeddings zeroed, its positions kept.
    """
    import torch
    from chatterbox.models.t3.inference.t3_hf_backend import T3HuggingfaceBackend

    t3 = networks.t3
    text = _long(inputs, "t3/text_tokens")[None].repeat(2, 1)
    start = torch.full((2, 1), t3.hp.start_speech_token, dtype=torch.long)
    prompt, _ = t3.prepare_input_embeds(
        t3_cond=_t3_conditioning(inputs), text_tokens=text, speech_tokens=start, cfg_weight=0.5
    )
    start_again = t3.speech_emb(start) + t3.speech_pos_emb.get_fixed_embedding(0)
    speech = _long(inputs, "t3/speech_tokens")[None]
    positions = torch.arange(1, speech.shape[1] + 1)[None]
    steps = t3.speech_emb(speech) + t3.speech_pos_emb.get_fixed_embedding(positions)
    embeds = torch.cat([prompt, start_again, steps.expand(2, -1, -1)], dim=1)
    model = T3HuggingfaceBackend(
        config=t3.cfg, llama=t3.tfmr, speech_enc=t3.speech_emb, speech_head=t3.speech_head
    )
    logits = model(inputs_embeds=embeds, use_cache=False).logits
    return {
        "t3/cond_emb": t3.prepare_conditioning(_t3_conditioning(inputs))[0],
        "t3/logits": logits[:, -(speech.shape[1] + 1) :],
    }


def _t3_greedy(networks: Networks, inputs: Arrays) -> dict:
    """`T3.inference` itself, the most probable token taken in place of the draw."""
    import torch

    t3 = networks.t3
    with _replaced("multinomial", lambda probs, num_samples: probs.argmax(-1, keepdim=True)):
        tokens = t3.inference(
            t3_cond=_t3_conditioning(inputs),
            text_tokens=_long(inputs, "t3/text_tokens")[None].repeat(2, 1),
            max_new_tokens=int(np.ravel(inputs["t3/greedy_steps"])[0]),
            temperature=1.0,
            min_p=0.0,
            top_p=1.0,
            repetition_penalty=stages.GREEDY_REPETITION_PENALTY,
            cfg_weight=stages.GREEDY_CFG_WEIGHT,
        )[0]
    kept = tokens[: int((tokens == t3.hp.stop_speech_token).to(torch.int64).argmax())]
    return {"t3/greedy_tokens": kept if (tokens == t3.hp.stop_speech_token).any() else tokens}


def _sampler(networks: Networks, inputs: Arrays) -> dict:
    """Upstream's processors in the order of `T3.inference`, one case at a time."""
    import torch
    from transformers.generation.logits_process import (
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TopPLogitsWarper,
    )

    rows = []
    for logits, history, settings in zip(
        _float(inputs, "sampler/logits"),
        _long(inputs, "sampler/history"),
        np.array(inputs["sampler/settings"], dtype=np.float32).tolist(),
        strict=True,
    ):
        penalty, temperature, min_p, top_p = settings
        seen, scores = history[None], logits[None]
        scores = RepetitionPenaltyLogitsProcessor(penalty=float(penalty))(seen, scores)
        if temperature != 1.0:
            scores = scores / temperature
        scores = MinPLogitsWarper(min_p=min_p)(seen, scores)
        scores = TopPLogitsWarper(top_p=top_p)(seen, scores)
        rows.append(torch.softmax(scores, dim=-1)[0])
    return {"sampler/probs": torch.stack(rows)}


def _flow(networks: Networks, inputs: Arrays) -> dict:
    """`flow.inference` with its noise given; the two inner results are taken by hooks."""
    import torch

    flow = networks.s3gen.flow
    taps: dict[str, object] = {}
    hooks = [
        flow.encoder_proj.register_forward_hook(lambda m, x, y: taps.update(mu=y[0])),
        flow.spk_embed_affine_layer.register_forward_hook(lambda m, x, y: taps.update(speaker=y)),
    ]
    tokens = _long(inputs, "flow/speech_tokens")[None]
    prompt = _long(inputs, "flow/prompt_token")[None]
    try:
        with _replaced("randn_like", _given_noise(_float(inputs, "flow/noise")[None])):
            mel, _ = flow.inference(
                token=tokens,
                token_len=torch.tensor([tokens.shape[1]]),
                prompt_token=prompt,
                prompt_token_len=torch.tensor([prompt.shape[1]]),
                prompt_feat=_float(inputs, "flow/prompt_feat")[None],
                prompt_feat_len=None,
                embedding=_float(inputs, "speaker_encoder/embedding"),
                finalize=True,
                n_timesteps=int(np.ravel(inputs["flow/n_timesteps"])[0]),
            )
    finally:
        for hook in hooks:
            hook.remove()
    return {"flow/mu": taps["mu"], "flow/speaker": taps["speaker"], "flow/mel": mel[0].T}


def _given_noise(noise):
    def randn_like(like, **_):
        if like.shape != noise.shape:
            raise DumpError(
                f"flow/noise has shape {tuple(noise.shape[1:])}, the flow asks for "
                f"{tuple(like.shape[1:])}."
            )
        return noise.clone()

    return randn_like


def _estimator(networks: Networks, inputs: Arrays) -> dict:
    import torch

    x = _float(inputs, "estimator/x")
    out = networks.s3gen.flow.decoder.estimator(
        x=x,
        mask=torch.ones(x.shape[0], 1, x.shape[2]),
        mu=_float(inputs, "estimator/mu"),
        t=_float(inputs, "estimator/t"),
        spks=_float(inputs, "estimator/spks"),
        cond=_float(inputs, "estimator/cond"),
        r=_float(inputs, "estimator/r") if "estimator/r" in inputs else None,
    )
    return {"estimator/out": out}


def _vocoder(networks: Networks, inputs: Arrays) -> dict:
    vocoder = networks.s3gen.mel2wav
    mel = _float(inputs, "vocoder/mel").T[None].contiguous()
    source = _float(inputs, "vocoder/source")[None, None]
    return {
        "vocoder/f0": vocoder.f0_predictor(mel)[0],
        "vocoder/waveform": vocoder.decode(mel, source)[0],
    }


_STAGES: dict[str, Callable[[Networks, Arrays], dict]] = {
    "voice_encoder": _voice_encoder,
    "s3_tokenizer": _s3_tokenizer,
    "s3_encoder": _s3_encoder,
    "speaker_encoder": _speaker_encoder,
    "ref_mel": _ref_mel,
    "resample": _resample,
    "sinc_resample": _sinc_resample,
    "t3": _t3,
    "t3_greedy": _t3_greedy,
    "sampler": _sampler,
    "flow": _flow,
    "estimator": _estimator,
    "vocoder": _vocoder,
}


@contextlib.contextmanager
def _replaced(name: str, function: Callable) -> Iterator[None]:
    """`torch.<name>` is `function` inside the block, and what it was before after it."""
    import torch

    original = getattr(torch, name)
    setattr(torch, name, function)
    try:
        yield
    finally:
        setattr(torch, name, original)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the reference's own interpreter; see `python -m parity` for the whole."""
    parser = argparse.ArgumentParser(prog="python -m parity.torch_reference", description=__doc__)
    parser.add_argument("--checkpoint", help="folder in upstream's format")
    parser.add_argument("--inputs", help="dump with the stages' inputs")
    parser.add_argument("--t3-layers", type=int, help="depth of T3 where it is not 30 (tests)")
    parser.add_argument("--texts", help="JSON list of strings: normalise and tokenize instead")
    parser.add_argument("--output", required=True, help="dump (JSON with --texts) to write")
    args = parser.parse_args(argv)
    if (args.inputs is None) == (args.texts is None) or (args.texts and not args.checkpoint):
        parser.error("give --inputs IN, or --texts FILE with --checkpoint FOLDER")
    try:
        if args.texts:
            texts = json.loads(Path(args.texts).read_text(encoding="utf-8"))
            result = text_reference(Path(args.checkpoint) / "tokenizer.json", texts)
            Path(args.output).write_text(json.dumps(result), encoding="utf-8")
        else:
            outputs = compute(args.checkpoint, read_dump(args.inputs), t3_layers=args.t3_layers)
            metadata = {"backend": "torch", "versions": json.dumps(torch_env.versions())}
            write_dump(args.output, outputs, metadata)
    except ParityError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
