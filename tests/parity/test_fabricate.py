"""Fabricated checkpoints: upstream's names and shapes, repeatable, and not trivial anywhere."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mlx_chatterbox.parity.__main__ import main
from mlx_chatterbox.parity.fabricate.checkpoint import (
    fabricate,
    fabricate_layout,
    is_fabricated,
    upstream_shapes,
)
from mlx_chatterbox.parity.fabricate.english import tokenizer_json
from mlx_chatterbox.parity.fabricate.values import tensor
from mlx_chatterbox.weights.formats.unpickle import TorchReader
from mlx_chatterbox.weights.variants import VARIANTS
from tests.small import small_config as small_variant

FILES = {"ve.safetensors", "t3_cfg.safetensors", "s3gen.safetensors"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def tensors(folder: Path) -> dict[str, np.ndarray]:
    return {
        f"{file}:{key}": value for file in FILES for key, value in load_file(folder / file).items()
    }


def test_the_files_are_upstreams_and_the_layout_is_kept(small_upstream, small_config):
    layout = upstream_shapes(small_config)
    assert set(layout) == FILES
    for file, shapes in layout.items():
        found = {key: value.shape for key, value in load_file(small_upstream / file).items()}
        assert found == {key: tuple(shape) for key, shape in shapes.items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_upstreams_files(tmp_path, variant):
    row, config = VARIANTS[variant], small_variant(variant)
    folder = fabricate(tmp_path / "made", variant=variant, config=config)
    assert {path.name for path in folder.iterdir()} >= set(row.required_files)
    layout = upstream_shapes(config, variant=variant)
    assert is_fabricated(folder, layout, variant, 0)
    assert not is_fabricated(folder, layout, "another", 0)
    for file, shapes in layout.items():
        read = _read_torch if file.endswith(".pt") else load_file
        found = read(folder / file)
        assert {key: value.shape for key, value in found.items()} == shapes
        for key, value in found.items():
            if value.size > 1 and not key.endswith(("classifier.bias", "num_batches_tracked")):
                assert value.std() > 1e-3, key


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    reader = TorchReader(path)
    return {key: np.array(reader.read(key)) for key in reader.shapes}


def test_english_and_multilingual_have_the_same_s3gen(small_upstream, tmp_path):
    folder = fabricate(tmp_path, variant="multilingual", config=small_variant("multilingual"))
    english = load_file(small_upstream / "s3gen.safetensors")
    multilingual = _read_torch(folder / "s3gen.pt")
    assert english.keys() == multilingual.keys()
    assert all(np.array_equal(multilingual[key], value) for key, value in english.items())


def test_gpt2s_linear_layers_keep_activations_of_order_one():
    for key, width in {"attn.c_attn": 1536, "mlp.c_fc": 2048}.items():
        weight = tensor(f"tfmr.h.0.{key}.weight", (512, width), 0)
        assert 0.9 < (np.ones(512) @ weight).std() < 2.2
    assert (np.ones(2048) @ tensor("tfmr.h.0.mlp.c_proj.weight", (2048, 512), 0)).std() < 0.6


@pytest.mark.reference
def test_torch_reads_the_pt_files(tmp_path):
    """Reading with `weights_only`, as upstream does, gives the other format's values and types."""
    import torch

    layout = {"proj.weight": (4, 3), "bn.num_batches_tracked": (), "empty.bias": (0,)}
    files = {"a.pt": layout, "a.safetensors": layout}
    folder = fabricate_layout(tmp_path / "made", files)
    loaded = torch.load(folder / "a.pt", weights_only=True)
    expected = load_file(folder / "a.safetensors")
    assert list(loaded) == list(layout)
    for key, value in expected.items():
        assert loaded[key].numpy().dtype == value.dtype
        assert np.array_equal(loaded[key].numpy(), value)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    small_upstream, small_config, tmp_path
):
    again = fabricate(tmp_path / "again", config=small_config)
    assert contents(again) == contents(small_upstream)
    other = fabricate(tmp_path / "other", config=small_config, seed=1)
    assert contents(other)["s3gen.safetensors"] != contents(again)["s3gen.safetensors"]


def test_both_spellings_of_weight_norm_give_the_same_values(small_upstream, small_config, tmp_path):
    other = fabricate(tmp_path / "g_v", config=small_config, weight_norm="g_v")
    spelt = {
        key.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): value
        for key, value in tensors(other).items()
    }
    expected = tensors(small_upstream)
    assert spelt.keys() == expected.keys()
    assert all(np.array_equal(spelt[key], expected[key]) for key in expected)


def test_filter_buffers_are_written_on_demand_and_hold_the_true_filters(small_config, tmp_path):
    folder = fabricate(tmp_path / "buffers", config=small_config, filter_buffers=True)
    s3gen = load_file(folder / "s3gen.safetensors")
    assert s3gen["tokenizer.window"][:2] == pytest.approx([0.0, np.sin(np.pi / 400) ** 2])
    assert s3gen["tokenizer._mel_filters"].shape == (128, 201)
    assert s3gen["tokenizer._mel_filters"].sum() == pytest.approx(128 / 40, rel=0.05)


def test_no_value_is_left_neutral(small_upstream):
    """Tensors of all ones or zeros could be dropped or swapped unnoticed."""
    scalars = {"similarity_weight", "similarity_bias", "num_batches_tracked", "classifier.bias"}
    for key, value in tensors(small_upstream).items():
        if value.size > 1 and not any(key.endswith(name) for name in scalars):
            assert np.isfinite(value).all(), key
            assert value.std() > 1e-3, key


def test_weight_norm_magnitudes_are_not_the_directions_own_norms(small_upstream):
    s3gen = load_file(small_upstream / "s3gen.safetensors")
    prefix = "mel2wav.conv_pre.parametrizations.weight.original"
    norms = np.linalg.norm(s3gen[prefix + "1"].reshape(len(s3gen[prefix + "0"]), -1), axis=1)
    ratio = s3gen[prefix + "0"].ravel() / norms
    assert ratio.min() >= 0.79
    assert ratio.max() <= 1.21
    assert ratio.std() > 0.05


def test_batch_norm_variances_lie_around_one():
    values = tensor("speaker_encoder.head.bn1.running_var", (500,), seed=0)
    assert (values >= 0.5).all()
    assert (values <= 1.5).all()
    assert values.std() > 0.2


def test_a_tensor_does_not_depend_on_which_others_there_are():
    key, shape = "tfmr.layers.0.mlp.up_proj.weight", (8, 4)
    assert np.array_equal(tensor(key, shape, 3), tensor(key, shape, 3))
    assert not np.array_equal(tensor(key, shape, 3), tensor(key.replace("0", "1"), shape, 3))


def test_an_interrupted_folder_is_not_taken_for_a_whole_one(tmp_path, small_config):
    layout = upstream_shapes(small_config)
    folder = fabricate_layout(tmp_path / "whole", layout, seed=4)
    assert is_fabricated(folder, layout, "english", 4)
    assert not is_fabricated(folder, layout, "english", 5)

    def interrupt(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fabricate_layout(folder, layout, seed=4, progress=interrupt)
    assert not is_fabricated(folder, layout, "english", 4)
    assert not list(folder.glob(".*.tmp"))


def test_progress_ends_at_the_total(tmp_path):
    seen = []
    layout = {"ve.safetensors": {"proj.weight": (4, 3), "proj.bias": (4,)}}
    fabricate_layout(tmp_path, layout, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(48, 64), (64, 64)]


def test_the_text_tokenizer_is_of_upstreams_form(small_upstream):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(small_upstream / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 704
    for token, index in {"[STOP]": 0, "[UNK]": 1, "[SPACE]": 2, "[START]": 255}.items():
        assert tokenizer.token_to_id(token) == index
    assert tokenizer.encode("The[SPACE]rain,").tokens[-3:] != ["[UNK]"] * 3
    assert tokenizer.encode("é").tokens == ["[UNK]"]
    assert sorted(json.loads(tokenizer_json())["model"]["vocab"].values()) == list(range(704))


def test_the_command_refuses_a_folder_with_something_else_in_it(tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("mine")
    assert main(["fabricate", str(tmp_path)]) == 1
    assert "choose another name" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
