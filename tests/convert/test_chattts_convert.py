"""The converter's command line, verification and card with ChatTTS."""

from __future__ import annotations

import re
import shutil

import mlx.core as mx
import pytest
import yaml

from mlx_chatterbox.convert import __main__ as cli
from mlx_chatterbox.convert import damage, options, reading
from mlx_chatterbox.convert.chattts_verification import verify_chattts
from mlx_chatterbox.convert.measures import TEXTS
from mlx_chatterbox.convert.model_card import model_card
from mlx_chatterbox.convert.verification import FILE_NAME, Verification
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.parity.__main__ import main as parity
from mlx_chatterbox.weights.chattts import load_chattts
from mlx_chatterbox.weights.conversion.core import convert
from mlx_chatterbox.weights.conversion.recipes import CHATTTS_RECIPES, uniform
from mlx_chatterbox.weights.manifest import write_checkpoint_manifest
from tests.weights.chattts_folders import change, write_upstream

FEW = {"texts": TEXTS[3:5], "positions": 8, "spoken": 60}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    return write_upstream(tmp_path_factory.mktemp("chattts") / "upstream")


@pytest.fixture(scope="module")
def exact(tmp_path_factory, upstream):
    return convert(upstream, tmp_path_factory.mktemp("exact") / "model").folder


@pytest.fixture
def brief(monkeypatch):
    """Verification of a few words, by the command line too."""
    monkeypatch.setattr(
        "mlx_chatterbox.convert.families.verify_folders",
        lambda reference, converted, *_: verify_chattts(reference, converted, **FEW),
    )


def run(*arguments) -> int:
    return cli.main([str(one) for one in arguments])


@pytest.mark.parametrize(
    ("choice", "kinds"),
    [
        ((), "GPT: * in float32"),
        (("--dtype", "bfloat16"), "GPT: * in bfloat16"),
        (("--recipe", "balanced"), "GPT: * in 8 bits, * in 6 bits, * in float16"),
        (("--recipe", "small"), "GPT: * in 8 bits, * in 4 bits, * in float16"),
        (("--quantize", "4", "--group-size", "32"), "GPT: * in 4 bits, * in float16"),
        (("--quantize", "8", "--dtype", "bfloat16"), "GPT: * in 8 bits, * in bfloat16"),
    ],
)
def test_the_options_of_precision_and_what_is_printed(tmp_path, upstream, capsys, choice, kinds):
    output = tmp_path / "model"
    assert run(upstream, output, *choice) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r".*model: chattts, \d+ tensors in \w+, [\d.]+ MB, with statistics of speakers; from "
        "upstream's files",
        lines[0],
    )
    assert [re.sub(r"[\d.]+ MB", "*", line.strip()) for line in lines if "GPT:" in line] == [kinds]
    assert any("dropped asset/Vocos.safetensors: head.istft.window" in line for line in lines)
    assert run("--check", output) == 0
    assert "files match the manifest, and the model loads" in capsys.readouterr().out
    assert load_chattts(output).networks.gpt.emb_text.weight.shape[0] == 21178


def test_damage_is_found_by_a_check(tmp_path, exact, capsys):
    folder = shutil.copytree(exact, tmp_path / "model")
    change(folder, "model.safetensors", lambda tensors: tensors.pop("vocos.head.out.bias"))
    write_checkpoint_manifest(folder)
    assert run("--check", folder) == 1
    assert "1 missing (vocos.head.out.bias)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", [("--t3", "x.safetensors"), ("--s3gen", "x"), ("--word-errors",)]
)
def test_options_of_chatterbox_are_refused(tmp_path, upstream, capsys, option):
    extra = ("--verify",) if option == ("--word-errors",) else ()
    assert run(upstream, tmp_path / "out", *option, *extra) == 1
    assert f"{option[0]} is for Chatterbox" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_variant_that_it_is_not(tmp_path, upstream, small_upstream, capsys):
    assert run(upstream, tmp_path / "out", "--variant", "turbo") == 1
    assert "holds chattts, not turbo" in capsys.readouterr().err
    assert run(small_upstream, tmp_path / "out", "--variant", "chattts") == 1
    assert "is no whole ChatTTS: it lacks asset/" in capsys.readouterr().err
    assert run(upstream, tmp_path / "out", "--variant", "chattts") == 0


def test_tools_that_measure_chatterbox_say_so(upstream, exact, capsys):
    for tool in (damage, reading):
        for name in (upstream, exact, "chattts"):
            assert tool.main([str(name)]) == 1
            assert "is ChatTTS, and this takes Chatterbox alone" in capsys.readouterr().err


# --- Verification --------------------------------------------------------------------------------


def test_the_same_model_is_verified_and_exact(exact):
    result = verify_chattts(exact, exact, **FEW)
    assert result.holds
    assert result.positions == 60
    assert result.spoken == 60
    assert all(row.value == 0 for row in result.rows)


@pytest.mark.parametrize("name", ["float16", "8bit", "balanced"])
def test_precisions_are_within_their_bounds(tmp_path, upstream, exact, name):
    recipe = {**CHATTTS_RECIPES, "8bit": uniform(8, 32, family="chattts")}.get(name)
    settings = {"dtype": name} if recipe is None else {
        "dtype": recipe.dtype, "quantization": recipe.quantization
    }  # fmt: skip
    folder = convert(upstream, tmp_path / "model", **settings).folder
    result = verify_chattts(exact, folder, **FEW)
    assert result.precision == name
    assert result.holds, result.failures
    assert any(row.value > 0 for row in result.rows)


@pytest.mark.parametrize(
    ("key", "row"),
    [
        ("gpt.model.layers.1.mlp.up_proj.weight", "next code"),
        ("gpt.head_text.weight", "next text token"),
        ("gpt.head_code.2.weight", "next code"),
        ("decoder.coef", "decoder/mel"),
        ("dvae.quantizer.groups.1.project_out.weight", "dvae/mel"),
        ("dvae.encoder.conv_out.weight", "dvae/encoded_ids"),
        ("vocos.head.out.weight", "vocos/waveform"),
    ],
)
def test_damage_to_any_network_is_out_of_bounds(tmp_path, exact, key, row):
    folder = shutil.copytree(exact, tmp_path / "model")

    def edit(tensors):
        tensors[key] = mx.concatenate([tensors[key][..., 1:], tensors[key][..., :1]], axis=-1)

    change(folder, "model.safetensors", edit)
    result = verify_chattts(exact, folder, **FEW)
    assert not result.holds
    assert row in {failure.name for failure in result.failures}


def test_a_reference_that_is_rounded_is_none(tmp_path, upstream, exact):
    half = convert(upstream, tmp_path / "half", dtype="float16").folder
    with pytest.raises(CheckpointError, match="is not float32"):
        verify_chattts(half, exact, **FEW)


# --- Publishing ----------------------------------------------------------------------------------


def test_the_card_has_the_licence_of_the_weights(tmp_path, upstream, capsys, brief):
    output = tmp_path / "model"
    arguments = (upstream, output, "--recipe", "balanced", "--upload-repo", "me/chattts-6bit")
    assert run(*arguments, "--dry-run") == 0
    card = (output / "README.md").read_text(encoding="utf-8")
    top = yaml.safe_load(card.split("---")[1])
    assert top["license"] == "cc-by-nc-4.0"
    assert top["base_model"] == "2Noise/ChatTTS"
    assert top["base_model_relation"] == "quantized"
    assert top["language"] == ["en", "zh"]
    assert {"mlx", "chattts", "text-to-speech", "6-bit", "8-bit"} <= set(top["tags"])
    assert not {"chatterbox", "voice-cloning"} & set(top["tags"])
    assert "mit" not in re.findall(r"\w+", card.lower())
    assert "## License" in card
    assert "CC BY-NC 4.0" in card
    assert "`speakers.safetensors`" in card
    assert "predictions of the GPT along real text and 60 steps of sound" in card
    assert "T3" not in card
    assert "Verified: within the bounds of balanced." in card
    assert Verification.load(output).family == "chattts"
    assert "dry run: nothing was uploaded" in capsys.readouterr().out


def test_another_licence_is_refused_before_any_work(tmp_path, upstream, exact, capsys):
    arguments = (upstream, tmp_path / "out", "--upload-repo", "me/x", "--dry-run")
    assert run(*arguments, "--license", "mit") == 1
    assert "'mit' is not the license of ChatTTS's weights, which is cc-by-nc-4.0" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()
    with pytest.raises(CheckpointError, match=r"cc-by-nc-4\.0"):
        model_card(exact, "me/x", None, license="apache-2.0")
    assert "license: cc-by-nc-4.0" in model_card(exact, "me/x", None, license="cc-by-nc-4.0")


def test_what_was_not_verified_is_not_published(tmp_path, exact, capsys):
    folder = shutil.copytree(exact, tmp_path / "model")
    assert run(folder, "--upload-repo", "me/x", "--dry-run") == 1
    assert "was not verified" in capsys.readouterr().err
    assert run(folder, "--upload-repo", "me/x", "--dry-run", "--force-upload") == 0


def test_a_verification_of_another_family_does_not_count(tmp_path, exact):
    folder = shutil.copytree(exact, tmp_path / "model")
    verify_chattts(exact, folder, **FEW).save(folder)
    path = folder / FILE_NAME
    path.write_text(path.read_text().replace('"family": "chattts"', '"family": "chatterbox"'))
    with pytest.raises(CheckpointError, match="another kind of model"):
        Verification.load(folder)


def test_help_names_chattts():
    text = options.parser().format_help()
    assert "ChatTTS" in text
    assert "chattts" in text


# --- Fabricated folders ---------------------------------------------------------------------------


def test_parity_fabricates_a_whole_folder(tmp_path, capsys, monkeypatch):
    from mlx_chatterbox.parity.commands import makers
    from tests.weights.chattts_folders import small_published

    # Its own small size has the published width, for the sake of speakers.
    monkeypatch.setattr(makers, "small_chattts_config", small_published)
    made = tmp_path / "made"
    assert parity(["fabricate", str(made), "--variant", "chattts", "--small", "--seed", "3"]) == 0
    model = load_chattts(made)
    assert model.statistics is not None
    again = tmp_path / "again"
    assert parity(["fabricate", str(again), "--variant", "chattts", "--small", "--seed", "3"]) == 0
    for path in made.rglob("*"):
        if path.is_file():
            assert (again / path.relative_to(made)).read_bytes() == path.read_bytes()
    wrong = ["fabricate", str(made), "--variant", "chattts", "--filter-buffers"]
    assert parity(wrong) == 1
    assert "--filter-buffers is for Chatterbox" in capsys.readouterr().err
