"""S3GenModel and HiFTNetModel, loaded from every layout and saved in two."""

from __future__ import annotations

import dataclasses
import json

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_chatterbox import HiFTNetModel, S3GenModel
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice
from mlx_chatterbox.weights import s3gen_store
from mlx_chatterbox.weights.checkpoint import load_converted
from tests.weights import mlx_audio_layout

# Small sizes of fabricated upstream files, which no file states.
TOKENS = np.random.default_rng(0).integers(0, 6561, (1, 6))


@pytest.fixture(scope="module")
def sizes(small_config):
    return {"config": small_config.s3gen, "tokenizer_config": small_config.s3_tokenizer}


@pytest.fixture(scope="module")
def model(small_checkpoint):
    return S3GenModel.from_pretrained(small_checkpoint)


def parameters(model) -> dict[str, mx.array]:
    return dict(tree_flatten(model.parameters()))


def assert_equal(model, other, rtol=1e-6):
    ours, theirs = parameters(model), parameters(other)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        # Weight norm is taken apart and folded again.
        np.testing.assert_allclose(
            value.astype(mx.float32),
            theirs[key].astype(mx.float32),
            rtol=rtol,
            atol=1e-6,
            err_msg=key,
        )
    assert model.config == other.config
    assert model.n_cfm_timesteps == other.n_cfm_timesteps


def test_s3gen_is_loaded_from_a_whole_model(model, small_checkpoint):
    networks = load_converted(small_checkpoint).networks
    assert model.config == networks.s3gen.config
    for key, value in parameters(networks).items():
        if key.startswith(("s3gen.", "s3_tokenizer.")):
            assert mx.array_equal(parameters(model)[key], value), key
    voice = synthetic_voice(1.4, seed=1)[9000:][:24000]
    assert model.generate(TOKENS, voice, 24000).shape == (1, 6 * 960)


def test_from_upstreams_folder_and_file(model, small_upstream, sizes):
    for source in (small_upstream, small_upstream / "s3gen.safetensors"):
        assert_equal(model, S3GenModel.from_pretrained(source, **sizes))


def test_from_mlx_audios_folder(model, small_checkpoint, sizes, tmp_path):
    weights = mx.load(str(small_checkpoint / "model.safetensors"))
    source = mlx_audio_layout.write(tmp_path / "community" / "model", weights, separate=True)
    assert_equal(model, S3GenModel.from_pretrained(source, **sizes))


@pytest.mark.parametrize(
    ("name", "repository", "wanted"),
    [
        ("chatterbox", "ResembleAI/chatterbox", ["s3gen.safetensors"]),
        ("turbo", "ResembleAI/chatterbox-turbo", ["s3gen_meanflow.safetensors"]),
        ("ResembleAI/s3gen", "ResembleAI/s3gen", s3gen_store._WANTED),
    ],
)
def test_from_the_hub_only_s3gen_comes(
    model, small_upstream, sizes, monkeypatch, name, repository, wanted
):
    asked = []

    def download(*call):
        asked.append(call)
        return small_upstream

    monkeypatch.setattr(s3gen_store, "download", download)
    assert_equal(model, S3GenModel.from_pretrained(name, **sizes))
    assert asked == [(repository, wanted)]


@pytest.mark.numbers
@pytest.mark.parametrize("layout", ["mlx", "transformers"])
@pytest.mark.parametrize("dtype", [None, "float16"])
def test_what_is_saved_is_what_is_loaded(model, tmp_path, layout, dtype, small_checkpoint):
    if dtype:
        model = S3GenModel.from_pretrained(small_checkpoint, dtype=dtype)
    folder = model.save_pretrained(tmp_path / "new" / "s3gen", layout)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    again = S3GenModel.from_pretrained(folder, dtype=dtype)
    if dtype is None:
        assert_equal(model, again)
    assert again.tokenizer_config == model.tokenizer_config
    assert again.flow.dtype == (mx.float16 if dtype else mx.float32)
    once_more = again.save_pretrained(folder, layout)  # in place of itself
    # In float16 the magnitude is rounded too.
    reread = S3GenModel.from_pretrained(once_more, dtype=dtype)
    assert_equal(again, reread, 2e-3 if dtype else 1e-6)


def test_hugging_faces_layout_has_its_names(model, tmp_path):
    folder = model.save_pretrained(tmp_path, "transformers")
    keys = set(mx.load(str(folder / "model.safetensors")))
    assert "tokenizer.s3_model.encoder.conv1.weight" in keys
    assert "tokenizer.s3_model.quantizer._codebook.project_down.weight" in keys
    assert "mel2wav.conv_pre.parametrizations.weight.original0" in keys
    assert "flow.decoder.estimator.final_proj.weight" in keys
    values = json.loads((folder / "config.json").read_text())
    assert values["model_type"] == "s3gen"
    assert values["vocab_size"] == 6561
    assert values["encoder_num_blocks"] == model.config.encoder_num_blocks


@pytest.mark.numbers
def test_a_saved_s3gen_takes_a_models_place(model, small_upstream, small_config, tmp_path):
    from mlx_chatterbox.weights.conversion.core import convert_folder

    changed = S3GenModel(model.config, model.tokenizer_config)
    folder = changed.save_pretrained(tmp_path / "s3gen", "transformers")
    converted = convert_folder(small_upstream, tmp_path / "out", config=small_config, s3gen=folder)
    assert_equal(changed, S3GenModel.from_pretrained(converted))
    ours = changed.save_pretrained(tmp_path / "ours")
    with pytest.raises(CheckpointError, match="layout='transformers'"):
        convert_folder(small_upstream, tmp_path / "no", config=small_config, s3gen=ours)


def test_mean_flow_takes_two_steps(tmp_path, small_models, small_config):
    model = S3GenModel.from_pretrained(small_models("turbo"))
    assert model.config.meanflow
    assert model.n_cfm_timesteps == 2
    for layout in ("mlx", "transformers"):
        assert_equal(model, S3GenModel.from_pretrained(model.save_pretrained(tmp_path, layout)))


def test_upstreams_mean_flow_is_known_by_its_layer(small_models, tmp_path):
    source = S3GenModel.from_pretrained(small_models("turbo"))
    folder = source.save_pretrained(tmp_path, "transformers")
    values = json.loads((folder / "config.json").read_text())
    del values["meanflow"]
    (folder / "config.json").write_text(json.dumps(values))
    assert_equal(source, S3GenModel.from_pretrained(folder))


def test_quantised_layers_stay_quantised(small_upstream, small_config, tmp_path):
    from mlx_chatterbox.models.config import QuantizationConfig
    from mlx_chatterbox.weights.conversion.core import convert_folder

    config = dataclasses.replace(small_config)
    rules = [{"layers": "s3gen.flow.encoder.*", "bits": 8, "group_size": 32}]
    converted = convert_folder(
        small_upstream,
        tmp_path / "few",
        config=config,
        quantization=QuantizationConfig(rules=rules),
    )
    model = S3GenModel.from_pretrained(converted)
    key = "s3gen.flow.encoder.encoders.0.self_attn.linear_q.scales"
    assert key in parameters(model)
    again = S3GenModel.from_pretrained(model.save_pretrained(tmp_path / "saved"))
    assert mx.array_equal(parameters(again)[key], parameters(model)[key])
    assert_equal(model, again)
    with pytest.raises(CheckpointError, match="quantised layers"):
        model.save_pretrained(tmp_path / "no", "transformers")


def test_pocket_is_a_model_too(tmp_path):
    model = S3GenModel.from_pretrained("pocket")
    voice = synthetic_voice(1.6, seed=1)
    tokens = TOKENS % model.config.vocab_size
    speech = model.generate(tokens, voice, 24000, seed=1)
    assert np.isfinite(speech).all()
    again = S3GenModel.from_pretrained(model.save_pretrained(tmp_path))
    np.testing.assert_allclose(again.generate(tokens, voice, 24000, seed=1), speech, atol=1e-4)


@pytest.mark.parametrize("layout", ["mlx", "transformers"])
def test_the_vocoder_by_itself(model, small_checkpoint, tmp_path, layout, rng):
    vocoder = HiFTNetModel.from_pretrained(small_checkpoint)
    assert vocoder.config == model.config.hift
    again = HiFTNetModel.from_pretrained(vocoder.save_pretrained(tmp_path / "v", layout))
    whole = HiFTNetModel.from_pretrained(model.save_pretrained(tmp_path / "s", layout))
    mel = rng.standard_normal((1, 80, 5)).astype(np.float32)
    expected, _ = model.mel2wav.inference(mel, seed=1)
    for other in (vocoder, again, whole):
        assert other.config == vocoder.config
        np.testing.assert_allclose(other.inference(mel, seed=1)[0], expected, atol=1e-3)
    if layout == "transformers":
        keys = mx.load(str(tmp_path / "v" / "model.safetensors"))
        assert "conv_pre.parametrizations.weight.original1" in keys
        assert json.loads((tmp_path / "v" / "config.json").read_text())["model_type"] == "hiftnet"


def test_the_vocoders_default_is_transformers(rng):
    vocoder = HiFTNetModel()
    assert vocoder.samples_per_frame == 256
    wave, source = vocoder(mx.array(rng.standard_normal((1, 80, 2)).astype(np.float32)))
    assert wave.shape == (1, 512)
    assert source.shape == (1, 1, 512)


def test_what_cannot_be_loaded_or_saved(model, tmp_path, small_upstream, sizes):
    with pytest.raises(CheckpointError, match="neither a file nor a folder"):
        S3GenModel.from_pretrained("nowhere")
    with pytest.raises(CheckpointError, match="holds no S3Gen"):
        S3GenModel.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="float8"):
        S3GenModel.from_pretrained(small_upstream, dtype="float8", **sizes)
    with pytest.raises(CheckpointError, match="does not fit the networks"):
        S3GenModel.from_pretrained(small_upstream)  # sizes not given
    with pytest.raises(CheckpointError, match="layout 'onnx' is none of"):
        model.save_pretrained(tmp_path, "onnx")
    (tmp_path / "a file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        model.save_pretrained(tmp_path / "a file" / "below")
    folder = model.save_pretrained(tmp_path / "cut")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        S3GenModel.from_pretrained(folder)
