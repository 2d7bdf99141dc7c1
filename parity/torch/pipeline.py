"""The stage `pipeline` by upstream's own classes: `generate` of `ChatterboxTTS` and its sisters.

What upstream draws at random is given: the tokens' draws, the flow's noise, the vocoder's source.
The package is older than the repository at 5de7a54, so that two things are done as there: the
multilingual model's repetition penalty is 1.2 and its last token's 40 ms are cut. Made-up weights
also make multilingual T3 write tokens that have no sound, which trained ones do not and on which
upstream fails; they are left out, as its English class does.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

import numpy as np

from ..errors import DumpError
from ..inputs.encoding import decoded, written
from ..taps.replacing import replaced
from .flash import given_draws
from .networks import Networks
from .t3 import as_float
from .text import CANGJIE_FILE, MULTILINGUAL_FILE
from .watermark import watermarker

Arrays = Mapping[str, np.ndarray]

SAMPLES_PER_TOKEN = 960
_CODES = 6561


def pipeline(networks: Networks, inputs: Arrays) -> dict:
    """Generate from the recording's file and the text to marked samples."""
    if networks.variant.is_flash:
        return _flash_pipeline(networks, inputs)
    import perth
    import torch

    # perth sets it to None where it could not import it.
    with patch.object(perth, "PerthImplicitWatermarker", watermarker):
        tts, settings = _speaker(networks)
    spoken: list = []
    noise, source, gumbel = (
        as_float(inputs, f"pipeline/{name}") for name in ("noise", "source", "gumbel")
    )
    if "pipeline/language" in inputs:
        settings["language_id"] = decoded(inputs["pipeline/language"])
    with (
        tempfile.TemporaryDirectory() as folder,
        _tokens_at_most(networks, len(gumbel)),
        replaced(torch, "multinomial", _draws(gumbel)),
        _fixed_s3gen(networks, noise, source, spoken),
    ):
        path = written(Path(folder) / "reference.wav", inputs["pipeline/ref_24k"])
        waveform = tts.generate(
            decoded(inputs["pipeline/text"]), audio_prompt_path=path, **settings
        )
    return {"pipeline/tokens": spoken[-1], "pipeline/waveform": waveform[0]}


def _flash_pipeline(networks: Networks, inputs: Arrays) -> dict:
    """`generate` of the package of Flash, which has no watermark, with our defaults."""
    from chatterbox.models.tokenizers import EnTokenizer
    from chatterbox_flash.tts import ChatterboxFlashTTS

    parts = (networks.t3, networks.s3gen, networks.voice_encoder)
    tts = ChatterboxFlashTTS(
        *parts, EnTokenizer(str(networks.folder / "tokenizer.json")), device="cpu"
    )
    noise, source = (as_float(inputs, f"pipeline/{name}") for name in ("noise", "source"))
    gumbel, uniform = (
        np.array(inputs[f"pipeline/{name}"], dtype=np.float32) for name in ("gumbel", "uniform")
    )
    networks.t3.set_block_size(gumbel.shape[2])
    spoken: list = []
    with (
        tempfile.TemporaryDirectory() as folder,
        given_draws(
            lambda block, step, positions, _: gumbel[block, step, :positions],
            lambda block, step, positions: uniform[block, step, :positions],
            lambda *_: None,
        ),
        _fixed_s3gen(networks, noise, source, spoken),
    ):
        waveform = tts.generate(
            decoded(inputs["pipeline/text"]),
            audio_prompt_path=written(Path(folder) / "reference.wav", inputs["pipeline/ref_24k"]),
            num_steps=gumbel.shape[1],
            temperature=0.2,
            time_shift_tau=0.5,
            max_speech_tokens=len(source) // SAMPLES_PER_TOKEN,
            use_cuda_graph=False,
            backend="torch",
        )
    return {"pipeline/tokens": spoken[-1], "pipeline/waveform": waveform}


def _speaker(networks: Networks) -> tuple[object, dict]:
    """Upstream's object, and the arguments of its repository for `generate`."""
    parts = (networks.t3, networks.s3gen, networks.voice_encoder)
    if networks.variant.is_turbo:
        from chatterbox.tts_turbo import ChatterboxTurboTTS
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(networks.folder))
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        tts = ChatterboxTurboTTS(*parts, tokenizer, "cpu")
        # The NumPy that upstream asks for keeps float32 here; the next one does not, and upstream's
        # tokenizer stops.
        loud = tts.norm_loudness
        tts.norm_loudness = lambda *arguments: loud(*arguments).astype(np.float32)
        return tts, {}
    if _is_multilingual(networks):
        from chatterbox.models.tokenizers import MTLTokenizer
        from chatterbox.models.tokenizers import tokenizer as module
        from chatterbox.mtl_tts import ChatterboxMultilingualTTS

        # It asks the hub for the table of Cangjie, which is in the folder; and the segmenter of
        # Chinese, which the text is not, would fetch its model.
        table = str(networks.folder / CANGJIE_FILE)
        with (
            patch.object(module, "hf_hub_download", lambda **_: table),
            patch.dict(sys.modules, {"spacy_pkuseg": None}),
        ):
            tokenizer = MTLTokenizer(str(networks.folder / MULTILINGUAL_FILE))
        return ChatterboxMultilingualTTS(*parts, tokenizer, "cpu"), {"repetition_penalty": 1.2}
    from chatterbox.models.tokenizers import EnTokenizer
    from chatterbox.tts import ChatterboxTTS

    return ChatterboxTTS(*parts, EnTokenizer(str(networks.folder / "tokenizer.json")), "cpu"), {}


def _is_multilingual(networks: Networks) -> bool:
    return (networks.folder / MULTILINGUAL_FILE).is_file() and not networks.variant.is_turbo


@contextlib.contextmanager
def _tokens_at_most(networks: Networks, limit: int) -> Iterator[None]:
    """Limit the tokens, which upstream's classes fix at 1000."""
    t3 = networks.t3
    name, argument = ("inference_turbo", "max_gen_len")
    if not networks.variant.is_turbo:
        name, argument = ("inference", "max_new_tokens")
    # Turbo's counts what comes after the first.
    most = limit - 1 if networks.variant.is_turbo else limit
    original = getattr(t3, name)

    def inference(*arguments, **settings):
        return original(*arguments, **{**settings, argument: most})

    with patch.object(t3, name, inference):
        yield


def _draws(gumbel):
    """Replacement of `torch.multinomial`: the largest sum with the step's Gumbel noise."""
    steps = iter(gumbel)

    def multinomial(probs, num_samples):
        noise = next(steps, None)
        if noise is None or noise.shape != probs.shape[1:]:
            raise DumpError(f"pipeline/gumbel, {tuple(gumbel.shape)}, does not fit the draws.")
        return (probs.log() + noise).argmax(-1, keepdim=True)

    return multinomial


@contextlib.contextmanager
def _fixed_s3gen(networks: Networks, noise, source, spoken: list) -> Iterator[None]:
    """Give S3Gen the beginning of this noise, (80, frames), and of this source, (samples,).

    Args:
        spoken: a list that gets the tokens that S3Gen is given.
    """
    import torch

    s3gen, original = networks.s3gen, networks.s3gen.inference

    def inference(speech_tokens, ref_dict, **settings):
        if _is_multilingual(networks):
            speech_tokens = speech_tokens[speech_tokens < _CODES]
        spoken.append(speech_tokens)
        new = 2 * len(speech_tokens)
        whole = noise[None, :, : 2 * ref_dict["prompt_token"].shape[1] + new]

        def randn_like(like, **_):
            # The source's is asked for, too, and then not used.
            return whole.clone() if like.shape == whole.shape else torch.zeros_like(like)

        def randn(*shape, **_):
            if shape != (1, *whole.shape[1:-1], new):
                raise DumpError(f"the flow asks for noise of {shape}.")
            return whole[..., -new:].clone()

        with replaced(torch, "randn_like", randn_like), replaced(torch, "randn", randn):
            waveform, excitation = original(
                speech_tokens=speech_tokens, ref_dict=ref_dict, **settings
            )
        if _is_multilingual(networks):
            waveform = waveform[:, : max(1, len(speech_tokens) - 1) * SAMPLES_PER_TOKEN]
        return waveform, excitation

    def given_source(module, arguments, result):
        return source[None, : result[0].shape[1], None], *result[1:]

    hook = s3gen.mel2wav.m_source.register_forward_hook(given_source)
    try:
        with patch.object(s3gen, "inference", inference):
            yield
    finally:
        hook.remove()
