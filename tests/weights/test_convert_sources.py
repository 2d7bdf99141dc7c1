"""Every layout of the weights converts to the same model, to the bit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_chatterbox.api.tts import ChatterboxTTS, open_model
from mlx_chatterbox.convert import __main__ as cli
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import ModelConfig, PackingConfig, QuantizationConfig
from mlx_chatterbox.train.export import export
from mlx_chatterbox.weights.checkpoint import build, load, load_converted, verify_folder
from mlx_chatterbox.weights.conversion import community, layouts
from mlx_chatterbox.weights.conversion.community_folder import group_sizes
from mlx_chatterbox.weights.conversion.core import convert
from mlx_chatterbox.weights.conversion.packed import UnpackingReader
from mlx_chatterbox.weights.conversion.recipes import RECIPES
from mlx_chatterbox.weights.conversion.upstream import to_upstream, upstream_layout
from mlx_chatterbox.weights.formats.safetensors_file import SafetensorsReader
from mlx_chatterbox.weights.hub import is_converted
from mlx_chatterbox.weights.packing import pack
from mlx_chatterbox.weights.quantization import quantized_layers
from mlx_chatterbox.weights.variants import variant_named
from tests.convert.test_command import conds, make_small
from tests.small import small_config
from tests.weights import mlx_audio_layout
from tests.weights.test_conversion import left_in, save
from tests.weights.test_unpickle import torch_save


class Model(NamedTuple):
    """A small model in two layouts."""

    upstream: Path
    ours: Path
    weights: dict[str, mx.array]
    says: np.ndarray


SAYING = {"max_new_tokens": 6, "n_cfm_timesteps": 2, "seed": 1, "watermark": False}


def speech(folder, recording) -> np.ndarray:
    """Speech of the model in a folder with the recording's voice: every network runs."""
    tts = open_model(folder)
    voice = tts.voice_of(recording)
    language = (
        {"language_id": "fr"} if tts.checkpoint.config.text.tokenizer == "multilingual" else {}
    )
    said = tts.generate("Hello there.", voice=voice, **language, **SAYING)
    assert np.isfinite(said).all()
    assert np.abs(said).max() > 0
    return said


@pytest.fixture(scope="module")
def long_recording():
    """Six seconds: Turbo wants five."""
    from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice

    return synthetic_voice(6.0, seed=3)


@pytest.fixture(scope="module")
def from_upstream(small_models, small_upstream, long_recording):
    """Upstream's files, their converted folder, its tensors and its speech, by variant."""
    made = {}

    def model(variant: str = "english"):
        if variant not in made:
            ours = small_models(variant)
            source = small_upstream if variant == "english" else ours.parent / "upstream"
            weights = dict(mx.load(str(ours / "model.safetensors")))
            made[variant] = Model(source, ours, weights, speech(ours, long_recording))
        return made[variant]

    return model


def converted(source, tmp_path, kind="english", **settings):
    """The result of converting `source`, small sizes of that kind, checked by the networks."""
    return convert(
        source, tmp_path / "again", config=small_config(kind), verify=verify_folder, **settings
    )


# --- mlx-audio's -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "variant"), [("chatterbox", "english"), ("chatterbox-turbo", "turbo")]
)
def test_every_name_that_mlx_audio_has_is_known_with_its_shape(layout, variant):
    """Names and shapes are those of full size; no tensor is in memory."""
    networks = build(variant_named(variant).default_config())
    expected = {key: value.shape for key, value in tree_flatten(networks.parameters())}
    todo = community.plan({"m": mlx_audio_layout.names(layout)}, "m")
    assert {entry.target: entry.shape for entry in todo.entries} == expected
    assert not community.lost_biases(todo)
    for item in todo.dropped:
        assert item.reason


def test_the_first_layout_has_2533_tensors_and_lacks_the_documented_ones():
    """The published one lacks six more, one of each block of its speech tokenizer."""
    shapes = dict(mlx_audio_layout.names("chatterbox-first"))
    for block in range(6):
        del shapes[f"s3_tokenizer.encoder.blocks.{block}.attn.fsmn_block.weight"]
    assert len(shapes) == 2533
    assert not community.has_speech_tokenizer(shapes)
    alone = {
        name.removeprefix("s3_tokenizer."): shape
        for name, shape in mlx_audio_layout.names("chatterbox").items()
        if name.startswith("s3_tokenizer.")
    }
    todo = community.plan({"model": shapes, "alone": alone}, "alone")
    networks = build(variant_named("english").default_config())
    expected = {key: value.shape for key, value in tree_flatten(networks.parameters())}
    assert {entry.target: entry.shape for entry in todo.entries} == expected
    assert len(community.lost_biases(todo)) == 56
    taken = {entry.file for entry in todo.entries if entry.target.startswith("s3_tokenizer.")}
    assert taken == {"alone"}


@pytest.mark.parametrize("separate", [True, False])
def test_mlx_audios_english_speaks_the_same(tmp_path, from_upstream, long_recording, separate):
    weights = from_upstream().weights
    source = mlx_audio_layout.write(tmp_path / "community" / "model", weights, separate=separate)
    result = converted(source, tmp_path)
    assert result.layout == "mlx-audio"
    assert result.variant == "english"
    stored = mx.load(str(result.folder / "model.safetensors"))
    for key, value in weights.items():
        if ".bias_" not in key:
            assert mx.array_equal(stored[key], value), key
    np.testing.assert_array_equal(speech(result.folder, long_recording), from_upstream().says)


@pytest.mark.parametrize("variant", ["turbo", pytest.param("nano", marks=pytest.mark.slow)])
def test_mlx_audios_turbo_speaks_the_same(tmp_path, from_upstream, long_recording, variant):
    source = mlx_audio_layout.write(
        tmp_path / "community" / "model", from_upstream(variant).weights, "chatterbox-turbo", "gpt2"
    )
    # Small widths do not distinguish Turbo from Nano; the real ones do.
    result = converted(source, tmp_path, variant, variant=variant)
    assert (result.layout, result.variant) == ("mlx-audio", variant)
    np.testing.assert_array_equal(
        speech(result.folder, long_recording), from_upstream(variant).says
    )


def test_mlx_audios_multilingual_speaks_the_same(tmp_path, from_upstream, long_recording):
    weights = from_upstream("multilingual").weights
    source = mlx_audio_layout.write(
        tmp_path / "community" / "model", weights, tokenizer="multilingual", t3_model="v3"
    )
    result = converted(source, tmp_path, "multilingual")
    assert result.variant == "multilingual"
    np.testing.assert_array_equal(
        speech(result.folder, long_recording), from_upstream("multilingual").says
    )
    # The versions have the same shapes, and differ in what is stated.
    for stated in ({"t3_model": "v2", "multilingual": True}, {"multilingual": True}):
        (source / "config.json").write_text(json.dumps({"model_type": "chatterbox", **stated}))
        assert layouts.recognise(source).variant == "multilingual-v2"


def test_half_precision_stays_what_it_is(tmp_path, from_upstream, monkeypatch):
    """Another type must be asked for; this holds in the cache, too."""
    weights = from_upstream().weights
    source = mlx_audio_layout.write(tmp_path / "c" / "model", weights, dtype=mx.float16)
    result = converted(source, tmp_path)
    assert result.dtype == "float16"
    stored = mx.load(str(result.folder / "model.safetensors"))
    for key, value in weights.items():
        assert stored[key].dtype == mx.float16, key
        if ".bias_" not in key:
            assert mx.array_equal(stored[key], value.astype(mx.float16)), key
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make_small(monkeypatch, "english")
    cached = load(source)
    assert cached.config.dtype == "float16"
    assert cached.networks.t3.speech_head.weight.dtype == mx.float16
    assert load(source, dtype="float32").networks.ve.proj.weight.dtype == mx.float32


def test_a_float32_speech_tokenizer_beside_half_precision_stays_float32(tmp_path, from_upstream):
    weights = from_upstream().weights
    source = mlx_audio_layout.write(tmp_path / "c" / "model", weights, dtype=mx.float16)
    mlx_audio_layout.write(tmp_path / "exact" / "model", weights)
    shutil.rmtree(tmp_path / "c" / "S3TokenizerV2")
    shutil.move(tmp_path / "exact" / "S3TokenizerV2", tmp_path / "c")
    stored = mx.load(str(converted(source, tmp_path).folder / "model.safetensors"))
    for key, value in weights.items():
        if key.startswith("s3_tokenizer."):
            assert mx.array_equal(stored[key], value), key
        else:
            assert stored[key].dtype == mx.float16, key
    asked = converted(source, tmp_path, dtype="float16", force=True)
    stored = mx.load(str(asked.folder / "model.safetensors"))
    assert {value.dtype for value in stored.values()} == {mx.float16}


@pytest.mark.parametrize(("bits", "dtype"), [(4, mx.float16), (8, mx.float32)])
def test_quantised_layers_are_what_mlx_makes_of_them(tmp_path, bits, dtype, from_upstream):
    weights = from_upstream().weights
    source = mlx_audio_layout.write(tmp_path / "c" / "model", weights, bits=bits, dtype=dtype)
    plain = converted(source, tmp_path, dtype="float32", quantization=QuantizationConfig())
    stored = mx.load(str(plain.folder / "model.safetensors"))
    for key, value in weights.items():
        if ".bias_" in key:
            continue
        expected = value.astype(dtype).astype(mx.float32)
        if key.startswith("t3.tfmr.model.layers") and value.ndim == 2:
            parts = mx.quantize(value.astype(dtype), mlx_audio_layout.GROUP, bits)
            parts = [parts[0], *(part.astype(mx.float32) for part in parts[1:])]
            expected = mx.dequantize(*parts, mlx_audio_layout.GROUP, bits)
        assert mx.array_equal(stored[key], expected), key


@pytest.mark.parametrize(("bits", "dtype"), [(4, mx.float16), (8, mx.float32)])
def test_quantised_layers_stay_quantised_to_the_bit(
    tmp_path, from_upstream, bits, dtype, long_recording
):
    """mlx-audio's codes and scales, also when they are converted once more and when they load."""
    weights = from_upstream().weights
    source = mlx_audio_layout.write(tmp_path / "c" / "model", weights, bits=bits, dtype=dtype)
    given = mx.load(str(source / "model.safetensors"))
    first = converted(source, tmp_path).folder
    again = convert(first, tmp_path / "once more", verify=verify_folder).folder
    for folder in (first, again):
        stored = mx.load(str(folder / "model.safetensors"))
        quantised = [key for key in given if key.endswith(".scales")]
        assert len(quantised) == 14
        for key in quantised:
            for part in ("weight", "scales", "biases"):
                name = key.replace("scales", part)
                assert mx.array_equal(stored[name], given[name]), name
                assert stored[name].dtype == given[name].dtype, name
        assert stored["s3gen.mel2wav.conv_pre.weight"].dtype == dtype
        assert len(ModelConfig.load(folder).quantization.rules) == 1
    layers = quantized_layers(load_converted(first).networks)
    assert len(layers) == len(quantised)
    np.testing.assert_array_equal(speech(first, long_recording), speech(again, long_recording))
    plain = converted(first, tmp_path / "once more", quantization=QuantizationConfig()).folder
    assert not quantized_layers(load_converted(plain).networks)


def test_layers_of_several_group_sizes_are_distinguished(tmp_path):
    rows = mx.arange(256, dtype=mx.float32).reshape(2, 128)
    tensors = {}
    for name, size, bits in (("a", 64, 4), ("b", 32, 8)):
        parts = mx.quantize(rows, size, bits)
        tensors |= dict(
            zip([f"{name}.weight", f"{name}.scales", f"{name}.biases"], parts, strict=True)
        )
    mx.save_safetensors(str(tmp_path / "m.safetensors"), tensors)
    sizes = group_sizes({"quantization": {"group_size": 64, "bits": 4, "b": {"group_size": 32}}})
    reader = UnpackingReader(SafetensorsReader(tmp_path / "m.safetensors"), *sizes)
    assert reader.shapes == {"a.weight": (2, 128), "b.weight": (2, 128)}
    assert mx.allclose(reader.read("b.weight"), rows, atol=0.5)
    with pytest.raises(CheckpointError, match="groups of another size"):
        UnpackingReader(SafetensorsReader(tmp_path / "m.safetensors"), 256)


@pytest.mark.parametrize("stated", ["x", {"group_size": "many"}, {"group_size": None}, [4]])
def test_an_invalid_quantization_is_a_clear_error(stated):
    with pytest.raises(CheckpointError, match=r"config\.json has quantization"):
        group_sizes({"quantization": stated})


def test_tensors_lost_by_the_first_layout_are_reported(tmp_path, from_upstream):
    weights = {k: v for k, v in from_upstream().weights.items() if not k.endswith("to_out.0.bias")}
    source = mlx_audio_layout.write(
        tmp_path / "c" / "model", weights, "chatterbox-first", separate=False
    )
    result = converted(source, tmp_path)
    assert "biases of S3Gen's attention" in result.notes[0]
    stored = mx.load(str(result.folder / "model.safetensors"))
    for key in from_upstream().weights:
        if key.endswith("to_out.0.bias"):
            assert float(mx.abs(stored[key]).max()) == 0.0


def test_a_missing_speech_tokenizer_is_an_error_with_its_source(tmp_path, from_upstream):
    source = mlx_audio_layout.write(tmp_path / "c" / "model", from_upstream().weights)
    shutil.move(tmp_path / "c" / "S3TokenizerV2", tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"mlx-community/S3TokenizerV2"):
        converted(source, tmp_path)
    result = converted(
        source, tmp_path, speech_tokenizer=lambda: tmp_path / "elsewhere" / "model.safetensors"
    )
    assert len(result.dropped) >= 3


def test_mlx_audios_voice_comes_along(tmp_path, from_upstream):
    source = mlx_audio_layout.write(tmp_path / "c" / "model", from_upstream().weights)
    given = {
        f"{part}.{key}": mx.array(value.storage)
        for part, values in conds().items()
        for key, value in values.items()
        if value is not None and key not in ("emotion_adv", "prompt_token_len")
    }
    mx.save_safetensors(str(source / "conds.safetensors"), given)
    result = converted(source, tmp_path)
    assert result.voice
    voice = load_converted(result.folder).voice
    assert voice.emotion == 0.5
    assert mx.array_equal(voice.prompt_feat, given["gen.prompt_feat"])


def test_an_unknown_key_of_mlx_audios_is_named(tmp_path, from_upstream):
    source = mlx_audio_layout.write(tmp_path / "c" / "model", from_upstream().weights)
    tensors = dict(mx.load(str(source / "model.safetensors")))
    tensors["vocoder.weight"] = mx.zeros((2,))
    mx.save_safetensors(str(source / "model.safetensors"), tensors)
    with pytest.raises(CheckpointError, match=r"vocoder\.weight"):
        converted(source, tmp_path)


def test_mlx_audios_folder_loads_as_it_is(tmp_path, monkeypatch, long_recording, from_upstream):
    """Converted on first use, into the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = mlx_audio_layout.write(tmp_path / "c" / "model", from_upstream().weights)
    assert not is_converted(source)
    make_small(monkeypatch, "english")
    checkpoint = load(source)
    assert checkpoint.config.source["layout"] == "mlx-audio"
    np.testing.assert_array_equal(speech(source, long_recording), from_upstream().says)


@pytest.mark.slow
def test_mlx_audios_own_code_writes_what_is_read(tmp_path, from_upstream):
    """Its `sanitize` methods on small files of upstream's, weight norm folded before.

    Needs MLX_AUDIO_PYTHON, an interpreter that has mlx-audio.
    """
    python = os.environ.get("MLX_AUDIO_PYTHON")
    if not python:
        pytest.skip("MLX_AUDIO_PYTHON names no interpreter with mlx-audio")
    weights = from_upstream().weights
    files = to_upstream(weights)
    s3gen = files["s3gen.safetensors"]
    for key in [key for key in s3gen if key.endswith(".original0")]:
        module = key.removesuffix(".parametrizations.weight.original0")
        del s3gen[key]
        s3gen[f"{module}.weight"] = s3gen.pop(f"{module}.parametrizations.weight.original1")
    source = save(tmp_path / "upstream", files)
    code = f"""
import mlx.core as mx
from mlx_audio.tts.models.chatterbox import Model
from mlx_audio.tts.models.chatterbox.config import ModelConfig
mx.set_default_device(mx.cpu)
model = Model(ModelConfig.from_dict({{"model_type": "chatterbox"}}))
s3gen = mx.load({str(source / "s3gen.safetensors")!r})
tokenizer = {{k[10:]: v for k, v in s3gen.items() if k.startswith("tokenizer.")}}
s3gen = {{k: v for k, v in s3gen.items() if not k.startswith("tokenizer.")}}
stored = {{}}
for prefix, network, values in (
    ("ve", model.ve, mx.load({str(source / "ve.safetensors")!r})),
    ("t3", model.t3, mx.load({str(source / "t3_cfg.safetensors")!r})),
    ("s3gen", model.s3gen, s3gen),
    ("s3_tokenizer", model._s3_tokenizer, tokenizer),
):
    stored |= {{f"{{prefix}}.{{k}}": v for k, v in network.sanitize(values).items()}}
mx.save_safetensors({str(tmp_path / "model.safetensors")!r}, stored)
"""
    subprocess.run([python, "-c", code], check=True)
    folder = tmp_path / "community"
    folder.mkdir()
    shutil.move(tmp_path / "model.safetensors", folder)
    shutil.copy(source / "tokenizer.json", folder)
    (folder / "config.json").write_text('{"model_type": "chatterbox", "t3_model": "english"}')
    stored = mx.load(str(converted(folder, tmp_path).folder / "model.safetensors"))
    for key, value in weights.items():
        if "bias_hh" in key:
            assert float(mx.abs(stored[key]).max()) == 0.0
        elif "bias_ih" in key:
            assert mx.array_equal(stored[key], value + weights[key.replace("_ih_", "_hh_")])
        else:
            assert mx.array_equal(stored[key], value), key


# --- Hugging Face's S3Gen -----------------------------------------------------------------------


def hugging_face_s3gen(folder, weights, whole_model=False):
    """S3Gen as `save_pretrained` of the pull request writes it: weight norm folded or not."""
    folder.mkdir()
    tensors = {}
    for key, value in to_upstream(weights)["s3gen.safetensors"].items():
        if key.startswith("tokenizer."):
            key = key.replace("tokenizer.", "tokenizer.s3_model.", 1)
        tensors[f"s3gen.{key}" if whole_model else key] = value
    prefix = "s3gen." if whole_model else ""
    tensors[f"{prefix}mel2wav.stft_window"] = mx.ones((16,))
    tensors[f"{prefix}trim_fade"] = mx.zeros((960,))
    mx.save_safetensors(str(folder / "model.safetensors"), tensors)
    config = {"model_type": "s3gen", "vocab_size": 6561, "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("whole_model", [False, True])
def test_hugging_faces_s3gen_takes_the_place_of_a_models(
    tmp_path, from_upstream, long_recording, whole_model
):
    files = to_upstream(from_upstream().weights)
    files["s3gen.safetensors"] = {"flow.x": mx.zeros((1,))}  # not read
    source = save(tmp_path / "upstream", files)
    other = hugging_face_s3gen(tmp_path / "hf", from_upstream().weights, whole_model)
    (other / "config.json").unlink()  # its sizes are the full ones
    result = converted(source, tmp_path, s3gen=other)
    np.testing.assert_array_equal(speech(result.folder, long_recording), from_upstream().says)


def test_hugging_faces_s3gen_in_a_models_folder(tmp_path, from_upstream, long_recording):
    files = to_upstream(from_upstream().weights)
    del files["s3gen.safetensors"]
    source = save(tmp_path / "upstream", files)
    other = hugging_face_s3gen(tmp_path / "hf", from_upstream().weights)
    for path in other.iterdir():
        shutil.move(path, source)
    result = converted(source, tmp_path)
    assert result.layout == "upstream"
    np.testing.assert_array_equal(speech(result.folder, long_recording), from_upstream().says)


def test_hugging_faces_sizes_are_taken_over(tmp_path, from_upstream):
    source = save(tmp_path / "upstream", to_upstream(from_upstream().weights))
    other = hugging_face_s3gen(tmp_path / "hf", from_upstream().weights)
    values = json.loads((other / "config.json").read_text()) | {"encoder_num_blocks": 1}
    (other / "config.json").write_text(json.dumps(values))
    assert layouts.recognise(source, s3gen=other).config.s3gen.encoder_num_blocks == 1


def test_s3gen_alone_is_an_error_with_the_remedy(tmp_path, from_upstream):
    other = hugging_face_s3gen(tmp_path / "hf", from_upstream().weights)
    with pytest.raises(CheckpointError, match=r"only S3Gen.*--s3gen"):
        converted(other, tmp_path)


# --- Ours ---------------------------------------------------------------------------------------


def test_our_own_folder_is_converted_again(tmp_path, from_upstream, long_recording):
    _, ours, _, says = from_upstream()
    result = convert(ours, tmp_path / "again", verify=verify_folder)
    assert result.layout == "mlx-chatterbox"
    np.testing.assert_array_equal(speech(result.folder, long_recording), says)
    half = convert(result.folder, tmp_path / "half", dtype="float16", verify=verify_folder)
    direct = convert(
        from_upstream().upstream, tmp_path / "direct", dtype="float16", config=small_config()
    )
    one, two = (mx.load(str(c.folder / "model.safetensors")) for c in (half, direct))
    assert all(mx.array_equal(one[key], two[key]) for key in one.keys() | two.keys())
    source = ModelConfig.load(half.folder).source
    assert source["converted_from"]["converted_from"]["layout"] == "upstream"


def test_parts_in_several_files_become_one(tmp_path, from_upstream):
    source = from_upstream().upstream
    parts = convert(
        source, tmp_path / "parts", config=small_config(), shared=tmp_path / "shared"
    ).folder
    result = convert(parts, tmp_path / "whole", verify=verify_folder)
    assert "model.safetensors" in left_in(result.folder)


def test_our_packed_folder_is_unpacked(tmp_path, from_upstream):
    ours = from_upstream().ours
    packed = tmp_path / "packed"
    shutil.copytree(ours, packed)
    config = ModelConfig.load(ours)
    config.packing = PackingConfig(bits=8, group_size=32)
    weights = pack(mx.load(str(ours / "model.safetensors")), config.packing, lambda key: True)
    mx.save_safetensors(str(packed / "model.safetensors"), weights)
    config.save(packed)
    result = convert(packed, tmp_path / "again", verify=verify_folder)
    again = ModelConfig.load(result.folder)
    assert again.packing.bits == 0
    one = dict(tree_flatten(load_converted(packed).networks.parameters()))
    two = dict(tree_flatten(load_converted(result.folder).networks.parameters()))
    for key, value in one.items():
        assert mx.array_equal(value, two[key]), key


# Only our own folders are searched for a run.
@pytest.mark.parametrize(
    ("given", "in_upstreams_layout"),
    [("final_model", False), ("final_model", True), ("run", False)],
)
def test_our_trainers_output(tmp_path, from_upstream, long_recording, in_upstreams_layout, given):
    _, ours, _, says = from_upstream()
    run = tmp_path / "run"
    run.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small sizes are not upstream's
        final = export(load_converted(ours), run / "final_model", upstream=in_upstreams_layout)
    result = converted(final if given == "final_model" else run, tmp_path)
    expected = "upstream" if in_upstreams_layout else "mlx-chatterbox"
    assert result.layout == expected
    if not in_upstreams_layout:
        np.testing.assert_array_equal(speech(result.folder, long_recording), says)
        source = ModelConfig.load(result.folder).source
        assert "fine_tuned_from" in source["converted_from"]
    stored = mx.load(str(result.folder / "model.safetensors"))
    for key, value in from_upstream().weights.items():
        assert mx.allclose(stored[key], value, rtol=1e-6, atol=0), key


@pytest.mark.parametrize("name", ["balanced", "small"])
def test_a_recipe_s_folder_converted_again_is_the_same(tmp_path, from_upstream, name):
    recipe = RECIPES[name]
    settings = {"dtype": recipe.dtype, "quantization": recipe.quantization}
    first = convert(from_upstream().ours, tmp_path / "first", **settings)
    again = convert(first.folder, tmp_path / "again")
    one, two = (c.folder / "model.safetensors" for c in (first, again))
    assert one.read_bytes() == two.read_bytes()
    assert ModelConfig.load(again.folder).quantization == recipe.quantization


@pytest.mark.parametrize("precision", [("--dtype", "float16"), ("--recipe", "small")])
def test_the_packaged_pocket_model_is_converted_and_speaks(tmp_path, precision):
    """Pocket is converted by name; its voice has no prompt tokens for T3."""
    assert cli.main(["pocket", str(tmp_path / "out"), *precision]) == 0
    # In float32, as convolutions in float16 take minutes on some processors.
    tts = ChatterboxTTS.from_local(tmp_path / "out", dtype="float32")
    assert tts.checkpoint.voice is not None
    said = tts.generate("Hello there.", **SAYING | {"max_new_tokens": 12})
    assert np.isfinite(said).all()
    assert said.any()


def test_a_quantised_source_is_verified_against_its_own_numbers_in_float32(
    tmp_path, from_upstream, monkeypatch, capsys
):
    make_small(monkeypatch, "english")
    source = mlx_audio_layout.write(tmp_path / "c" / "model", from_upstream().weights, bits=4)
    arguments = [str(source), str(tmp_path / "out"), "--verify", "--positions", "4"]
    assert cli.main(arguments) == 0
    assert "next token" in capsys.readouterr().out
    document = json.loads((tmp_path / "out" / "verification.json").read_text())
    assert document["precision"] == "4bit"


def test_what_is_read_is_never_replaced(tmp_path, from_upstream):
    """A run's final model, when the run is given; another S3Gen's folder."""
    run = tmp_path / "run"
    final = Path(shutil.copytree(from_upstream().ours, run / "final_model"))
    before = (final / "model.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match="an input: choose"):
        convert(run, final, force=True, dtype="float16")
    assert (final / "model.safetensors").read_bytes() == before
    source = save(tmp_path / "upstream", to_upstream(from_upstream().weights))
    other = hugging_face_s3gen(tmp_path / "hf", from_upstream().weights)
    with pytest.raises(CheckpointError, match="an input: choose"):
        convert(source, other, force=True, s3gen=other, config=small_config())
    assert (other / "model.safetensors").is_file()


# --- Unknown layouts ----------------------------------------------------------------------------


def test_an_unknown_folder_is_an_error_that_lists_expected_and_present_files(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").touch()
    with pytest.raises(CheckpointError) as caught:
        convert(folder, tmp_path / "out")
    message = str(caught.value)
    for looked_for in ("upstream's files", "mlx-audio's", "this library's", "its trainer's"):
        assert looked_for in message
    assert len(message) < 300, "no list of every file of every model"
    assert "It has cat.jpg" in message
    assert "\n" not in message


def test_a_folder_of_another_library_is_unknown(tmp_path):
    folder = tmp_path / "llama"
    folder.mkdir()
    mx.save_safetensors(str(folder / "model.safetensors"), {"model.norm.weight": mx.zeros((2,))})
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError) as caught:
        convert(folder, tmp_path / "out")
    message = str(caught.value)
    assert "upstream's files, mlx-audio's" in message
    assert 'It has config.json (model_type "llama"), model.safetensors' in message


def test_upstreams_voice_is_taken_from_either_format(tmp_path, from_upstream):
    source = tmp_path / "upstream"
    shutil.copytree(from_upstream().upstream, source)
    torch_save(source / "conds.pt", conds())
    first = convert(source, tmp_path / "first", config=small_config())
    second = convert(first.folder, tmp_path / "second")
    assert second.voice
    name = "conds.safetensors"
    assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_upstreams_layout_is_what_these_tests_assume(from_upstream):
    shapes = {key: tuple(value.shape) for key, value in from_upstream().weights.items()}
    assert set(upstream_layout(shapes)) == {
        "ve.safetensors",
        "t3_cfg.safetensors",
        "s3gen.safetensors",
    }
