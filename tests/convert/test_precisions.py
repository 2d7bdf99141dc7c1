"""Precisions and recipes: the files written, and that they load by their own configuration."""

from __future__ import annotations

import dataclasses
import json
import re
from functools import cache
from math import prod

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_chatterbox.api.tts import ChatterboxTTS
from mlx_chatterbox.api.vc import ChatterboxVC
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import ModelConfig, PackingConfig, QuantizationConfig
from mlx_chatterbox.models.decoder.native_step import NativeStep
from mlx_chatterbox.parity.inputs.make import Sizes, make_inputs
from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice
from mlx_chatterbox.parity.mlx.backend import compute
from mlx_chatterbox.weights.checkpoint import build, load_converted, read_weights, verify_folder
from mlx_chatterbox.weights.conversion.core import convert
from mlx_chatterbox.weights.conversion.recipes import ALWAYS_FLOAT32, RECIPES, plain, uniform
from mlx_chatterbox.weights.quantization import (
    dequantize_layers,
    is_quantized,
    precision_of,
    quantized_layers,
    stored_shapes,
)
from mlx_chatterbox.weights.variants import VARIANTS
from tests.weights.by_recipe import folders_by_recipe

SMALL = Sizes(1.5, 8, 41, 20, 6, 4, 9, 6, 2, 13, 9, 2)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory, small_upstream, small_config):
    """Folders of the small model by recipe, made when first asked for."""
    return folders_by_recipe(tmp_path_factory.mktemp("precisions"), small_upstream, small_config)


@cache
def shapes_of(variant: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the published model's weights, by name; nothing is computed."""
    networks = build(VARIANTS[variant].default_config())
    return {key: value.shape for key, value in tree_flatten(networks.parameters())}


def size_of(variant: str, recipe) -> int:
    """Bytes of a published model's weights under a recipe."""
    config = VARIANTS[variant].default_config()
    config.dtype, config.quantization = recipe.dtype, recipe.quantization
    size = 0
    for key, shape in shapes_of(variant).items():
        stored = stored_shapes(key, shape, precision_of(config, key, shape))
        size += sum(prod(shape) * kind.size for shape, kind in stored.values())
    return size


def test_the_full_english_model_is_as_small_as_promised():
    half = size_of("english", plain("float16"))
    assert size_of("english", RECIPES["exact"]) == 2 * half
    assert size_of("english", RECIPES["balanced"]) <= 0.60 * half
    assert size_of("english", RECIPES["small"]) <= 0.51 * half
    # The speech tokenizer's linear layers in 8 bits would save 7 % of it.
    linear = 6 * 12 * 1280**2
    saved = 2 * linear - linear * (1 + 2 * 2 / 64)
    assert size_of("english", RECIPES["small"]) - saved <= 0.45 * half


@pytest.mark.parametrize("variant", ["english", "turbo"])
@pytest.mark.parametrize(
    ("recipe", "kept"),
    [
        *((RECIPES[name], "float16") for name in ("balanced", "small")),
        *((uniform(bits), "float16") for bits in (8, 6, 4, 3)),
        (uniform(4, 32, "bfloat16"), "float16"),
        (uniform(4, 64, "float32"), "float32"),
    ],
)
def test_what_serves_only_when_a_recording_is_read_is_not_quantised(variant, recipe, kept):
    config = VARIANTS[variant].default_config()
    config.dtype, config.quantization = recipe.dtype, recipe.quantization
    parts = ("s3_tokenizer.", "ve.", "s3gen.speaker_encoder.")
    seen = set()
    for key, shape in shapes_of(variant).items():
        if key.startswith(parts):
            precision = precision_of(config, key, shape)
            exact = not key.startswith("s3_tokenizer.") or ".quantizer." in key
            assert dataclasses.astuple(precision) == ("float32" if exact else kept, 0, 0), key
            seen.add(key.partition(".")[0])
    assert seen == {"s3_tokenizer", "ve", "s3gen"}


@pytest.mark.numbers
@pytest.mark.parametrize("recipe", [RECIPES["balanced"], uniform(3)], ids=lambda r: r.name)
def test_a_recording_s_tokens_are_float16_s_whatever_the_bits(folder_of, recording, recipe):
    tokens = [
        np.array(load_converted(folder_of(of)).networks.s3_tokenizer(recording[:32000]))
        for of in (plain("float16"), recipe)
    ]
    np.testing.assert_array_equal(*tokens)


def test_checkpoints_whose_tokenizer_is_quantised_load_and_stay_so(
    small_upstream, small_config, tmp_path
):
    """Checkpoints of earlier versions load, and converting them again keeps their bits."""
    rules = [*({"layers": of, "dtype": "float32"} for of in ALWAYS_FLOAT32)]
    rules += [{"layers": of, "bits": 4, "group_size": 64} for of in ("t3.*", "s3_tokenizer.*")]
    before = convert(
        small_upstream,
        tmp_path / "before",
        dtype="float16",
        quantization=QuantizationConfig("4bit", rules),
        config=small_config,
    ).folder
    assert quantized_layers(load_converted(before).networks.s3_tokenizer)
    again = convert(before, tmp_path / "again").folder
    one, two = (mx.load(str(folder / "model.safetensors")) for folder in (before, again))
    assert one.keys() == two.keys()
    assert all(mx.array_equal(value, two[key]) for key, value in one.items())


@pytest.mark.parametrize(
    ("variant", "recipe"),
    [
        *((variant, RECIPES["small"]) for variant in ("english", "multilingual", "turbo", "nano")),
        *((variant, RECIPES["balanced"]) for variant in ("english", "turbo")),
        *((variant, uniform(4)) for variant in ("english", "turbo")),
    ],
)
def test_conversion_and_loading_quantise_the_same_layers(variant, recipe):
    """Conversion has no networks, loading has: both must choose the same layers."""
    config, keys = VARIANTS[variant].default_config(), shapes_of(variant)
    config.dtype, config.quantization = recipe.dtype, recipe.quantization
    expected = {
        name: shape
        for key, shape in keys.items()
        for name, (shape, _) in stored_shapes(key, shape, precision_of(config, key, shape)).items()
    }
    found = {key: value.shape for key, value in tree_flatten(build(config).parameters())}
    assert found == expected


@pytest.mark.parametrize("variant", list(VARIANTS))
@pytest.mark.parametrize("name", ["balanced", "small"])
def test_recipes_choose_the_precision_of_each_part(name, variant):
    config = VARIANTS[variant].default_config()
    keys = {key: value.shape for key, value in tree_flatten(build(config).parameters())}
    recipe = RECIPES[name]
    config.dtype, config.quantization = recipe.dtype, recipe.quantization

    def of(key: str, *shape: int):
        return precision_of(config, key, shape)

    # In T3 the layers' matrices get few bits, all tables and heads get more.
    matrices = {k: s for k, s in keys.items() if k.startswith("t3.") and len(s) == 2}
    inner = {k for k in matrices if re.match(r"t3\.tfmr\.model\.(h|layers)\.", k)}
    assert len(inner) >= 4 * config.t3.num_hidden_layers
    assert {of(key, *matrices[key]).bits for key in inner} == {6 if name == "balanced" else 4}
    tables = {k for k in matrices if k.endswith((".wpe.weight", "_emb.weight", "_head.weight"))}
    assert tables >= {"t3.speech_head.weight", "t3.speech_emb.weight", "t3.text_emb.weight"}
    assert ("t3.tfmr.model.wpe.weight" in tables) == config.t3.is_gpt2
    for key in tables:
        assert of(key, *matrices[key]).bits in (0, 8), key
    assert of("s3gen.mel2wav.ups.0.weight", 256, 16, 512).dtype == "float16"
    assert of("s3gen.flow.decoder.estimator.final_proj.weight", 80, 1, 256).bits == 0
    for exact in (
        "s3_tokenizer.quantizer.codebook.project_down.weight",
        "s3gen.mel2wav.f0_predictor.classifier.weight",
        "s3gen.speaker_encoder.xvector.dense.linear.weight",
        "ve.proj.weight",
    ):
        assert dataclasses.astuple(of(exact, 64, 512)) == ("float32", 0, 0)


@pytest.mark.parametrize("name", ["balanced", "small"])
def test_the_file_follows_the_recipe_and_loads_so(folder_of, name):
    folder = folder_of(RECIPES[name])
    config = ModelConfig.load(folder)
    assert config.quantization == RECIPES[name].quantization
    stored = mx.load(str(folder / "model.safetensors"))
    networks = load_converted(folder).networks
    loaded = dict(tree_flatten(networks.parameters()))
    assert {k: (v.shape, v.dtype) for k, v in loaded.items()} == {
        k: (v.shape, v.dtype) for k, v in stored.items()
    }
    for key, value in stored.items():
        if any(key.startswith(layers[:-1]) for layers in ALWAYS_FLOAT32):
            assert value.dtype == mx.float32, key
    bits = {layer.bits for layer in quantized_layers(networks.t3.tfmr).values()}
    assert bits == {6 if name == "balanced" else 4}
    # Widths of 48 divide into no group: those layers stay floating-point, and work.
    odd = [m for _, m in networks.named_modules() if type(m) is nn.Linear and "weight" in m]
    assert any(m.weight.shape[-1] == 48 and m.weight.dtype == mx.float16 for m in odd)
    # 96 is a multiple of 32, but not of 64.
    down = networks.t3.tfmr.model.layers[0].mlp.down_proj
    assert (down.group_size, isinstance(down, nn.QuantizedLinear)) == (32, True)


def test_quantised_weights_are_the_source_s_to_a_step(folder_of, small_checkpoint):
    exact = load_converted(small_checkpoint).networks
    networks = load_converted(folder_of(uniform(8))).networks
    dequantize_layers(networks)
    wanted = dict(tree_flatten(exact.parameters()))
    for key, value in tree_flatten(networks.parameters()):
        error = mx.abs(value.astype(mx.float32) - wanted[key]).max().item()
        # MLX puts one end of a group's range exactly on a code, at the cost of the other end.
        assert error <= 2 / 255 * mx.abs(wanted[key]).max().item(), key


def test_exact_is_the_float32_conversion_bit_for_bit(folder_of, small_checkpoint):
    ours = folder_of(RECIPES["exact"]) / "model.safetensors"
    assert ours.read_bytes() == (small_checkpoint / "model.safetensors").read_bytes()


RUNS = [plain("float16"), plain("bfloat16"), RECIPES["balanced"], RECIPES["small"], uniform(3)]


@pytest.mark.numbers
@pytest.mark.parametrize("recipe", RUNS, ids=lambda recipe: recipe.name)
def test_every_precision_speaks_and_converts_voices(folder_of, recording, recipe):
    tts, recording = ChatterboxTTS.from_local(folder_of(recipe)), recording[12000:48000]
    tts.prepare_conditionals(recording)
    settings = {"seed": 1, "watermark": False, "n_cfm_timesteps": 2}
    waveform = tts.generate("Hello there.", max_new_tokens=8, **settings)
    assert waveform.dtype == np.float32
    assert np.isfinite(waveform).all()
    assert waveform.any()
    vc = ChatterboxVC(tts.checkpoint)
    vc.set_target_voice(recording)
    converted = vc.generate(recording[:16000], **settings)
    assert np.isfinite(converted).all()
    assert converted.any()
    # Used as stored, not expanded.
    assert bool(quantized_layers(tts.networks)) == bool(recipe.rules)
    if recipe.name != "exact":
        assert NativeStep.of(tts.networks.t3) is None  # the compiled step takes float32


@pytest.mark.numbers
def test_more_bits_are_nearer(folder_of, small_checkpoint, small_config):
    others = ("audio", "vocoder", "estimator", "sampler", "t3/greedy")
    made = make_inputs(small_config, sizes=SMALL)
    inputs = {name: value for name, value in made.items() if not name.startswith(others)}
    exact = compute(small_checkpoint, inputs)
    errors = {"t3/logits": [], "flow/mel": []}
    for bits in (8, 6, 4, 3):
        # In float32, so that only the bits differ.
        found = compute(folder_of(uniform(bits)), inputs, dtype="float32")
        for name, values in errors.items():
            values.append(float(np.sqrt(np.mean((found[name] - exact[name]) ** 2))))
    for name, values in errors.items():
        assert values == sorted(values), name
        assert values[0] < values[-1] / 4, name


def test_a_quantised_model_in_float32_stays_quantised(folder_of):
    networks = load_converted(folder_of(RECIPES["small"]), "float32").networks
    layer = networks.t3.tfmr.model.layers[0].self_attn.q_proj
    assert isinstance(layer, nn.QuantizedLinear)
    assert layer.scales.dtype == mx.float32
    assert layer.weight.dtype == mx.uint32


def test_tokens_are_computed_in_float32_whatever_the_weights_are(folder_of, monkeypatch):
    tokenizer = load_converted(folder_of(plain("bfloat16"))).networks.s3_tokenizer
    assert tokenizer.encoder.conv1.weight.dtype == mx.bfloat16
    given, encode = [], tokenizer.quantizer.encode
    monkeypatch.setattr(
        type(tokenizer.quantizer), "encode", lambda _, x: given.append(x.dtype) or encode(x)
    )
    tokenizer(np.zeros(16000, np.float32))
    assert given == [mx.float32]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_another_type_leaves_what_a_rule_keeps_exact(folder_of, dtype):
    """Tokens, pitch and voice stay float32; all other layers get the type that is asked for."""
    checkpoint = load_converted(folder_of(RECIPES["balanced"]), dtype)
    assert checkpoint.config.dtype == dtype
    for key, value in tree_flatten(checkpoint.networks.parameters()):
        kept = any(key.startswith(layers[:-1]) for layers in ALWAYS_FLOAT32)
        if mx.issubdtype(value.dtype, mx.floating):
            assert value.dtype == (mx.float32 if kept else getattr(mx, dtype)), key


def test_a_folder_that_contradicts_its_configuration_is_refused(folder_of, tmp_path):
    folder = folder_of(RECIPES["small"])
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).symlink_to(folder / name)
    config = ModelConfig.load(folder)
    config.quantization = QuantizationConfig()
    config.save(tmp_path)
    with pytest.raises(CheckpointError, match=r"unknown .*biases"):
        verify_folder(tmp_path)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"bits": 4, "group_size": 64}, "names no layers"),
        ({"layers": "*", "bits": 4}, "go together"),
        ({"layers": "*", "bits": 7, "group_size": 64}, "bits are none of"),
        ({"layers": "*", "bits": 4, "group_size": 48}, "group_size is none of"),
        ({"layers": "*", "dtype": "float8"}, "dtype is none of"),
        ({"layers": "*", "bit": 4}, "unknown key"),
    ],
)
def test_rules_that_cannot_be_followed_are_refused(tmp_path, rule, said):
    values = ModelConfig().to_dict()
    values["quantization"] = {"rules": [rule]}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=said):
        ModelConfig.load(tmp_path)


def test_packed_or_quantised_not_both(tmp_path):
    rules = [{"layers": "t3.*", "bits": 4, "group_size": 64}]
    config = ModelConfig(
        packing=PackingConfig(bits=8), quantization=QuantizationConfig(rules=rules)
    )
    config.save(tmp_path)
    with pytest.raises(CheckpointError, match="not both"):
        ModelConfig.load(tmp_path)


def test_read_weights_expands_nothing(folder_of):
    weights = read_weights(folder_of(RECIPES["small"]))
    assert weights["t3.tfmr.model.layers.0.self_attn.q_proj.weight"].dtype == mx.uint32


@pytest.mark.numbers
def test_attention_by_columns_takes_quantised_layers():
    """Attention by columns is used for long sequences on a CPU."""
    from mlx_chatterbox.models.s3gen.estimator import Attention

    attention = Attention(64, 2, 32)
    x = mx.random.normal((7, 64), key=mx.random.key(0))
    nn.quantize(attention, 32, 8)
    assert is_quantized(attention.to_q)
    found = attention.project_columns(x)
    for layer, columns in zip((attention.to_q, attention.to_k, attention.to_v), found, strict=True):
        np.testing.assert_allclose(np.array(columns), np.array(layer(x).T), atol=1e-5)


def test_quantised_turbo_speaks(tmp_path, small_models):
    """GPT-2's layers, joined projections with biases, and a head with one."""
    from mlx_chatterbox.api.tts import ChatterboxTurboTTS

    recipe = RECIPES["small"]
    settings = {"dtype": recipe.dtype, "quantization": recipe.quantization}
    made = convert(small_models("turbo"), tmp_path / "ours", **settings)
    tts = ChatterboxTurboTTS.from_local(made.folder)
    t3 = tts.networks.t3
    assert {layer.bits for layer in quantized_layers(t3.tfmr.model.h[0]).values()} == {4}
    assert t3.speech_head.bits == 8
    assert "bias" in t3.speech_head
    tts.prepare_conditionals(synthetic_voice(6.0, seed=1))
    waveform = tts.generate("Hello there.", max_new_tokens=8, seed=1, watermark=False)
    assert np.isfinite(waveform).all()
    assert waveform.any()
