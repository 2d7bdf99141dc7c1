"""The model that training starts from."""

from __future__ import annotations

import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_chatterbox.errors import ConfigError
from mlx_chatterbox.train import base_model
from mlx_chatterbox.train.config import TrainConfig
from mlx_chatterbox.train.sections import ModelSection


def config(folder, **model) -> TrainConfig:
    return TrainConfig(model=ModelSection(base_model=str(folder), **model))


def weights(checkpoint) -> dict[str, np.ndarray]:
    return {k: np.array(v) for k, v in tree_flatten(checkpoint.networks.parameters())}


def test_pretrained_is_the_checkpoint_in_float32(small_checkpoint):
    opened = base_model.open_base(config(small_checkpoint))
    assert opened.folder == small_checkpoint
    assert opened.config.dtype == "float32"


def test_upstreams_own_files_are_converted_strictly(
    small_upstream, small_config, tmp_path, monkeypatch
):
    """The published sizes do not fit a small model: an error, not a guess."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from mlx_chatterbox.errors import CheckpointError

    with pytest.raises(CheckpointError):
        base_model.open_base(config(small_upstream))


def test_a_folder_that_is_not_there_is_an_error_with_a_line(tmp_path):
    missing = config("nothing/of/that/name")
    missing.places["model.base_model"] = "voice.yaml:3"
    with pytest.raises(ConfigError, match=r"^voice.yaml:3: nothing/of"):
        base_model.find(missing)
    missing = config("english", local_model_dir=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="is not a folder"):
        base_model.find(missing)


@pytest.mark.parametrize(
    ("source", "variant", "name"),
    [
        ("ResembleAI/chatterbox", None, "english"),
        ("ResembleAI/chatterbox", "multilingual", "multilingual"),
        ("turbo", None, "turbo"),
        ("turbo", "english", None),
        ("somebody/else", None, None),
    ],
)
def test_which_published_model_is_meant(source, variant, name):
    found = base_model.published(ModelSection(base_model=source, variant=variant))
    assert (found.name if found else None) == name


def test_scratch_is_random_where_it_is_trained_and_the_base_elsewhere(small_checkpoint):
    scratch = config(
        small_checkpoint,
        init="scratch",
        freeze_components=["flow"],
        config={"t3": {"hidden_size": 32, "head_dim": 8, "num_hidden_layers": 1}},
    )
    base = weights(base_model.open_base(config(small_checkpoint)))
    first = base_model.open_base(scratch)
    again = weights(base_model.open_base(scratch))
    made = weights(first)
    assert first.config.t3.hidden_size == 32
    assert first.config.t3.text_tokens_dict_size == 704
    assert made["t3.text_emb.weight"].shape[1] == 32
    assert np.std(made["t3.text_emb.weight"]) > 0
    for key, value in made.items():
        np.testing.assert_array_equal(value, again[key], err_msg=key)
        if not key.startswith("t3."):
            np.testing.assert_array_equal(value, base[key], err_msg=key)


def test_another_seed_gives_other_weights(small_checkpoint):
    scratch = config(small_checkpoint, init="scratch", freeze_components=["flow"])
    one = weights(base_model.open_base(scratch))
    scratch.seed = 7
    other = weights(base_model.open_base(scratch))
    assert not np.array_equal(one["t3.text_emb.weight"], other["t3.text_emb.weight"])
    assert np.array_equal(one["ve.proj.weight"], other["ve.proj.weight"])


def test_what_keeps_its_weights_keeps_its_sizes(small_checkpoint):
    scratch = config(
        small_checkpoint,
        init="scratch",
        freeze_components=["flow"],
        config={"voice_encoder": {"hidden_size": 8}},
    )
    scratch.places["model.config"] = "voice.yaml:9"
    with pytest.raises(ConfigError, match=r"^voice.yaml:9: voice_encoder has other sizes"):
        base_model.open_base(scratch)


def test_sizes_that_cannot_be_are_an_error_with_a_line(small_checkpoint):
    scratch = config(small_checkpoint, init="scratch", config={"t3": {"backbone": "mamba"}})
    scratch.places["model.config"] = "voice.yaml:9"
    with pytest.raises(ConfigError, match=r"^voice.yaml:9: T3 backbone 'mamba'"):
        base_model.open_base(scratch)


def test_a_quantised_base_stays_so_except_where_it_is_reinitialised(
    small_upstream, small_config, tmp_path
):
    import mlx.core as mx

    from mlx_chatterbox.weights.conversion.core import convert_folder
    from mlx_chatterbox.weights.conversion.recipes import RECIPES
    from mlx_chatterbox.weights.quantization import quantized_layers

    recipe = RECIPES["small"]
    settings = {"dtype": recipe.dtype, "quantization": recipe.quantization}
    folder = convert_folder(small_upstream, tmp_path / "base", config=small_config, **settings)
    opened = base_model.open_base(config(folder))
    assert opened.networks.t3.speech_emb.scales.dtype == mx.float32
    everything = set(quantized_layers(opened.networks))
    scratch = base_model.open_base(config(folder, init="scratch", freeze_components=["flow"]))
    kept = {path for path in everything if not path.startswith("t3.")}
    trained = {name for name in kept if name.startswith("s3gen.flow.")}
    assert trained  # named as frozen, the flow keeps its bits
    assert set(quantized_layers(scratch.networks)) == kept
    stored = mx.load(str(folder / "model.safetensors"))
    path = sorted(trained)[0]
    assert mx.array_equal(
        dict(tree_flatten(scratch.networks.parameters()))[f"{path}.weight"],
        stored[f"{path}.weight"],
    )
