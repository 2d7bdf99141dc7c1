"""Every variant, in the formats and folders in which it is published."""

from __future__ import annotations

import os
import shutil

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.weights.checkpoint import read_weights, verify_folder
from mlx_chatterbox.weights.conversion import shared as sharing
from mlx_chatterbox.weights.conversion.core import convert, convert_folder
from mlx_chatterbox.weights.conversion.sources import find_source, required_weight_files
from mlx_chatterbox.weights.conversion.upstream import to_upstream
from mlx_chatterbox.weights.formats.unpickle import TorchReader
from mlx_chatterbox.weights.variants import VARIANTS
from tests.small import small_config
from tests.weights.test_conversion import left_in, refuses, save, small_weights
from tests.weights.test_unpickle import FakeTensor, Global, torch_save

V2, V3 = "t3_mtl23ls_v2.safetensors", "t3_mtl23ls_v3.safetensors"


def upstream(folder, variant: str, **renamed: str):
    """A folder with a small model of this variant; `renamed` gives files other names."""
    files = to_upstream(small_weights(variant), variant=variant)
    row = VARIANTS[variant]
    names = {getattr(row, role): name for role, name in renamed.items()}
    files = {names.get(name, name): tensors for name, tensors in files.items()}
    return save(folder, files, row.default_config().text.tokenizer)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A single-language pack: T3 under another name."""
    folder = tmp_path_factory.mktemp("pack") / "hindi"
    return upstream(folder, "multilingual", t3_file="t3_hindi.safetensors")


@pytest.fixture
def family(tmp_path):
    """English and both multilinguals in one folder, as ResembleAI/chatterbox has them."""
    folder = upstream(tmp_path / "family", "english")
    for variant in ("multilingual", "multilingual-v2"):
        upstream(folder, variant)
    return folder


# --- The numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_round_trip_gives_the_same_tensors(tmp_path, variant):
    source = upstream(tmp_path / "upstream", variant)
    config = small_config(variant)
    result = convert(source, tmp_path / "ours", config=config, verify=verify_folder)
    assert result.variant == variant
    weights = small_weights(variant)
    converted = read_weights(result.folder)
    assert converted.keys() == weights.keys()
    for key, value in weights.items():
        assert mx.array_equal(converted[key], value), key
    tokenizer = [name for name in left_in(source) if name.endswith((".json", ".txt"))]
    expected = {*tokenizer, "config.json", "manifest.json", "model.safetensors"}
    assert left_in(result.folder) == sorted(expected)
    assert set(ModelConfig.load(result.folder).source["files"]) == set(left_in(source))


def test_gpt2s_linear_layers_are_transposed(tmp_path):
    source = upstream(tmp_path / "upstream", "nano")
    theirs = mx.load(str(source / "t3_nano_v1.safetensors"))
    ours = read_weights(convert_folder(source, tmp_path / "ours", config=small_config("nano")))
    for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
        key = f"tfmr.h.1.{name}.weight"
        assert mx.array_equal(ours[key.replace("tfmr.", "t3.tfmr.model.")], theirs[key].T)
    assert mx.array_equal(ours["t3.tfmr.model.wpe.weight"], theirs["tfmr.wpe.weight"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_pt_files_of_every_precision_are_read(tmp_path, dtype):
    """ve.pt in half precision becomes what the same numbers in ve.safetensors become."""
    source = upstream(tmp_path / "upstream", "multilingual")
    tensors = {
        key: value.astype(getattr(mx, dtype))
        for key, value in to_upstream(small_weights("multilingual"))["ve.safetensors"].items()
    }

    def stored(value):
        return np.array(value.view(mx.uint16) if dtype == "bfloat16" else value)

    torch_save(source / "ve.pt", {key: FakeTensor(stored(value)) for key, value in tensors.items()})
    settings = {"config": small_config("multilingual"), "dtype": "bfloat16"}
    from_pt = read_weights(convert_folder(source, tmp_path / "a", **settings))
    (source / "ve.pt").unlink()
    mx.save_safetensors(str(source / "ve.safetensors"), tensors)
    from_safetensors = read_weights(convert_folder(source, tmp_path / "b", **settings))
    for key, value in from_safetensors.items():
        assert mx.array_equal(from_pt[key], value), key


def test_a_pt_file_is_read_one_tensor_at_a_time(tmp_path):
    values = {f"t{i}": np.full((3, 4), i, dtype=np.float32) for i in range(5)}
    torch_save(tmp_path / "a.pt", {key: FakeTensor(value) for key, value in values.items()})
    reader = TorchReader(tmp_path / "a.pt")
    assert reader.shapes == dict.fromkeys(values, (3, 4))
    assert reader.dtypes == dict.fromkeys(values, "F32")
    for key in ("t3", "t0"):
        np.testing.assert_array_equal(np.array(reader.read(key)), values[key])
    reader.close()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([FakeTensor(np.ones(2))], "does not hold weights"),
        ({"model": {"proj.bias": FakeTensor(np.ones(2))}}, "does not hold weights"),
        ({"proj.bias": 3}, "does not hold weights"),
        ({"proj.bias": Global("os", "system", ("touch ran",))}, r"asks for os\.system"),
    ],
)
def test_a_pt_file_with_something_else_is_refused(tmp_path, content, match):
    source = upstream(tmp_path / "upstream", "multilingual")
    torch_save(source / "ve.pt", content)
    refuses(source, tmp_path, match, config=small_config("multilingual"))


def test_changed_bytes_in_a_pt_file_are_noticed(tmp_path):
    source = upstream(tmp_path / "upstream", "multilingual")
    value = np.arange(7, dtype=np.float32)
    tensors = to_upstream(small_weights("multilingual"))["ve.safetensors"]
    fakes = {key: FakeTensor(np.array(tensor)) for key, tensor in tensors.items()}
    path = torch_save(source / "ve.pt", {**fakes, "similarity_bias": FakeTensor(value)})
    whole = bytearray(path.read_bytes())
    at = whole.find(np.array(tensors["proj.bias"]).tobytes())
    whole[at] ^= 1
    path.write_bytes(whole)
    refuses(source, tmp_path, r"ve\.pt is damaged", config=small_config("multilingual"))


# --- Which model a folder holds ----------------------------------------------------------------


def test_english_is_the_default_of_several_variants(family, tmp_path):
    assert find_source(family).name == "english"
    assert find_source(family, "multilingual").t3_file == V3
    assert find_source(family, "multilingual-v2").t3_file == V2
    assert find_source(family, t3_file=V2).name == "multilingual-v2"
    result = convert(
        family, tmp_path / "ours", variant="multilingual", config=small_config("multilingual")
    )
    assert result.variant == "multilingual"
    files = ModelConfig.load(result.folder).source["files"]
    assert "t3_cfg.safetensors" not in files
    assert {"s3gen.pt", "ve.pt", V3} <= set(files)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_is_recognised_by_its_files(tmp_path, variant):
    assert find_source(upstream(tmp_path / "upstream", variant)).name == variant


def test_weights_come_in_either_format(tmp_path):
    folder = upstream(
        tmp_path / "a", "multilingual", s3gen_file="s3gen.safetensors", voice_encoder_file="ve.pt"
    )
    row = find_source(folder)
    assert (row.name, row.s3gen_file) == ("multilingual", "s3gen.safetensors")
    out = convert_folder(folder, tmp_path / "ours", config=small_config("multilingual"))
    verify_folder(out)
    folder = upstream(tmp_path / "b", "english", s3gen_file="s3gen.pt")
    assert find_source(folder).s3gen_file == "s3gen.pt"


def test_a_language_packs_t3_is_found_by_its_content(pack, tmp_path):
    row = find_source(pack)
    assert (row.name, row.t3_file) == ("multilingual", "t3_hindi.safetensors")
    result = convert(
        pack, tmp_path / "ours", config=small_config("multilingual"), verify=verify_folder
    )
    converted = read_weights(result.folder)
    weights = small_weights("multilingual")
    assert all(mx.array_equal(converted[key], value) for key, value in weights.items())


def test_one_of_two_unknown_t3s_must_be_chosen(pack, tmp_path):
    folder = shutil.copytree(pack, tmp_path / "two")
    shutil.copyfile(folder / "t3_hindi.safetensors", folder / "t3_malay.safetensors")
    with pytest.raises(CheckpointError, match=r"t3_hindi.*t3_malay.*--t3"):
        find_source(folder)
    assert find_source(folder, t3_file="t3_malay.safetensors").t3_file == "t3_malay.safetensors"


def test_another_versions_t3_is_not_taken_for_this_ones(tmp_path):
    folder = upstream(tmp_path / "v2", "multilingual-v2")
    with pytest.raises(CheckpointError, match=f"lacks {V3}.*It has .*{V2}"):
        find_source(folder, "multilingual")


@pytest.mark.parametrize("variant", ["turbo", "nano"])
def test_turbo_and_nano_are_distinguished_by_their_width(tmp_path, variant):
    folder = tmp_path / "own"
    upstream(folder, variant, t3_file="own.safetensors")
    width = VARIANTS[variant].default_config().t3.hidden_size
    t3 = {"tfmr.h.0.ln_1.bias": mx.zeros((width,)), "text_emb.weight": mx.zeros((50276, width))}
    t3 |= {"speech_emb.weight": mx.zeros((1, 1)), "speech_head.weight": mx.zeros((1, 1))}
    mx.save_safetensors(str(folder / "own.safetensors"), t3)
    assert find_source(folder, t3_file="own.safetensors").name == variant


def test_what_was_looked_for_and_found_is_listed(tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "notes.txt").write_text("hello")
    with pytest.raises(CheckpointError, match=r"upstream.s files, mlx-audio.s.*It has notes\.txt"):
        find_source(folder)
    with pytest.raises(CheckpointError, match=r"turbo it lacks ve\.safetensors.*It has"):
        find_source(folder, "turbo")


def test_a_t3_that_does_not_fit_is_refused(family):
    with pytest.raises(CheckpointError, match=r"vocabulary of 704.*does not fit multilingual"):
        find_source(family, "multilingual", "t3_cfg.safetensors")
    with pytest.raises(CheckpointError, match=r"ve\.safetensors holds no T3"):
        find_source(family, t3_file="ve.safetensors")
    for name in ("nothing.safetensors", "../family/t3_cfg.safetensors", "s3gen.pt"):
        with pytest.raises(CheckpointError, match=r"not a \.safetensors file.*t3_cfg"):
            find_source(family, t3_file=name)


# --- Stored once -------------------------------------------------------------------------------


def bytes_on_disk(folder) -> int:
    """Size of all weights below the folder, each file counted once however many names it has."""
    files = {path.stat().st_ino: path.stat().st_size for path in folder.rglob("*.safetensors")}
    return sum(files.values())


@pytest.fixture
def store(tmp_path):
    return tmp_path / "cache" / "shared"


def converted(source, store, variant: str, **settings):
    return convert(
        source,
        store.parent / variant,
        variant=variant,
        config=small_config(variant),
        verify=verify_folder,
        shared=store,
        **settings,
    )


def test_what_english_and_multilingual_share_is_stored_once(family, store):
    """S3Gen and the voice encoder, though one has them as .safetensors and the other as .pt."""
    store.parent.mkdir()
    english = converted(family, store, "english")
    before = bytes_on_disk(store.parent)
    assert english.shared == 0
    multilingual = converted(family, store, "multilingual")
    parts = {path.name: path for path in required_weight_files(multilingual.folder)}
    assert set(parts) == {
        f"model-{name}.safetensors" for name in ("ve", "t3", "s3gen", "s3_tokenizer")
    }
    for name in ("ve", "s3gen", "s3_tokenizer"):
        assert parts[f"model-{name}.safetensors"].samefile(
            english.folder / f"model-{name}.safetensors"
        )
    added = parts["model-t3.safetensors"].stat().st_size
    assert bytes_on_disk(store.parent) == before + added
    assert multilingual.shared == sum(path.stat().st_size for path in parts.values()) - added


def test_turbo_shares_the_tokenizer_and_the_voice_encoder(family, store, tmp_path):
    store.parent.mkdir()
    english = converted(family, store, "english")
    files = to_upstream(small_weights("english"))
    turbo = to_upstream(small_weights("turbo"), variant="turbo")
    turbo["ve.safetensors"] = files["ve.safetensors"]
    for key, value in files["s3gen.safetensors"].items():
        if key.startswith("tokenizer."):
            turbo["s3gen_meanflow.safetensors"][key] = value
    result = converted(save(tmp_path / "turbo", turbo, "gpt2"), store, "turbo")
    same = {
        path.name
        for path in required_weight_files(result.folder)
        if path.samefile(english.folder / path.name)
    }
    assert same == {"model-ve.safetensors", "model-s3_tokenizer.safetensors"}


def test_other_types_are_other_files(family, store):
    store.parent.mkdir()
    english = converted(family, store, "english")
    half = converted(family, store, "multilingual", dtype="float16")
    assert half.shared == 0
    assert ModelConfig.load(half.folder).dtype == "float16"
    verify_folder(english.folder)


def test_a_shared_checkpoint_stands_by_itself(family, store):
    store.parent.mkdir()
    folder = converted(family, store, "english").folder
    shutil.rmtree(store)
    verify_folder(folder)
    shutil.rmtree(family)
    weights = read_weights(folder)
    assert mx.array_equal(weights["ve.proj.bias"], small_weights()["ve.proj.bias"])


def test_what_no_checkpoint_has_any_more_is_removed(family, store):
    store.parent.mkdir()
    shutil.rmtree(converted(family, store, "english").folder)
    converted(family, store, "multilingual")
    assert len(left_in(store)) == 4
    converted(family, store, "multilingual", dtype="float16", force=True)
    assert len(left_in(store)) == 4


def test_a_failure_leaves_nothing_in_the_shared_folder(family, store):
    store.parent.mkdir()

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(family, store.parent / "a", config=small_config(), shared=store, verify=stop)
    assert left_in(store.parent) == ["shared"]
    assert left_in(store) == []


def test_without_hard_links_it_works_all_the_same(family, store, monkeypatch):
    def refuse(*_):
        raise OSError("not on this file system")

    monkeypatch.setattr(sharing.os, "link", refuse)
    store.parent.mkdir()
    for variant in ("english", "multilingual"):
        assert converted(family, store, variant).shared == 0
    assert left_in(store) == []


def test_a_shared_file_that_goes_away_costs_only_space(family, store, monkeypatch):
    store.parent.mkdir()
    converted(family, store, "english")
    link = os.link

    def race(old, new):
        if str(new).endswith(".tmp"):
            raise FileNotFoundError(old)
        link(old, new)

    monkeypatch.setattr(sharing.os, "link", race)
    result = converted(family, store, "multilingual")
    assert result.shared == 0
    assert not [name for name in left_in(result.folder) if name.startswith(".")]


def test_a_folder_without_weights_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        required_weight_files(tmp_path)


@pytest.mark.reference
def test_modules_states_as_torch_saves_them_are_read(tmp_path):
    """States have PyTorch's own metadata, half precision, and views of one storage."""
    import torch

    module = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 5), torch.nn.BatchNorm1d(3)).half()
    torch.save(module.state_dict(), tmp_path / "a.pt")
    reader = TorchReader(tmp_path / "a.pt")
    for key, value in module.state_dict().items():
        assert np.array_equal(np.array(reader.read(key)), value.numpy()), key
    whole = torch.arange(10.0)
    torch.save({"a": whole[2:5], "b": whole[::3].to(torch.bfloat16)}, tmp_path / "b.pt")
    reader = TorchReader(tmp_path / "b.pt")
    assert reader.read("a").tolist() == [2.0, 3.0, 4.0]
    assert reader.read("b").dtype == mx.bfloat16
    assert reader.read("b").tolist() == [0.0, 3.0, 6.0, 9.0]
