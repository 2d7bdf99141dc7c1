"""The reference: upstream's own modules (chatterbox-tts 0.1.7) in the order of its repository.

The package on the index is older than the revision that is matched (5de7a54), but its networks
are the same, so they are driven stage by stage instead of through the package's pipelines. What
upstream draws at random is injected: the flow's noise, the vocoder's source, and for greedy
decoding the arg max in place of the draw.

Neither MLX nor this library is imported: the module runs in an interpreter that has only PyTorch
and upstream's package (`python -m parity setup` makes one):

    python -m parity.torch.backend --checkpoint FOLDER --inputs IN --output OUT
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from .. import stages
from ..dumps import read_dump, write_dump
from ..errors import DumpError, ParityError
from ..taps.names import TAPPED_STAGES
from ..taps.recording import CALLS, Tap, write_taps
from ..taps.replacing import replaced
from . import env, flash, t3
from .networks import VARIANTS, Networks
from .pipeline import pipeline
from .sized import SizedNetworks
from .t3 import as_float, as_int, as_long
from .taps import TorchRecorder, tapped
from .text import text_reference
from .watermark import watermark

Arrays = Mapping[str, np.ndarray]

SAMPLE_RATE_16K, SAMPLE_RATE_24K = 16000, 24000


def compute(
    networks: Networks, inputs: Arrays, only: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Compute the outputs of every stage whose inputs are present.

    Args:
        networks: upstream's, not loaded yet.
        inputs: a dump's tensors under the names of `parity.stages`.
        only: names of stages; the others are left out.

    Raises:
        ReferenceMissing: upstream's package is not installed here.
        WeightMismatch: a file does not fit upstream's module exactly.
    """
    env.prepare()
    import torch

    with torch.inference_mode():
        outputs = stages.compute_each(_STAGES, networks, inputs, only)
        return {name: _array(value) for name, value in outputs.items()}


def record(
    networks: Networks,
    inputs: Arrays,
    names: Sequence[tuple[str, str, str]],
    only: Sequence[str] | None = None,
    calls: int = CALLS,
) -> list[Tap]:
    """Record every layer's inputs and outputs, stage by stage, under our names.

    Args:
        networks: upstream's, not loaded yet, or they would not be hooked.
        names: network, upstream's path and ours of every layer.
        only: names of stages; the others are left out.
        calls: how many of a layer in a stage.
    """
    env.prepare()
    import torch

    recorder = TorchRecorder(calls)
    if "t3/speech_tokens" in inputs:
        recorder.tails["t3"] = len(inputs["t3/speech_tokens"]) + 1
    with torch.inference_mode(), tapped(networks, recorder, names):
        stages.compute_each(_STAGES, networks, inputs, only or TAPPED_STAGES, recorder, _array)
    return recorder.taps


def _array(value) -> np.ndarray:
    array = value if isinstance(value, np.ndarray) else value.detach().cpu().numpy()
    return array.astype(np.int32) if array.dtype.kind in "iu" else np.ascontiguousarray(array)


def _voice_encoder(networks: Networks, inputs: Arrays) -> dict:
    """Follow `VoiceEncoder.embeds_from_wavs` for one recording, result by result."""
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
    waveform = as_float(inputs, "audio/ref_16k")
    tokens, lengths = tokenizer.forward([waveform])
    return {
        "s3_tokenizer/log_mel": tokenizer.log_mel_spectrogram(waveform),
        "s3_tokenizer/tokens": tokens[0, : int(lengths[0])],
    }


def _s3_encoder(networks: Networks, inputs: Arrays) -> dict:
    import torch

    tokenizer = networks.s3gen.tokenizer
    mel = as_float(inputs, "s3_encoder/log_mel")[None]
    hidden, _ = tokenizer.encoder(mel, torch.tensor([mel.shape[2]]))
    return {"s3_encoder/codes": tokenizer.quantizer._codebook.project_down(hidden)[0]}


def _speaker_encoder(networks: Networks, inputs: Arrays) -> dict:
    from chatterbox.models.s3gen.xvector import extract_feature

    waveform = as_float(inputs, "audio/ref_16k")[None]
    features, _, _ = extract_feature(waveform)
    return {
        "speaker_encoder/fbank": features[0],
        "speaker_encoder/embedding": networks.s3gen.speaker_encoder.inference(waveform),
    }


def _ref_mel(networks: Networks, inputs: Arrays) -> dict:
    from chatterbox.models.s3gen.utils.mel import mel_spectrogram

    mel = mel_spectrogram(as_float(inputs, "audio/ref_24k")[None])
    return {"s3gen/ref_mel": mel[0].T}


def _resample(networks: Networks, inputs: Arrays) -> dict:
    import librosa

    waveform = np.array(inputs["audio/ref_24k"], dtype=np.float32)
    resampled = librosa.resample(waveform, orig_sr=SAMPLE_RATE_24K, target_sr=SAMPLE_RATE_16K)
    return {"resample/ref_16k": resampled}


def _sinc_resample(networks: Networks, inputs: Arrays) -> dict:
    from chatterbox.models.s3gen.s3gen import get_resampler

    resampler = get_resampler(SAMPLE_RATE_24K, SAMPLE_RATE_16K, "cpu")
    return {"resample/sinc_16k": resampler(as_float(inputs, "audio/ref_24k"))}


def _flow(networks: Networks, inputs: Arrays) -> dict:
    """`flow.inference` with its noise given; the two inner results are taken by hooks.

    Mean flow's noise comes in two halves, the prompt's drawn inside and the new tokens' given.
    """
    import torch

    flow, meanflow = networks.s3gen.flow, networks.s3gen.meanflow
    noise = as_float(inputs, "flow/noise")[None]
    taps: dict[str, object] = {}
    hooks = [
        flow.encoder_proj.register_forward_hook(lambda m, x, y: taps.update(mu=y[0])),
        flow.spk_embed_affine_layer.register_forward_hook(lambda m, x, y: taps.update(speaker=y)),
    ]
    tokens = as_long(inputs, "flow/speech_tokens")[None]
    prompt = as_long(inputs, "flow/prompt_token")[None]
    try:
        with replaced(torch, "randn_like", _given_noise(noise)):
            mel, _ = flow.inference(
                token=tokens,
                token_len=torch.tensor([tokens.shape[1]]),
                prompt_token=prompt,
                prompt_token_len=torch.tensor([prompt.shape[1]]),
                prompt_feat=as_float(inputs, "flow/prompt_feat")[None],
                prompt_feat_len=None,
                embedding=as_float(inputs, "speaker_encoder/embedding"),
                finalize=True,
                n_timesteps=as_int(inputs, "flow/n_timesteps"),
                noised_mels=noise[..., -2 * tokens.shape[1] :] if meanflow else None,
                meanflow=meanflow,
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

    x = as_float(inputs, "estimator/x")
    out = networks.s3gen.flow.decoder.estimator(
        x=x,
        mask=torch.ones(x.shape[0], 1, x.shape[2]),
        mu=as_float(inputs, "estimator/mu"),
        t=as_float(inputs, "estimator/t"),
        spks=as_float(inputs, "estimator/spks"),
        cond=as_float(inputs, "estimator/cond"),
        r=as_float(inputs, "estimator/r") if "estimator/r" in inputs else None,
    )
    return {"estimator/out": out}


def _source(networks: Networks, inputs: Arrays) -> dict:
    """`HiFTGenerator.inference`'s source, its random phases and noise given."""
    import torch
    from chatterbox.models.s3gen import hifigan

    vocoder = networks.s3gen.mel2wav
    phases = as_float(inputs, "source/phases")[None, :, None]
    noise = as_float(inputs, "source/noise").T[None]

    class FixedPhases:
        def __init__(self, low, high):
            pass

        def sample(self, sample_shape):
            return phases.clone()

    def randn_like(like):
        # The second is a noise that the vocoder never uses.
        return noise.clone() if like.shape == noise.shape else torch.zeros_like(like)

    held = vocoder.f0_upsamp(as_float(inputs, "source/f0")[None, None]).transpose(1, 2)
    uniform = replaced(hifigan, "Uniform", FixedPhases)
    with uniform, replaced(torch, "randn_like", randn_like):
        source, _, _ = vocoder.m_source(held)
    return {"source/excitation": source[0, :, 0]}


def _vocoder(networks: Networks, inputs: Arrays) -> dict:
    vocoder = networks.s3gen.mel2wav
    mel = as_float(inputs, "vocoder/mel").T[None].contiguous()
    source = as_float(inputs, "vocoder/source")[None, None]
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
    "t3": t3.logits,
    "t3_greedy": t3.greedy,
    "flash": flash.blocks,
    "flash_steps": flash.steps,
    "flash_greedy": flash.greedy,
    "flash_noise": flash.noise,
    "sampler": t3.sampler,
    "sampler_turbo": t3.sampler_turbo,
    "flow": _flow,
    "estimator": _estimator,
    "source": _source,
    "vocoder": _vocoder,
    "watermark": watermark,
    "pipeline": pipeline,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the reference's own interpreter; see `python -m parity` for the whole."""
    parser = argparse.ArgumentParser(prog="python -m parity.torch.backend", description=__doc__)
    parser.add_argument("--checkpoint", help="folder in upstream's format")
    parser.add_argument("--inputs", help="dump with the stages' inputs")
    parser.add_argument("--variant", choices=VARIANTS, default="english")
    parser.add_argument("--t3-file", help="T3's file where it is not the variant's own")
    parser.add_argument("--t3-layers", type=int, help="depth of T3 where it is not its own (tests)")
    parser.add_argument(
        "--config", help="config.json of ours whose sizes are meant, not upstream's"
    )
    parser.add_argument("--stages", nargs="+", help="these alone")
    parser.add_argument("--taps", help="JSON with the layers' names: write their taps, not outputs")
    parser.add_argument("--calls", type=int, default=CALLS, help="of a layer, with --taps")
    parser.add_argument("--texts", help="JSON list of strings: normalise and tokenize instead")
    parser.add_argument("--output", help="dump (JSON with --texts) to write")
    parser.add_argument("--jobs", help="JSON list of argument lists, one after the other")
    args = parser.parse_args(argv)
    if args.jobs:
        jobs = json.loads(Path(args.jobs).read_text(encoding="utf-8"))
        return max((main(job) for job in jobs), default=0)
    if (args.inputs is None) == (args.texts is None) or (args.texts and not args.checkpoint):
        parser.error("give --inputs IN, or --texts FILE with --checkpoint FOLDER")
    if args.output is None:
        parser.error("give --output OUT")
    try:
        _job(args)
    except ParityError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _job(args: argparse.Namespace) -> None:
    if args.texts:
        texts = json.loads(Path(args.texts).read_text(encoding="utf-8"))
        result = text_reference(Path(args.checkpoint) / "tokenizer.json", texts)
        Path(args.output).write_text(json.dumps(result), encoding="utf-8")
        return
    inputs = read_dump(args.inputs)
    metadata = {"backend": "torch", "versions": json.dumps(env.versions())}
    if args.config:
        config = json.loads(Path(args.config).read_text(encoding="utf-8"))
        networks = SizedNetworks(config, args.checkpoint, args.variant, args.t3_file)
    else:
        networks = Networks(args.checkpoint, args.variant, args.t3_file, args.t3_layers)
    if args.taps:
        names = json.loads(Path(args.taps).read_text(encoding="utf-8"))
        taps = record(networks, inputs, names, args.stages, args.calls)
        write_taps(args.output, taps, inputs, metadata)
    else:
        write_dump(args.output, compute(networks, inputs, args.stages), metadata)


if __name__ == "__main__":
    sys.exit(main())
