"""Names of models, and folders of the same name: names win with a warning, paths are paths."""

import os
import shutil
import warnings
from pathlib import Path

import pytest

from mlx_chatterbox.api.s3gen_model import S3GenModel
from mlx_chatterbox.api.vc import ChatterboxVC
from mlx_chatterbox.commands.cli import choose_model
from mlx_chatterbox.convert.__main__ import main as convert
from mlx_chatterbox.errors import CheckpointError, HubError
from mlx_chatterbox.generate import main as generate
from mlx_chatterbox.train import base_model
from mlx_chatterbox.train.config import TrainConfig
from mlx_chatterbox.train.sections import ModelSection
from mlx_chatterbox.weights import hub
from mlx_chatterbox.weights.checkpoint import load
from mlx_chatterbox.weights.conversion.core import convert as convert_folder
from mlx_chatterbox.weights.hub import POCKET_FOLDER, local_folder, resolve, variant_called

KNOWN = ["pocket", "turbo", "nano", "chatterbox", "english", "multilingual", "multilingual-v2"]


@pytest.fixture
def at(tmp_path, monkeypatch, small_checkpoint):
    """A working directory with folders named like models, a checkpoint in one of each kind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "download", fetched)
    for name in ("pocket", "auto"):
        os.mkdir(name)
    shutil.copytree(small_checkpoint, "turbo")
    shutil.copytree(small_checkpoint, "mine")
    shutil.copytree(small_checkpoint, "owner/whole")
    os.makedirs("owner/empty")
    os.mkdir("nothing")
    return tmp_path


def fetched(repository, files, cache_dir=None, required=()):
    raise HubError(f"asked for {repository}")


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_name_wins_over_a_folder_with_a_warning(name, at, small_checkpoint, monkeypatch):
    if not Path(name).exists():
        shutil.copytree(small_checkpoint, name)
    monkeypatch.setattr(hub, "download", lambda repository, *_: repository)
    with pytest.warns(UserWarning, match=rf"folder {name} .* not used.*\./{name}"):
        found = resolve(name)
    assert found == POCKET_FOLDER if name == "pocket" else found.startswith("ResembleAI/")


@pytest.mark.parametrize("form", ["./{}", "{}/", "../{here}/{}", "{at}/{}", "{at}/{}/"])
def test_a_path_is_a_path(form, at):
    name = form.format("turbo", at=at, here=at.name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve(name).resolve() == at / "turbo"
        assert load(name).config.variant == "english"
        assert resolve(Path("turbo")).resolve() == at / "turbo"
    assert variant_called(Path("turbo")) is None


def test_a_path_below_home_is_a_path(at, monkeypatch):
    monkeypatch.setenv("HOME", str(at))
    assert resolve("~/turbo") == at / "turbo"


def test_other_names_are_folders_if_they_hold_a_checkpoint(at):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve("mine") == Path("mine")
        assert resolve("owner/whole") == Path("owner/whole")
        for name in ("upstream", "trained", "picked"):
            os.mkdir(name)
        Path("upstream/t3_cfg.safetensors").touch()
        os.mkdir("trained/final_model")
        os.mkdir("picked/checkpoint-50")
        for name in ("upstream", "trained", "picked"):
            assert local_folder(name) == Path(name)
    with (
        pytest.warns(UserWarning, match=r"folder owner/empty .*not used .*holds no model"),
        pytest.raises(HubError, match="asked for owner/empty"),
    ):
        resolve("owner/empty")


def test_without_a_folder_of_that_name_there_is_no_warning(at):
    shutil.rmtree("pocket")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve("pocket") == POCKET_FOLDER


@pytest.mark.parametrize("open_", [ChatterboxVC.from_pretrained, S3GenModel.from_pretrained])
def test_the_same_for_conversion_and_s3gen(open_, at):
    with pytest.warns(UserWarning, match="folder pocket .* not used"):
        assert open_("pocket") is not None
    with pytest.raises(CheckpointError):
        open_("./pocket")
    assert open_("./turbo") is not None
    assert open_("mine") is not None


def test_a_file_named_like_a_model_is_not_a_model(at):
    Path("nano").write_bytes(b"no weights")
    for open_ in (S3GenModel.from_pretrained, ChatterboxVC.from_pretrained):
        with pytest.raises(HubError):
            open_("nano")


def test_the_same_for_training(at):
    def found(**model):
        config = TrainConfig()
        config.model = ModelSection(**model)
        return base_model.find(config), base_model.published(config.model)

    with pytest.warns(UserWarning, match="folder pocket .* not used"):
        assert found(base_model="pocket")[0] == POCKET_FOLDER
    with pytest.warns(UserWarning, match="folder turbo .* not used"):
        assert found(base_model="turbo")[1].name == "turbo"
    assert found(base_model="./turbo") == (Path("turbo"), None)
    assert found(base_model="english", local_model_dir="turbo") == (Path("turbo"), None)
    assert found(base_model="mine") == (Path("mine"), None)


def test_the_same_for_the_source_of_a_conversion(at, capsys):
    assert convert(["pocket", "out"]) == 0
    err = capsys.readouterr().err
    assert err.startswith("note: the folder pocket here is not used")
    assert err.count("\n") == 1
    assert "pocket" in Path("out/config.json").read_text() or Path("out").is_dir()
    assert convert(["--check", "./turbo"]) == 0
    assert convert(["./turbo", "again"]) == 0
    assert convert(["mine", "once-more"]) == 0
    capsys.readouterr()
    assert convert(["./pocket", "never"]) == 1
    assert len(capsys.readouterr().err) < 500
    assert convert(["owner/empty", "never"]) == 1
    err = capsys.readouterr().err
    assert "note: the folder owner/empty here is not used" in err
    assert "asked for owner/empty" in err
    assert convert(["mine", "nano"]) == 0
    assert "./nano" in capsys.readouterr().out, "the name of the converted model"


def test_the_command_line_warns_in_one_line(at, capsys):
    words = ["--text", "Hello.", "--max-new-tokens", "5", "--cfm-steps", "1", "--no-guard"]
    assert generate(["--model", "pocket", *words]) == 0
    err = capsys.readouterr().err
    assert "the folder pocket here is not used" in err
    assert err.count("not used") == 1
    with pytest.warns(UserWarning, match="folder auto .* not used"):
        choose_model("auto")


@pytest.mark.parametrize("name", ["./pocket", "nothing", "./nothing", "missing", "a/b/c"])
def test_errors_are_short(name, at, capsys):
    Path("nothing/notes.txt").write_text("hello")
    for number in range(100):
        Path(f"nothing/file{number}.bin").touch()
    assert generate(["--model", name, "--text", "Hello."]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert len(err) < 500, err
    assert name.removeprefix("./").split("/")[0] in err


def test_a_folder_that_lacks_one_file_is_an_error_that_names_it(at, small_upstream):
    shutil.copytree(small_upstream, "almost")
    os.remove("almost/tokenizer.json")
    with pytest.raises(CheckpointError, match=r"english.*lacks tokenizer\.json") as caught:
        convert_folder("almost", "out")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nope", "there is no folder ./nope"),
        ("../x/y", "there is no folder ../x/y"),
        ("nope/", "there is no folder nope/"),
        ("./a.txt", "./a.txt is a file: name the folder that it lies in"),
        ("a.txt", "a.txt is a file"),
        ("./empty", "the folder empty holds no model"),
        ("-x/y", "is neither a folder, a known model"),
    ],
)
def test_paths_that_are_not_models(name, message, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    assert generate([f"--model={name}", "--text", "Hi.", "--show-text"]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
