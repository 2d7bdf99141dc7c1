"""Folders of users: split weights, Git LFS pointers, incomplete ones, other content."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.api.tts import ChatterboxTTS
from mlx_chatterbox.convert import __main__ as cli
from mlx_chatterbox.convert.model_card import model_card
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.train.export import export
from mlx_chatterbox.weights.checkpoint import load, load_converted, read_weights
from mlx_chatterbox.weights.conversion.components import COMPONENTS
from mlx_chatterbox.weights.conversion.core import convert
from mlx_chatterbox.weights.conversion.recipes import RECIPES, uniform
from mlx_chatterbox.weights.hub import is_converted
from mlx_chatterbox.weights.manifest import check_manifest
from tests.convert.test_command import make_small
from tests.runtime.prepared import in_time
from tests.small import small_config
from tests.weights import mlx_audio_layout

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 1064877612\n"


def split(path: Path, count: int = 3, index: bool = True) -> list[Path]:
    """Put a file's tensors into shards by turns, unlike any split by size, and remove it."""
    tensors = mx.load(str(path))
    names = [f"{path.stem}-{i + 1:05}-of-{count:05}.safetensors" for i in range(count)]
    where = {key: names[i % count] for i, key in enumerate(sorted(tensors))}
    for name in names:
        part = {key: tensors[key] for key in tensors if where[key] == name}
        mx.save_safetensors(str(path.with_name(name)), part)
    if index:
        document = {"metadata": {"total_size": path.stat().st_size}, "weight_map": where}
        path.with_name(f"{path.name}.index.json").write_text(json.dumps(document))
    path.unlink()
    return [path.with_name(name) for name in names]


def copy_of(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


@pytest.fixture
def weights(small_checkpoint):
    return dict(mx.load(str(small_checkpoint / "model.safetensors")))


@pytest.fixture
def community(tmp_path, weights):
    return mlx_audio_layout.write(tmp_path / "c" / "model", weights)


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the program at small sizes: exit code, output and errors."""
    make_small(monkeypatch, "english")

    def command(*words) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        return code, *capsys.readouterr()

    return command


def refusal(folder: Path, output: Path, **settings) -> str:
    with pytest.raises(CheckpointError) as refused:
        convert(folder, output, **{"config": small_config(), **settings})
    assert "\n" not in str(refused.value)
    assert not output.exists()
    return str(refused.value)


# --- Shards --------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [True, False])
def test_upstreams_files_may_be_split(small_upstream, small_checkpoint, tmp_path, index):
    folder = copy_of(small_upstream, tmp_path / "upstream")
    for name in ("t3_cfg.safetensors", "s3gen.safetensors"):
        split(folder / name, index=index)
    made = convert(folder, tmp_path / "ours", config=small_config()).folder
    content = (made / "model.safetensors").read_bytes()
    assert content == (small_checkpoint / "model.safetensors").read_bytes()
    files = ModelConfig.load(made).source["files"]
    assert {"t3_cfg-00001-of-00003.safetensors", "s3gen-00003-of-00003.safetensors"} <= set(files)


@pytest.mark.parametrize("bits", [None, 4])
def test_mlx_audios_may_be_split_with_codes_apart_from_scales(tmp_path, weights, bits):
    folder = mlx_audio_layout.write(tmp_path / "c" / "model", weights, bits=bits)
    whole = convert(folder, tmp_path / "whole", config=small_config()).folder
    split(folder / "model.safetensors")
    split(tmp_path / "c" / "S3TokenizerV2" / "model.safetensors", 2)
    made = convert(folder, tmp_path / "made", config=small_config())
    assert made.layout == "mlx-audio"
    one, two = (folder / "model.safetensors" for folder in (whole, made.folder))
    assert one.read_bytes() == two.read_bytes()


def test_ours_may_be_split_and_loads_as_it_is(small_upstream, tmp_path):
    recipe = uniform(4)
    settings = {"dtype": "float16", "quantization": recipe.quantization, "config": small_config()}
    folder = convert(small_upstream, tmp_path / "ours", **settings).folder
    before = read_weights(folder)
    mx.eval(before)
    shards = split(folder / "model.safetensors")
    assert is_converted(folder)
    after = read_weights(folder)
    assert before.keys() == after.keys()
    assert all(mx.array_equal(value, after[key]) for key, value in before.items())
    load_converted(folder)
    again = convert(folder, tmp_path / "again").folder
    stored = mx.load(str(again / "model.safetensors"))
    assert all(mx.array_equal(value, stored[key]) for key, value in before.items())
    shards[1].unlink()
    for act in (load_converted, lambda folder: convert(folder, tmp_path / "third")):
        with pytest.raises(CheckpointError, match=r"lacks 1 of the 3 files .*model-00002-of-00003"):
            act(folder)


@pytest.mark.parametrize("layout", ["upstream", "mlx-audio"])
@pytest.mark.parametrize("index", [True, False])
def test_missing_shards_are_named(small_upstream, community, tmp_path, layout, index):
    folder = copy_of(small_upstream, tmp_path / "u") if layout == "upstream" else community
    name = "t3_cfg.safetensors" if layout == "upstream" else "model.safetensors"
    _, *gone = split(folder / name, 4, index)
    for path in gone[:2]:
        path.unlink()
    said = refusal(folder, tmp_path / "out")
    assert "lacks 2 of the 4 files" in said
    assert f"{gone[0].name}, {gone[1].name}" in said
    assert "hf download" in said


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/model.safetensors", "a/../../m.safetensors",
             "..\\m.safetensors", "C:\\m.safetensors"]
)  # fmt: skip
def test_an_index_that_names_files_elsewhere_is_refused(small_upstream, tmp_path, name):
    folder = copy_of(small_upstream, tmp_path / "upstream")
    split(folder / "t3_cfg.safetensors")
    index = folder / "t3_cfg.safetensors.index.json"
    document = json.loads(index.read_text())
    document["weight_map"]["text_emb.weight"] = name
    index.write_text(json.dumps(document))
    assert f"names a file outside its folder, {name}" in refusal(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "index.json cannot be read"),
        ("[]", "index.json cannot be read: it is no JSON object"),
        ('{"weight_map": {}}', "it names no files"),
        ('{"weight_map": {"a": 1}}', "it names no files"),
        ('{"weight_map": {"a": "pytorch_model-1.bin"}}', "is no .safetensors file"),
        (POINTER, "index.json is a Git LFS pointer"),
    ],
)
def test_an_index_that_cannot_be_used_is_refused(small_upstream, tmp_path, content, said):
    folder = copy_of(small_upstream, tmp_path / "upstream")
    split(folder / "t3_cfg.safetensors")
    (folder / "t3_cfg.safetensors.index.json").write_text(content)
    assert said in refusal(folder, tmp_path / "out")


def test_an_index_of_other_shards_and_a_tensor_in_two_are_refused(small_upstream, tmp_path):
    folder = copy_of(small_upstream, tmp_path / "upstream")
    first, second, _ = split(folder / "t3_cfg.safetensors")
    index = folder / "t3_cfg.safetensors.index.json"
    document = json.loads(index.read_text())
    key = next(k for k, name in document["weight_map"].items() if name == first.name)
    document["weight_map"][key] = second.name
    index.write_text(json.dumps(document))
    said = refusal(folder, tmp_path / "out")
    assert f"1 tensors are not in the file that it names ({key})" in said
    twice = dict(mx.load(str(second))) | {key: mx.load(str(first))[key]}
    mx.eval(twice)
    mx.save_safetensors(str(second), twice)
    assert f"{key} is in two files" in refusal(folder, tmp_path / "out")


def test_a_complete_file_is_read_despite_an_index(small_upstream, tmp_path):
    """mlx-audio writes an index beside a single file too."""
    folder = copy_of(small_upstream, tmp_path / "upstream")
    index = {"weight_map": {"text_emb.weight": "t3_cfg.safetensors"}}
    (folder / "t3_cfg.safetensors.index.json").write_text(json.dumps(index))
    assert check_manifest(convert(folder, tmp_path / "ours", config=small_config()).folder)


# --- Git LFS -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("upstream", "t3_cfg.safetensors"),
        ("upstream", "s3gen.pt"),
        ("upstream", "tokenizer.json"),
        ("upstream", "conds.pt"),
        ("mlx-audio", "model.safetensors"),
        ("mlx-audio", "config.json"),
        ("mlx-audio", "tokenizer.json"),
        ("ours", "model.safetensors"),
        ("ours", "config.json"),
        ("ours", "tokenizer.json"),
    ],
)
def test_a_pointer_is_called_one(
    small_upstream, small_checkpoint, community, tmp_path, layout, name
):
    made = {"upstream": small_upstream, "ours": small_checkpoint, "mlx-audio": community}
    folder = copy_of(made[layout], tmp_path / "given")
    if (tmp_path / "c").exists():
        copy_of(tmp_path / "c" / "S3TokenizerV2", tmp_path / "S3TokenizerV2")
    if name.endswith(".pt"):
        (folder / name).with_suffix(".safetensors").unlink(missing_ok=True)
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(POINTER.format("0" * 64))
    said = refusal(folder, tmp_path / "out")
    assert f"{folder / name} is a Git LFS pointer" in said
    assert "of 1064.9 MB itself" in said
    assert f"`git lfs pull` in {folder}" in said
    if layout == "ours":
        with pytest.raises(CheckpointError, match="is a Git LFS pointer"):
            load(folder)


def test_other_pointers_are_named_with_it_and_unread_ones_do_no_harm(small_upstream, tmp_path):
    folder = copy_of(small_upstream, tmp_path / "upstream")
    (folder / "t3_23lang.safetensors").write_text(POINTER.format("0" * 64))
    assert convert(folder, tmp_path / "ours", config=small_config()).folder
    (folder / "ve.safetensors").write_text(POINTER.format("1" * 64))
    assert "(so are t3_23lang.safetensors)" in refusal(folder, tmp_path / "out")


def test_a_folder_of_pointers_to_an_unknown_model(tmp_path):
    folder = tmp_path / "clone"
    folder.mkdir()
    (folder / "weights.safetensors").write_text(POINTER.format("0" * 64))
    assert "is a Git LFS pointer" in refusal(folder, tmp_path / "out")


# --- What a folder looks like --------------------------------------------------------------------


def test_weights_without_a_configuration_are_recognised_by_their_names(
    small_checkpoint, community, tmp_path
):
    ours = copy_of(small_checkpoint, tmp_path / "ours")
    for folder, kind in ((ours, "this library's"), (community, "mlx-audio's")):
        (folder / "config.json").unlink()
        said = refusal(folder, tmp_path / "out")
        assert f"{folder} has no config.json" in said
        assert f"looks like {'a checkpoint of ' if folder == ours else ''}{kind}" in said
        with pytest.raises(CheckpointError, match=r"has no config\.json"):
            load(folder)
    said = refusal(community.parent / "S3TokenizerV2", tmp_path / "out")
    assert "mlx-audio's speech tokenizer alone" in said


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["state.json", "config.yaml", "weights.safetensors"], "a checkpoint of a training run"),
        (["checkpoint-2/state.json"], "a training run without a final_model"),
        (
            ["blobs/x", "snapshots/abc/config.json"],
            "the hub's cache of a repository: name me/v",
        ),
        (["adapter_config.json"], "adapters (LoRA) without the model"),
        (["model.gguf"], "a model in GGUF files"),
        (["pytorch_model.bin", "config.json"], "a model in PyTorch's .bin files"),
        (["inner/config.json"], "A model may be in "),
        (["1.wav", "list.csv"], "a folder of recordings"),
        ([], "It has nothing."),
    ],
)
def test_other_folders_are_recognised_by_their_content(tmp_path, files, said):
    folder = tmp_path / "models--me--voice"
    folder.mkdir()
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    assert said in refusal(folder, tmp_path / "out")


def test_a_t3_alone_is_recognised(small_upstream, tmp_path):
    folder = tmp_path / "tuned"
    folder.mkdir()
    shutil.copyfile(small_upstream / "t3_cfg.safetensors", folder / "t3_mine.safetensors")
    assert "a fine-tuned T3 alone (t3_mine.safetensors)" in refusal(folder, tmp_path / "out")


# --- --force and its messages --------------------------------------------------------------------


def test_force_helps_where_it_is_named_and_is_not_named_elsewhere(run, small_upstream, tmp_path):
    output = tmp_path / "ours"
    assert run(small_upstream, output)[0] == 0
    code, _, said = run(small_upstream, output)
    assert (code, "--force replaces it" in said) == (1, True)
    (output / "notes.txt").write_text("mine")
    code, said, _ = run(small_upstream, output, "--force")
    assert code == 0
    assert "note: removed with the old ours: notes.txt." in said
    # Somebody's documents, with a config.json of another program's; another model; a file.
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "config.json").write_text('{"editor": "vi"}')
    (documents / "thesis.txt").write_text("years of work")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "llama"}')
    (other / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "file").write_text("x")
    for place in (documents, other, tmp_path / "file"):
        for force in ([], ["--force"]):
            code, _, said = run(small_upstream, place, *force)
            assert code == 1
            assert "--force replaces" not in said
            assert "choose another" in said
    assert (documents / "thesis.txt").exists()
    assert (other / "model.safetensors").read_bytes() == b"weights"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "--force replaces it" in run(small_upstream, empty)[2]
    assert run(small_upstream, empty, "--force")[0] == 0
    # A checkpoint from which files were removed.
    (empty / "model.safetensors").unlink()
    assert run(small_upstream, empty, "--force")[0] == 0


@pytest.mark.parametrize("kind", ["pipe", "nested", "list", "odd names"])
def test_a_manifest_that_somebody_prepared_neither_hangs_nor_lets_a_folder_be_replaced(
    run, small_upstream, tmp_path, kind
):
    place = tmp_path / "place"
    place.mkdir()
    (place / "letter.txt").write_text("kept")
    manifest = place / "manifest.json"
    if kind == "pipe":
        os.mkfifo(manifest)
    else:
        texts = {"nested": "[" * 100_000, "list": "[1]", "odd names": '{"files": [[1]]}'}
        manifest.write_text(texts[kind])
    code, _, said = in_time(lambda: run(small_upstream, place, "--force"))
    assert code == 1
    assert "bug" not in said
    assert "nested too deeply" not in said
    assert (place / "letter.txt").read_text() == "kept"


def test_the_summary_names_the_precision_of_each_network(run, small_upstream, tmp_path):
    _, said, _ = run(small_upstream, tmp_path / "a", "--recipe", "balanced")
    lines = {line.strip().partition(":")[0]: line for line in said.splitlines()}
    of_chattts = {"GPT", "decoder", "DVAE", "Vocos"}
    assert lines.keys() >= COMPONENTS.keys() - of_chattts
    assert " MB in 6 bits" in lines["T3"]
    assert lines["speech tokenizer"].count("float16") == 1
    assert " bits" not in lines["speech tokenizer"]
    for name in ("voice encoder", "speaker encoder"):
        assert lines[name].endswith("MB in float32")
    _, said, _ = run(small_upstream, tmp_path / "b", "--quantize", "4", "--dtype", "float32")
    lines = {line.strip().partition(":")[0]: line for line in said.splitlines()}
    assert " MB in 4 bits" in lines["S3Gen's flow"]
    assert lines["speech tokenizer"].endswith("MB in float32")
    _, said, _ = run(small_upstream, tmp_path / "c")
    assert " bits" not in said


def test_components_add_up_to_the_model_and_the_card_names_what_was_kept(small_upstream, tmp_path):
    recipe = RECIPES["small"]
    made = convert(
        small_upstream,
        tmp_path / "ours",
        dtype=recipe.dtype,
        quantization=recipe.quantization,
        config=small_config(),
    )
    assert sum(sum(kinds.values()) for kinds in made.components.values()) == made.size
    stored = mx.load(str(made.folder / "model.safetensors"))
    own = sum(v.nbytes for k, v in stored.items() if k.startswith("s3_tokenizer."))
    assert sum(made.components["speech tokenizer"].values()) == own
    card = model_card(made.folder, "me/voice", None)
    for name, kinds in made.components.items():
        for kind, size in kinds.items():
            assert f"{size / 1e6:.1f} MB in {kind}" in card, name
    linear = [
        value
        for key, value in stored.items()
        if key.startswith("s3_tokenizer.enc") and value.ndim == 2 and value.shape[1] % 32 == 0
    ]
    groups = {value.shape[1]: 64 if value.shape[1] % 64 == 0 else 32 for value in linear}
    more = sum(v.size * (2 - 1 - 4 / groups[v.shape[1]]) for v in linear)
    assert more > 0
    assert f"the speech tokenizer takes {more / 1e6:.1f} MB more than in 8 bits" in card
    plain = convert(small_upstream, tmp_path / "plain", config=small_config()).folder
    assert "MB more than in" not in model_card(plain, "me/voice", None)


# --- The trainer's export ------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:upstream's package builds")
def test_pocket_in_upstreams_files_comes_back_as_it_was(tmp_path):
    """Pocket has other sizes than upstream's code, and a lexicon and settings of its own."""
    folder = export(load("pocket"), tmp_path / "upstream", upstream=True)
    assert not is_converted(folder)
    made = convert(folder, tmp_path / "ours")
    assert made.layout == "upstream"
    assert made.voice
    say = {"seed": 3, "watermark": False}
    wanted = ChatterboxTTS.from_pretrained("pocket").generate("Hello there, Ada.", **say)
    found = ChatterboxTTS.from_local(made.folder).generate("Hello there, Ada.", **say)
    np.testing.assert_array_equal(found, wanted)
    assert (
        ModelConfig.load(made.folder).generation
        == ModelConfig.load(load("pocket").folder).generation
    )
