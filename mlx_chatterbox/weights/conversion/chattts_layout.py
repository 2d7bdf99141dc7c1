"""The keys and shapes of ChatTTS's own files for a configuration, and the configuration for those.

A folder's sizes are read off its tensors; what they do not tell (dilations, hops, rates) is as
published. Every tensor is then compared with what these sizes ask for, by the names that its file
has. Imports no network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from mlx_chatterbox.checks.plain import named
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.chattts.config import (
    BodyConfig,
    ChatTTSConfig,
    DVAEConfig,
    GPTConfig,
    VocosConfig,
)

from ..chattts_files import DECODER_FILE, DVAE_FILE, EMBED_FILE, GPT_FILE, VOCOS_FILE
from .rules import WEIGHT_NORM_SPELLINGS, Shape, Shapes

Layout = dict[str, dict[str, Shape]]


def layout(config: ChatTTSConfig) -> Layout:
    """List the keys and shapes of each file."""
    mels, dvae, vocos = config.n_mels, config.dvae, config.vocos
    bins = dvae.n_fft // 2 + 1
    decoder = {"coef": (1, mels, 1), **_body("decoder", config.decoder)}
    codes = {"coef": (1, mels, 1), **_body("decoder", dvae.decoder)}
    for shapes, out in ((decoder, config.decoder), (codes, dvae.decoder)):
        shapes["out_conv.weight"] = (mels, out.out_channels, 3)
    channels = dvae.encoder.in_channels
    width = dvae.encoder.out_channels // dvae.groups
    codes |= {
        **_layer("downsample_conv.0", channels, mels, 3),
        **_layer("downsample_conv.2", channels, channels, 4),
        **_body("encoder", dvae.encoder),
        "preprocessor_mel.mel_spec.spectrogram.window": (dvae.n_fft,),
        "preprocessor_mel.mel_spec.mel_scale.fb": (bins, mels),
    }
    for group in range(dvae.groups):
        name = f"vq_layer.quantizer.rvqs.{group}"
        codes |= _layer(f"{name}.project_in", dvae.digits, width)
        codes |= _layer(f"{name}.project_out", width, dvae.digits)
    hidden = vocos.hidden_channels
    vocoder = {
        **_layer("backbone.embed", hidden, mels, vocos.kernel_size),
        **_layer("backbone.norm", hidden),
        **_layer("backbone.final_layer_norm", hidden),
        **_layer("head.out", vocos.n_fft + 2, hidden),
        "head.istft.window": (vocos.n_fft,),
        "feature_extractor.mel_spec.spectrogram.window": (vocos.n_fft,),
        "feature_extractor.mel_spec.mel_scale.fb": (vocos.n_fft // 2 + 1, mels),
    }
    for number in range(vocos.num_layers):
        name = f"backbone.convnext.{number}"
        vocoder |= _block(name, "gamma", hidden, vocos.inner_channels, vocos.kernel_size)
    return {
        **_gpt(config.gpt),
        DECODER_FILE: decoder,
        DVAE_FILE: codes,
        VOCOS_FILE: vocoder,
    }


def _gpt(config: GPTConfig) -> Layout:
    width, inner = config.hidden_size, config.intermediate_size
    layers: dict[str, Shape] = {"norm.weight": (width,)}
    for number in range(config.num_hidden_layers):
        name = f"layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            layers[f"{name}.self_attn.{part}.weight"] = (width, width)
        for part in ("gate_proj", "up_proj"):
            layers[f"{name}.mlp.{part}.weight"] = (inner, width)
        layers[f"{name}.mlp.down_proj.weight"] = (width, inner)
        for part in ("input_layernorm", "post_attention_layernorm"):
            layers[f"{name}.{part}.weight"] = (width,)
    tables = {"text": config.num_text_tokens}
    tables |= {f"code.{i}": config.num_audio_tokens for i in range(config.num_vq)}
    embeddings: dict[str, Shape] = {}
    for name, entries in tables.items():
        embeddings[f"emb_{name}.weight"] = (entries, width)
        norm = f"head_{name}.parametrizations.weight"
        embeddings |= {f"{norm}.original0": (entries, 1), f"{norm}.original1": (entries, width)}
    return {GPT_FILE: layers, EMBED_FILE: embeddings}


def _layer(name: str, *shape: int) -> dict[str, Shape]:
    """Weight and bias, of a norm where there is one size."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _block(name: str, scale: str, channels: int, inner: int, kernel: int) -> dict[str, Shape]:
    return {
        f"{name}.{scale}": (channels,),
        **_layer(f"{name}.dwconv", channels, 1, kernel),
        **_layer(f"{name}.norm", channels),
        **_layer(f"{name}.pwconv1", inner, channels),
        **_layer(f"{name}.pwconv2", channels, inner),
    }


def _body(name: str, config: BodyConfig) -> dict[str, Shape]:
    hidden = config.hidden_channels
    shapes = {
        **_layer(f"{name}.conv_in.0", config.bottleneck, config.in_channels, 3),
        **_layer(f"{name}.conv_in.2", hidden, config.bottleneck, 3),
        f"{name}.conv_out.weight": (config.out_channels, hidden, 1),
    }
    for number in range(config.num_layers):
        block = f"{name}.decoder_block.{number}"
        shapes |= _block(block, "weight", hidden, 4 * hidden, config.kernel_size)
    return shapes


# --- Sizes ---------------------------------------------------------------------------------------


def config_of(gpt: GPTConfig, files: Mapping[str, Shapes]) -> ChatTTSConfig:
    """Read the sizes of all networks off the tensors; the GPT's are given.

    Where the tensors contradict each other, the published sizes are returned if those fit better.

    Raises:
        CheckpointError: the tensors are not those of one model.
    """
    fitting: list[tuple[int, int, ChatTTSConfig]] = []
    failures = []
    for candidate in (lambda: _read_off(gpt, files), lambda: ChatTTSConfig(gpt=gpt)):
        try:
            config = candidate()
        except CheckpointError as error:
            failures.append(error)
        except IndexError:
            failures.append(CheckpointError("a tensor has too few dimensions."))
        else:
            fitting.append((_unlike(config, files), len(fitting), config))
    if not fitting:
        raise CheckpointError(f"the sizes of ChatTTS's networks are not clear: {failures[0]}")
    return min(fitting, key=lambda row: row[:2])[2]


class _File(dict):
    """Shapes of a file's tensors by key; a missing one is named."""

    def __init__(self, name: str, shapes: Shapes):
        super().__init__(shapes)
        self._name = name

    def __missing__(self, key: str):
        raise CheckpointError(f"{self._name} lacks {key}.")


def _unlike(config: ChatTTSConfig, files: Mapping[str, Shapes]) -> int:
    """Count the tensors that are not as a configuration wants them."""
    return sum(
        tuple(files[file].get(key, ())) != shape
        for file, shapes in layout(config).items()
        for key, shape in shapes.items()
    )


def _read_off(gpt: GPTConfig, files: Mapping[str, Shapes]) -> ChatTTSConfig:
    decoder, codes, vocoder = (
        _File(name, files[name]) for name in (DECODER_FILE, DVAE_FILE, VOCOS_FILE)
    )
    groups = _count(codes, "vq_layer.quantizer.rvqs.")
    published = DVAEConfig()
    dvae = DVAEConfig(
        decoder=_body_of(codes, "decoder", published.decoder),
        encoder=_body_of(codes, "encoder", published.encoder),
        groups=groups,
        stages=gpt.num_vq // max(1, groups),
        digits=codes["vq_layer.quantizer.rvqs.0.project_in.weight"][0],
        **_transform(codes["preprocessor_mel.mel_spec.mel_scale.fb"][0]),
    )
    block = "backbone.convnext.0"
    vocos = VocosConfig(
        hidden_channels=vocoder["backbone.embed.weight"][0],
        inner_channels=vocoder[f"{block}.pwconv1.weight"][0],
        num_layers=_count(vocoder, "backbone.convnext."),
        kernel_size=vocoder["backbone.embed.weight"][2],
        **_transform(vocoder["head.out.weight"][0] // 2),
    )
    return ChatTTSConfig(
        gpt=gpt,
        decoder=_body_of(decoder, "decoder", BodyConfig()),
        dvae=dvae,
        vocos=vocos,
        n_mels=decoder["coef"][1],
    )


def _transform(bins: int) -> dict[str, int]:
    """Sizes of a Fourier transform, whose frames overlap as the published ones do."""
    return {"n_fft": 2 * (bins - 1), "hop": (bins - 1) // 2}


def _body_of(shapes: Shapes, name: str, published: BodyConfig) -> BodyConfig:
    first, second = (shapes[f"{name}.conv_in.{number}.weight"] for number in (0, 2))
    return dataclasses.replace(
        published,
        in_channels=first[1],
        bottleneck=first[0],
        hidden_channels=second[0],
        out_channels=shapes[f"{name}.conv_out.weight"][0],
        num_layers=_count(shapes, f"{name}.decoder_block."),
        kernel_size=shapes[f"{name}.decoder_block.0.dwconv.weight"][2],
    )


def _count(shapes: Shapes, prefix: str) -> int:
    """Count the layers with numbers after a prefix; one that is missing in between counts."""
    numbers = {key.removeprefix(prefix).split(".")[0] for key in shapes if key.startswith(prefix)}
    known = [int(number) for number in numbers if number.isdecimal() and len(number) < 6]
    return min(max(known, default=-1) + 1, len(shapes))


# --- Comparison ----------------------------------------------------------------------------------


def differences(file: str, wanted: Shapes, shapes: Shapes) -> list[str]:
    """Compare the tensors of a file with those that it should have; a line a kind, with names.

    Weight norm may be stored in either spelling, or folded.
    """
    wanted = _spelt_alike(wanted, shapes)
    kinds = {
        "missing": sorted(wanted.keys() - shapes.keys()),
        "unknown": sorted(map(named, shapes.keys() - wanted.keys())),
        "wrongly shaped": [
            f"{key} {tuple(shapes[key])} instead of {tuple(wanted[key])}"
            for key in sorted(wanted.keys() & shapes.keys())
            if tuple(shapes[key]) != tuple(wanted[key])
        ],
    }
    return [
        f"{file}: {len(keys)} {kind} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for kind, keys in kinds.items()
        if keys
    ]


def _spelt_alike(wanted: Shapes, shapes: Shapes) -> dict[str, Shape]:
    """Spell the keys of weight norm as a file does."""
    (magnitude, direction), (other_magnitude, other_direction) = WEIGHT_NORM_SPELLINGS.values()
    result = dict(wanted)
    for key in [key for key in wanted if key.endswith(direction)]:
        module = key.removesuffix(direction)
        if f"{module}.weight" in shapes:
            del result[module + magnitude]
            result[f"{module}.weight"] = result.pop(key)
        elif {module + other_magnitude, module + other_direction} & shapes.keys():
            result[module + other_magnitude] = result.pop(module + magnitude)
            result[module + other_direction] = result.pop(key)
    return result
