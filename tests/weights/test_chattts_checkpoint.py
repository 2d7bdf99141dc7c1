"""ChatTTS's checkpoints: conversion is strict and exact, and all that is converted loads."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from math import prod

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.chattts.config import ChatTTSConfig
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.weights.chattts import load_chattts, load_upstream, verify_chattts
from mlx_chatterbox.weights.checkpoint import load, read_text_model
from mlx_chatterbox.weights.conversion.chattts_layout import layout
from mlx_chatterbox.weights.conversion.core import convert
from mlx_chatterbox.weights.conversion.recipes import CHATTTS_RECIPES, plain, uniform
from mlx_chatterbox.weights.manifest import check_manifest
from mlx_chatterbox.weights.model_files import model_files
from mlx_chatterbox.weights.quantization import quantized_layers
from mlx_chatterbox.weights.s3gen_store import read_part
from mlx_chatterbox.weights.shards import index_of
from mlx_chatterbox.weights.speaker_statistics import read_statistics

from .chattts_folders import change, small_published, write_upstream

GPT, EMBED, DVAE = (
    "asset/gpt/model.safetensors",
    "asset/Embed.safetensors",
    "asset/DVAE.safetensors",
)
DECODER, VOCOS = "asset/Decoder.safetensors", "asset/Vocos.safetensors"


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    return write_upstream(tmp_path_factory.mktemp("chattts") / "upstream")


@pytest.fixture(scope="module")
def converted(tmp_path_factory, upstream):
    output = tmp_path_factory.mktemp("converted") / "chattts"
    return convert(upstream, output, verify=verify_chattts).folder


@pytest.fixture
def source(tmp_path, upstream):
    """A copy to be damaged, of hard links."""
    return shutil.copytree(upstream, tmp_path / "source", copy_function=os.link)


def parameters(networks) -> dict[str, mx.array]:
    return dict(tree_flatten(networks.parameters()))


def same(one, other) -> bool:
    one, other = parameters(one), parameters(other)
    return one.keys() == other.keys() and all(
        one[key].dtype == other[key].dtype and mx.array_equal(one[key], other[key]) for key in one
    )


# --- Loading -------------------------------------------------------------------------------------


def test_a_converted_folder_loads_as_upstreams_files_do_to_the_bit(upstream, converted):
    model, networks = load_chattts(converted), load_upstream(upstream, config=small_published())[1]
    assert same(model.networks, networks)
    assert not model.networks.training
    assert model.config.variant == "chattts"
    assert model.config.dtype == "float32"
    sizes = small_published()
    for part in ("gpt", "decoder", "dvae", "vocos", "n_mels", "sample_rate"):
        assert getattr(model.config, part) == getattr(sizes, part)
    assert model.tokenizer.speaker_id == 21143
    wanted = read_statistics(upstream / "asset/spk_stat.pt")
    np.testing.assert_array_equal(model.statistics.std, wanted.std)
    np.testing.assert_array_equal(model.statistics.mean, wanted.mean)
    assert check_manifest(converted) == 6


def test_upstreams_folder_is_converted_once(source):
    seen = []
    first = load_chattts(source, progress=lambda *done: seen.append(done))
    assert {stage for stage, _, _ in seen} == {"converting"}
    assert seen[-1][1] == seen[-1][2]
    assert same(first.networks, load_upstream(source, config=small_published())[1])
    seen.clear()
    assert (
        load_chattts(str(source), progress=lambda *done: seen.append(done)).folder == first.folder
    )
    assert not seen

    def edit(tensors):
        tensors["coef"] = tensors["coef"] + 1

    change(source, DVAE, edit)
    again = load_chattts(source)
    assert again.folder != first.folder
    assert not mx.array_equal(again.networks.dvae.coef, first.networks.dvae.coef)
    assert mx.array_equal(again.networks.decoder.coef, first.networks.decoder.coef)


def test_statistics_are_optional_and_the_folder_is_taken_for_them(tmp_path, source, converted):
    assert (read_statistics(converted).std == read_statistics(source).std).all()
    (source / "asset/spk_stat.pt").unlink()
    result = convert(source, tmp_path / "out", verify=verify_chattts)
    assert not result.statistics
    assert load_chattts(result.folder).statistics is None


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_loading_in_another_type(upstream, converted, dtype):
    kind = getattr(mx, dtype)
    wanted = parameters(load_upstream(upstream, kind, small_published())[1])
    for name in (converted, upstream):
        model = load_chattts(name, dtype=dtype)
        assert model.config.dtype == dtype
        own = parameters(model.networks)
        assert all(own[key].dtype == kind and mx.array_equal(own[key], wanted[key]) for key in own)


def test_a_changed_file_is_found_when_asked(tmp_path, converted):
    folder = shutil.copytree(converted, tmp_path / "model")
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    load_chattts(folder)
    with pytest.raises(CheckpointError, match="changed or damaged"):
        load_chattts(folder, check=True)


def test_a_tokenizer_of_another_model_is_refused(tmp_path, converted):
    folder = shutil.copytree(converted, tmp_path / "model")
    path = folder / "tokenizer.json"
    text = (
        path.read_text(encoding="utf-8")
        .replace("[empty_spk]", "[spk]")
        .replace("[spk_emb]", "[empty_spk]")
    )
    path.write_text(text.replace("[spk]", "[spk_emb]"), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"\[spk_emb\] 21144"):
        load_chattts(folder)


def test_what_is_for_chatterbox_says_so(tmp_path, upstream, converted, small_checkpoint):
    for name in (upstream, converted, "chattts", "2Noise/ChatTTS"):
        for read in (load, read_text_model, lambda name: read_part(name, None, ("s3gen.",))):
            with pytest.raises(CheckpointError, match="is ChatTTS, and this takes Chatterbox"):
                read(name)
    with pytest.raises(CheckpointError, match="holds ChatTTS; this takes Chatterbox alone"):
        ModelConfig.load(converted)
    with pytest.raises(CheckpointError, match="holds Chatterbox; this takes ChatTTS alone"):
        load_chattts(small_checkpoint)
    with pytest.raises(CheckpointError, match="turbo is a Chatterbox"):
        load_chattts("turbo")
    for settings in ({"t3_file": "t3.safetensors"}, {"s3gen": tmp_path}, {"variant": "turbo"}):
        with pytest.raises(CheckpointError, match=r"holds (ChatTTS|chattts)"):
            convert(upstream, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_no_output_overwrites_its_files(upstream, converted):
    for folder, count in ((upstream, 10), (converted, 7)):
        assert len(model_files(folder)) == count


# --- Strictness ----------------------------------------------------------------------------------


def without(key):
    return lambda tensors: tensors.pop(key)


def with_one_more(key):
    def edit(tensors):
        tensors[key] = np.zeros((2, 2), np.float32)

    return edit


def cut(key):
    def edit(tensors):
        tensors[key] = tensors[key][..., :-1]

    return edit


LAYER = "layers.1.self_attn.q_proj.weight"
HEAD = "head_text.parametrizations.weight"
BLOCK = "decoder.decoder_block.1"


@pytest.mark.parametrize(
    ("file", "edit", "words"),
    [
        (GPT, without(LAYER), f"1 missing ({LAYER})"),
        (GPT, with_one_more("layers.1.bias"), "1 unknown (layers.1.bias)"),
        (GPT, with_one_more("layers.3.mlp.up_proj.weight"), "unknown (layers.3.mlp.up_proj.weight"),
        (GPT, with_one_more("lm_head.weight"), "1 unknown (lm_head.weight)"),
        (GPT, cut(LAYER), f"{LAYER} (32, 31) instead of (32, 32)"),
        (GPT, cut("norm.weight"), "norm.weight (31,) instead of (32,)"),
        (EMBED, without("emb_code.3.weight"), "1 missing (emb_code.3.weight)"),
        (EMBED, without(f"{HEAD}.original0"), f"1 missing ({HEAD}.original0)"),
        (EMBED, without(f"{HEAD}.original1"), f"1 missing ({HEAD}.original1)"),
        (EMBED, cut(f"{HEAD}.original1"), f"{HEAD}.original1 (21178, 31) instead of (21178, 32)"),
        (EMBED, with_one_more("emb_code.4.weight"), "1 unknown (emb_code.4.weight)"),
        (DECODER, without(f"{BLOCK}.dwconv.bias"), f"1 missing ({BLOCK}.dwconv.bias)"),
        (DECODER, without("coef"), "coef"),
        (DECODER, cut(f"{BLOCK}.weight"), f"{BLOCK}.weight (11,) instead of (12,)"),
        (DVAE, without("encoder.conv_in.0.bias"), "1 missing (encoder.conv_in.0.bias)"),
        (DVAE, without("preprocessor_mel.mel_spec.mel_scale.fb"), "mel_scale.fb"),
        (DVAE, with_one_more("vq_layer.x"), "1 unknown (vq_layer.x)"),
        (VOCOS, without("backbone.norm.bias"), "1 missing (backbone.norm.bias)"),
        (VOCOS, cut("head.out.bias"), "head.out.bias (129,) instead of (130,)"),
        (VOCOS, with_one_more("head.x"), "1 unknown (head.x)"),
    ],
)  # fmt: skip
def test_tensors_that_are_missing_unknown_or_of_another_shape_are_named(
    tmp_path, source, file, edit, words
):
    change(source, file, edit)
    for read in (lambda: convert(source, tmp_path / "out"), lambda: load_chattts(source)):
        with pytest.raises(CheckpointError) as error:
            read()
        assert words in str(error.value)
        assert file in str(error.value)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name",
    [GPT, EMBED, DVAE, DECODER, VOCOS, "asset/gpt/config.json", "asset/tokenizer/tokenizer.json"],
)
def test_files_that_are_missing_are_named(tmp_path, source, name):
    (source / name).unlink()
    for read in (lambda: convert(source, tmp_path / "out"), lambda: load_chattts(source)):
        with pytest.raises(CheckpointError, match=name):
            read()


def test_a_part_of_the_folder_is_not_taken_for_it(tmp_path, source):
    for folder in (source / "asset", source / "asset/gpt"):
        with pytest.raises(CheckpointError, match=f"name the folder {source}"):
            convert(folder, tmp_path / "out")
    with pytest.raises(CheckpointError, match=f"Name {source}"):
        load_chattts(source / "asset")


def test_a_configuration_that_the_tensors_do_not_have_is_refused(tmp_path, source):
    path = source / "asset/gpt/config.json"
    values = json.loads(path.read_text())
    path.unlink()
    path.write_text(json.dumps({**values, "num_hidden_layers": 4}))
    with pytest.raises(CheckpointError, match=r"9 missing \(layers\.3\."):
        convert(source, tmp_path / "out")
    path.write_text(json.dumps({**values, "hidden_size": 64}))
    with pytest.raises(CheckpointError, match="ChatTTS"):
        convert(source, tmp_path / "out")


def test_tensors_that_the_networks_compute_are_left_out_and_said(tmp_path, source):
    def add(tensors):
        tensors["embed_tokens.weight"] = np.ones((9, 32), np.float32)
        tensors["layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4, np.float32)

    change(source, GPT, add)
    result = convert(source, tmp_path / "out", verify=verify_chattts)
    dropped = {item.key: item.reason for item in result.dropped}
    assert "never used" in dropped["embed_tokens.weight"]
    assert "computed" in dropped["layers.0.self_attn.rotary_emb.inv_freq"]
    assert "feature_extractor.mel_spec.mel_scale.fb" in dropped
    for name in ("head.istft.window", "feature_extractor.mel_spec.mel_scale.fb"):
        change(source, VOCOS, without(name))  # not needed, so it may be missing
    convert(source, tmp_path / "again", verify=verify_chattts)


def test_the_published_files_are_those_that_are_expected():
    """Keys, shapes and types, of which every one is known; numbers are of the published files."""
    known = {
        GPT: (181, 188_775_168, "2f6dde1760e800bd"),
        EMBED: (15, 36_399_234, "6ead95cce6f02d28"),
        DECODER: (115, 25_920_740, "bcf2b0e39df5a99c"),
        DVAE: (242, 15_083_472, "2ea042fdc9e6ee05"),
        VOCOS: (83, 13_584_998, "2b553811124f1a39"),
    }
    files = layout(ChatTTSConfig())
    assert files.keys() == known.keys()
    for file, shapes in files.items():
        lines = "".join(f"{key} {shape} float32\n" for key, shape in sorted(shapes.items()))
        digest = hashlib.sha256(lines.encode()).hexdigest()[:16]
        assert (len(shapes), sum(map(prod, shapes.values())), digest) == known[file]


# --- Precisions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [mx.float16, mx.bfloat16], ids=str)
def test_files_of_half_precision_are_read(tmp_path, source, kind):
    for file in (GPT, EMBED, DVAE, DECODER, VOCOS):
        change(source, file, lambda tensors: tensors.update(
            {key: value.astype(kind) for key, value in tensors.items()}
        ))  # fmt: skip
    result = convert(source, tmp_path / "out", verify=verify_chattts)
    assert result.dtype == "float32"
    wanted = load_upstream(source, config=small_published())[1]
    assert same(load_chattts(result.folder).networks, wanted)


RECIPES = {
    **CHATTTS_RECIPES,
    **{name: plain(name) for name in ("float16", "bfloat16")},
    "8bit": uniform(8, family="chattts"),
    "4bit": uniform(4, 32, "bfloat16", family="chattts"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_every_precision_loads_and_converts_again(tmp_path, upstream, converted, name):
    recipe = RECIPES[name]
    settings = {"dtype": recipe.dtype, "quantization": recipe.quantization}
    result = convert(upstream, tmp_path / "model", verify=verify_chattts, **settings)
    model = load_chattts(result.folder)
    layers = quantized_layers(model.networks)
    exact = load_chattts(converted)
    if recipe.rules:
        linear = {path for path in layers if path.startswith("gpt.")}
        # 3 layers of 7 projections, 5 tables and 5 heads: nothing that makes sound.
        assert set(layers) == linear
        assert len(linear) == 3 * 7 + 5 + 5
        assert model.networks.dvae.mel_filters.dtype == mx.float32
        assert model.networks.dvae.quantizer.groups[0].project_in.weight.dtype == mx.float32
        assert model.networks.vocos.head.out.weight.dtype == getattr(mx, recipe.dtype)
    else:
        assert not layers
    # It speaks: a step, and sound of it.
    ids = mx.array([[[5] * 4, [21134] * 4, [7] * 4]])
    is_text = mx.array([[True, True, False]])
    tolerance = {"exact": 0, "float16": 0.02, "8bit": 0.2, "bfloat16": 0.2}.get(name, 1.0)
    outputs = []
    for networks in (model.networks, exact.networks):
        hidden, _ = networks.codes.hidden_states(networks.gpt.embed_prompt(ids, is_text))
        waveform = networks.vocos(networks.decoder(hidden))
        outputs.append(np.array(hidden.astype(mx.float32)))
        assert waveform.shape == (1, 5 * 32)
        assert mx.isfinite(waveform).all()
    apart = np.sqrt(((outputs[0] - outputs[1]) ** 2).mean() / (outputs[1] ** 2).mean())
    assert apart <= tolerance
    # The copy of a copy has the same bits, as codes are not rounded again.
    again = convert(result.folder, tmp_path / "again", verify=verify_chattts)
    assert again.layout == "mlx-chatterbox"
    assert again.statistics
    assert same(load_chattts(again.folder).networks, model.networks)
    assert load_chattts(again.folder).config.quantization == model.config.quantization


def test_bits_can_be_taken_back(tmp_path, upstream):
    recipe = RECIPES["8bit"]
    few = convert(
        upstream, tmp_path / "few", dtype=recipe.dtype, quantization=recipe.quantization
    ).folder
    whole = convert(
        few, tmp_path / "whole", dtype="float32", quantization=plain("float32").quantization
    )
    model = load_chattts(whole.folder)
    assert not quantized_layers(model.networks)
    assert model.config.dtype == "float32"


def test_shards_are_read(tmp_path, source):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(source / GPT)
    (source / GPT).unlink()
    names = {key: f"model-0000{1 + (i % 2)}-of-00002.safetensors" for i, key in enumerate(tensors)}
    for name in set(names.values()):
        part = {key: value for key, value in tensors.items() if names[key] == name}
        save_file(part, source / "asset/gpt" / name)
    index_of(source / GPT).write_text(json.dumps({"weight_map": names}))
    model = load_chattts(convert(source, tmp_path / "out", verify=verify_chattts).folder)
    assert mx.array_equal(model.networks.gpt.model.norm.weight, mx.array(tensors["norm.weight"]))
    assert load_chattts(source).folder != model.folder


def test_a_checkpoint_is_replaced_and_nothing_else(tmp_path, upstream):
    output = tmp_path / "model"
    convert(upstream, output)
    with pytest.raises(CheckpointError, match="--force replaces it"):
        convert(upstream, output)
    assert convert(upstream, output, dtype="float16", force=True).dtype == "float16"
    with pytest.raises(CheckpointError, match="not a converted checkpoint"):
        convert(output, shutil.copytree(upstream, tmp_path / "other"), force=True)
