"""Loading is strict, and names the fault."""

from __future__ import annotations

import json
import shutil

import mlx.core as mx
import pytest

from mlx_chatterbox.errors import CheckpointError, HubError
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.weights import hub
from mlx_chatterbox.weights.checkpoint import load


@pytest.fixture
def folder(small_checkpoint, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(small_checkpoint, copy)
    return copy


def rewrite(folder, change):
    path = folder / "model.safetensors"
    weights = dict(mx.load(str(path)))
    mx.eval(list(weights.values()))
    change(weights)
    mx.save_safetensors(str(path), weights)


def test_loads(folder):
    checkpoint = load(folder)
    assert checkpoint.voice is None
    assert checkpoint.config.variant == "english"
    assert not checkpoint.networks.training


def test_a_missing_tensor(folder):
    rewrite(folder, lambda w: w.pop("t3.text_head.weight"))
    with pytest.raises(CheckpointError, match=r"1 missing \(t3.text_head.weight\)"):
        load(folder)


def test_a_left_over_tensor(folder):
    rewrite(folder, lambda w: w.update({"t3.extra": mx.zeros((2,))}))
    with pytest.raises(CheckpointError, match=r"1 unknown \(t3.extra\)"):
        load(folder)


def test_a_wrong_shape(folder):
    rewrite(folder, lambda w: w.update({"ve.proj.bias": mx.zeros((2,))}))
    with pytest.raises(CheckpointError, match=r"ve.proj.bias \(2,\) instead of \(256,\)"):
        load(folder)


def test_an_edited_tensor_still_loads(folder):
    key = "t3.tfmr.model.layers.1.self_attn.q_proj.weight"
    rewrite(folder, lambda w: w.update({key: w[key] * 0}))
    layer = load(folder).networks.t3.tfmr.model.layers[1]
    assert float(mx.abs(layer.self_attn.q_proj.weight).max()) == 0.0


def test_truncated_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        load(folder)


def test_weights_that_are_not_safetensors(folder):
    (folder / "model.safetensors").write_bytes(b"<html>not found</html>")
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        load(folder)


def test_an_unknown_key_of_the_configuration(folder):
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["t3"]["num_hiden_layers"] = 2
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"unknown key.*num_hiden_layers"):
        load(folder)


def test_a_configuration_of_something_else(folder):
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError, match="model_type"):
        load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(folder)


def test_a_missing_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        load(folder)


def test_a_folder_with_nothing_in_it(tmp_path):
    with pytest.raises(CheckpointError):
        load(tmp_path)


def test_an_unknown_name():
    with pytest.raises(CheckpointError, match="neither a folder, a known model"):
        load("no-such-model")


def test_an_invalid_dtype(folder):
    with pytest.raises(CheckpointError, match="float8"):
        load(folder, dtype="float8")


def test_a_hub_that_cannot_be_reached(monkeypatch, tmp_path):
    """A closed port on this machine simulates the missing network."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # settings of this machine
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HubError, match="cannot be reached"):
        hub.download("somebody/something", ["*.json"])


def test_configuration_round_trip(tmp_path, small_config):
    small_config.save(tmp_path)
    assert ModelConfig.load(tmp_path) == small_config


def test_a_hyperparameter_that_the_code_does_not_know_is_refused_not_ignored(folder):
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["s3gen"]["cfm_t_scheduler"] = "linear"
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"cannot be built with .*linear"):
        load(folder)
