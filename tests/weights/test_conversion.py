"""Conversion of upstream's folder to ours: the same numbers, whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
import zlib
from collections import OrderedDict
from functools import cache

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.parity.fabricate.tokenizers import tokenizer_files
from mlx_chatterbox.weights import atomic_folder
from mlx_chatterbox.weights.checkpoint import build, verify_folder
from mlx_chatterbox.weights.conversion.core import convert, convert_folder
from mlx_chatterbox.weights.conversion.upstream import to_upstream
from mlx_chatterbox.weights.source_paths import recall
from tests.small import small_config
from tests.weights.test_unpickle import FakeTensor, torch_save

FILES = ("ve.safetensors", "t3_cfg.safetensors", "s3gen.safetensors", "tokenizer.json")
WIDTH = (small_config().voice_encoder.speaker_embed_size,)


@cache
def small_weights(variant: str = "english") -> dict[str, mx.array]:
    """Tensors of ours for the small configuration, none of them trivial."""
    networks = build(small_config(variant))
    shapes = {key: value.shape for key, value in tree_flatten(networks.parameters())}

    def values(key: str, shape) -> mx.array:  # seeded by the key: S3Gen is equal in all variants
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        return mx.array(0.1 + rng.random(shape, dtype=np.float32))

    return {key: values(key, shape) for key, shape in shapes.items()}


@pytest.fixture
def weights() -> dict[str, mx.array]:
    return small_weights()


def save(folder, files: dict[str, dict[str, mx.array]], tokenizer: str = "english"):
    """Write upstream's files into `folder`."""
    folder.mkdir(exist_ok=True)
    for name, tensors in files.items():
        if name.endswith(".pt"):
            values = {key: FakeTensor(np.array(value)) for key, value in tensors.items()}
            torch_save(folder / name, OrderedDict(values))
        else:
            mx.save_safetensors(str(folder / name), tensors)
    for name, text in tokenizer_files(tokenizer).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def source(tmp_path, weights):
    """An upstream folder without a built-in voice."""
    return save(tmp_path / "upstream", to_upstream(weights))


def change(source, file, edit):
    """Rewrite one of upstream's files after `edit` has had its tensors."""
    tensors = dict(mx.load(str(source / file)))
    mx.eval(tensors)
    edit(tensors)
    mx.save_safetensors(str(source / file), tensors)


def left_in(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- The numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize("weight_norm", ["parametrizations", "g_v"])
@pytest.mark.parametrize("filter_buffers", [True, False])
def test_round_trip_gives_the_same_tensors(tmp_path, weights, weight_norm, filter_buffers):
    source = save(tmp_path / "upstream", to_upstream(weights, weight_norm, filter_buffers))
    out = convert_folder(source, tmp_path / "ours", config=small_config(), verify=verify_folder)
    converted = mx.load(str(out / "model.safetensors"))
    assert converted.keys() == weights.keys()
    for key, value in weights.items():
        assert mx.array_equal(converted[key], value), key


def test_weight_norm_is_folded_as_pytorch_folds_it(tmp_path, weights):
    """w = g v / |v|, the norm over all axes but the first of PyTorch's layout."""
    files = to_upstream(weights)
    module = "mel2wav.ups.1.parametrizations.weight"
    g = files["s3gen.safetensors"][f"{module}.original0"] * 3.0
    v = files["s3gen.safetensors"][f"{module}.original1"]
    files["s3gen.safetensors"][f"{module}.original0"] = g
    out = convert_folder(
        save(tmp_path / "upstream", files), tmp_path / "ours", config=small_config()
    )
    g, v = np.array(g, dtype=np.float64), np.array(v, dtype=np.float64)  # v: (I, O, K)
    folded = g * v / np.sqrt((v**2).sum(axis=(1, 2), keepdims=True))
    converted = mx.load(str(out / "model.safetensors"))["s3gen.mel2wav.ups.1.weight"]
    np.testing.assert_allclose(np.array(converted), folded.transpose(1, 2, 0), rtol=3e-7)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_other_precisions_round_every_tensor_once(source, tmp_path, weights, dtype):
    result = convert(
        source, tmp_path / "ours", dtype=dtype, config=small_config(), verify=verify_folder
    )
    converted = mx.load(str(result.folder / "model.safetensors"))
    for key, value in weights.items():
        assert converted[key].dtype == getattr(mx, dtype)
        assert mx.array_equal(converted[key], value.astype(getattr(mx, dtype))), key
    assert ModelConfig.load(result.folder).dtype == dtype
    assert result.size == 2 * sum(value.size for value in weights.values())


def test_half_precision_sources_are_folded_in_float32(tmp_path, weights):
    files = to_upstream(weights)
    for tensors in files.values():
        for key, value in tensors.items():
            if value.dtype == mx.float32:
                tensors[key] = value.astype(mx.bfloat16)
    out = convert_folder(
        save(tmp_path / "upstream", files), tmp_path / "ours", config=small_config()
    )
    converted = mx.load(str(out / "model.safetensors"))
    for key, value in weights.items():
        assert converted[key].dtype == mx.float32
        assert mx.allclose(converted[key], value, rtol=2e-2), key


def test_the_configuration_names_the_source_of_the_weights(source, tmp_path):
    out = convert_folder(source, tmp_path / "ours", config=small_config())
    config = ModelConfig.load(out)
    expected = dataclasses.replace(small_config(), source=config.source)
    assert config == expected
    assert config.source["folder"] == source.name
    assert config.source["layout"] == "upstream"
    assert recall(config.source) == source.resolve()
    assert config.source["files"] == {
        name: hashlib.sha256((source / name).read_bytes()).hexdigest() for name in FILES
    }
    expected = ["config.json", "manifest.json", "model.safetensors", "tokenizer.json"]
    assert left_in(out) == expected
    out = convert_folder(source, tmp_path / "named", config=small_config(), repo="owner/name")
    assert ModelConfig.load(out).source["repository"] == "owner/name"


def test_the_revision_of_a_snapshot_in_the_hubs_cache_is_recorded(tmp_path, weights):
    (tmp_path / "snapshots").mkdir()
    for folder, revision in (("snapshots/abc", "abc"), ("elsewhere", None)):
        source = save(tmp_path / folder, to_upstream(weights))
        out = convert_folder(source, f"{source}-ours", config=small_config(), repo="owner/name")
        given = ModelConfig.load(out).source
        assert (given["repository"], given.get("revision")) == ("owner/name", revision)
        assert "folder" not in given
        assert recall(given) != source.resolve()  # the hub has it


def test_every_dropped_key_is_named(source, tmp_path, weights):
    result = convert(source, tmp_path / "ours", config=small_config())
    given = {key for name in FILES[:3] for key in mx.load(str(source / name))}
    dropped = {item.key for item in result.dropped}
    pairs = sum(key.endswith("original0") for key in given)
    assert len(given) == len(weights) + pairs + len(dropped)
    counters = {key for key in given if key.endswith(".num_batches_tracked")}
    assert len(counters) > 10
    assert dropped == counters | {
        "similarity_weight",
        "similarity_bias",
        "tfmr.embed_tokens.weight",
        "tokenizer._mel_filters",
        "tokenizer.window",
    }
    assert all(item.reason for item in result.dropped)


def test_progress_ends_at_the_total(source, tmp_path):
    calls = []
    convert_folder(
        source, tmp_path / "ours", config=small_config(), progress=lambda *call: calls.append(call)
    )
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert calls[-1][0] == calls[-1][1]


def test_the_core_imports_no_network():
    """Loading a model can thus convert upstream's files."""
    code = "import sys, mlx_chatterbox.weights.conversion.core; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.split() if name.startswith("mlx_chatterbox.models.")}
    assert not {name for name in ours if name.count(".") > 2 and not name.endswith(".config")}
    assert "mlx_chatterbox.weights.checkpoint" not in done.stdout.split()
    assert "mlx_lm" not in done.stdout.split()


# --- What is refused ---------------------------------------------------------------------------


def refuses(source, tmp_path, match, **settings):
    """Conversion fails with `match` in its message and leaves nothing behind."""
    settings = {"config": small_config(), "verify": verify_folder, **settings}
    before = left_in(tmp_path)
    with pytest.raises(CheckpointError, match=match) as caught:
        convert_folder(source, tmp_path / "ours", **settings)
    assert "\n" not in str(caught.value)
    assert left_in(tmp_path) == before


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("ve.safetensors", "lstm2.weight"),
        ("t3_cfg.safetensors", "tfmr2.norm.weight"),
        ("s3gen.safetensors", "tokenizer.extra"),
        ("s3gen.safetensors", "mel2wav.ups.9.weight_v"),
        ("s3gen.safetensors", "flow.extra.weight"),
    ],
)
def test_a_key_left_over_is_named(source, tmp_path, file, key):
    change(source, file, lambda tensors: tensors.update({key: mx.zeros((2, 2))}))
    refuses(source, tmp_path, key.replace(".", r"\."))


def test_a_missing_tensor_is_named(source, tmp_path):
    change(source, "ve.safetensors", lambda tensors: tensors.pop("proj.bias"))
    refuses(source, tmp_path, r"missing.*ve\.proj\.bias")


def test_a_wrong_shape_is_named(source, tmp_path):
    change(source, "ve.safetensors", lambda tensors: tensors.update({"proj.bias": mx.zeros((3,))}))
    refuses(source, tmp_path, r"shape.*ve\.proj\.bias")


def test_a_magnitude_that_does_not_fit_is_named(source, tmp_path):
    key = "mel2wav.conv_pre.parametrizations.weight.original0"
    change(source, "s3gen.safetensors", lambda tensors: tensors.update({key: mx.zeros((5, 1, 1))}))
    refuses(source, tmp_path, "original0 has shape")


def test_values_that_a_type_cannot_hold_are_refused(source, tmp_path):
    large = {"proj.bias": mx.full(WIDTH, 1e5)}
    change(source, "ve.safetensors", lambda tensors: tensors.update(large))
    refuses(source, tmp_path, r"proj\.bias.*too large for float16", dtype="float16")


def test_damaged_numbers_are_refused(source, tmp_path):
    damaged = {"proj.bias": mx.full(WIDTH, float("nan"))}
    change(source, "ve.safetensors", lambda tensors: tensors.update(damaged))
    refuses(source, tmp_path, r"proj\.bias.*not finite")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(source, tmp_path, name):
    (source / name).unlink()
    refuses(source, tmp_path, f"lacks {name}.*It has")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file_is_named(source, tmp_path, keep):
    path = source / "s3gen.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    refuses(source, tmp_path, r"s3gen\.safetensors is (truncated|not a )")


@pytest.mark.parametrize(
    "content", [b"", b"not weights at all", (9).to_bytes(8, "little") + b"[1, 2, 3]", b"{" * 5000]
)
def test_a_file_that_is_not_safetensors_is_named(source, tmp_path, content):
    (source / "ve.safetensors").write_bytes(content)
    refuses(source, tmp_path, r"ve\.safetensors")


def test_a_header_that_lies_is_refused(source, tmp_path):
    path = source / "ve.safetensors"
    blob = path.read_bytes()
    length = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + length])
    header["proj.bias"]["shape"] = [999]
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + blob[8 + length :])
    refuses(source, tmp_path, r"proj\.bias has not as many bytes")


def test_a_missing_source_and_an_unknown_type_are_refused(source, tmp_path):
    refuses(tmp_path / "nowhere", tmp_path, "does not exist")
    refuses(source / "tokenizer.json", tmp_path, "is a file")
    refuses(source, tmp_path, "float8", dtype="float8")
    refuses(source, tmp_path, "unknown variant", variant="klingon")


# --- The output folder -------------------------------------------------------------------------


def test_an_existing_output_needs_force(source, tmp_path):
    out = convert_folder(source, tmp_path / "ours", config=small_config())
    (out / "note").write_text("mine")
    with pytest.raises(CheckpointError, match="--force"):
        convert_folder(source, out, config=small_config())
    assert (out / "note").exists()
    convert_folder(source, out, config=small_config(), force=True, dtype="float16")
    assert ModelConfig.load(out).dtype == "float16"
    assert not (out / "note").exists()
    assert left_in(tmp_path) == ["ours", "upstream"]


def test_force_never_deletes_something_else(source, tmp_path):
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "thesis.txt").write_text("years of work")
    for output, match in ((documents, "not a converted"), (source, "SOURCE"), (tmp_path, "SOURCE")):
        with pytest.raises(CheckpointError, match=match):
            convert_folder(source, output, config=small_config(), force=True)
    assert (documents / "thesis.txt").exists()
    assert (source / "ve.safetensors").exists()


def test_a_folder_that_is_not_there_is_named(source, tmp_path):
    with pytest.raises(CheckpointError, match="make it first"):
        convert_folder(source, tmp_path / "no" / "ours", config=small_config())


@pytest.mark.parametrize("moment", ["hashing", "writing", "verifying", "moving"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError, CheckpointError])
@pytest.mark.parametrize("there", [True, False])
def test_whatever_ends_it_nothing_half_written_stays(
    source, tmp_path, monkeypatch, moment, kind, there
):
    """A failure or an interrupt at any moment leaves the old output, or none."""
    out = tmp_path / "ours"
    if there:
        convert_folder(source, out, config=small_config())
        (out / "old").touch()

    def stop(*_):
        raise kind("stopped")

    def stop_half_way(done, total):
        if done > total * 0.8:
            stop()

    settings = {}
    if moment == "verifying":
        settings["verify"] = stop
    elif moment == "moving":
        rename = atomic_folder.os.rename

        def fail_on_the_new_one(old, new):
            if ".tmp-" in str(old):
                stop()
            rename(old, new)

        monkeypatch.setattr(atomic_folder.os, "rename", fail_on_the_new_one)
        # As on a file system that cannot exchange two names; fewer steps can fail then.
        monkeypatch.setattr(atomic_folder, "exchange", lambda *names: False)
    else:
        settings["progress"] = stop if moment == "hashing" else stop_half_way
    expected = KeyboardInterrupt if kind is KeyboardInterrupt else CheckpointError
    with pytest.raises(expected, match="stopped"):
        convert_folder(source, out, config=small_config(), force=True, **settings)
    assert left_in(tmp_path) == (["ours", "upstream"] if there else ["upstream"])
    if there:
        assert (out / "old").exists()
        verify_folder(out)
