"""Publishing: the card, the refusals, and the hub's real client against a stand-in on loopback."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import yaml

from mlx_chatterbox.api.tts import ChatterboxTTS
from mlx_chatterbox.convert import __main__ as cli
from mlx_chatterbox.convert import options, verification
from mlx_chatterbox.convert.measures import TEXTS
from mlx_chatterbox.convert.model_card import base_of, model_card, public
from mlx_chatterbox.convert.publish import publish, published_files
from mlx_chatterbox.convert.verification import (
    FILE_NAME,
    REQUIRED,
    Measurement,
    Verification,
    weight_hashes,
)
from mlx_chatterbox.errors import CheckpointError, HubError
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.parity.inputs.make import Sizes
from mlx_chatterbox.weights.checkpoint import load_converted
from mlx_chatterbox.weights.conversion.core import convert
from mlx_chatterbox.weights.conversion.recipes import RECIPES
from mlx_chatterbox.weights.manifest import MANIFEST_NAME, check_manifest, update_manifest
from tests.convert.test_command import make_small
from tests.weights.hub_stand_in import hub_stand_in

HASH = "0" * 63 + "1"
GOOD = (
    Measurement("next token", "KL, nats", 0.004, 0.02),
    *(Measurement(name, "relative RMS", 0.01, 0.2) for name in REQUIRED if name != "next token"),
)
BAD = tuple(dataclasses.replace(r, value=0.9) if r.name == "waveform" else r for r in GOOD)


@pytest.fixture(scope="module")
def converted(tmp_path_factory, small_upstream, small_config, recording):
    """A verified folder, with a voice."""
    from mlx_chatterbox.voices.voice import embed_voice

    recipe = RECIPES["balanced"]
    output = tmp_path_factory.mktemp("published") / "model"
    settings = {"dtype": recipe.dtype, "quantization": recipe.quantization}
    path = convert(small_upstream, output, config=small_config, **settings).folder
    loaded = load_converted(path)
    voice = embed_voice(loaded.networks, recording, loaded.config.generation)
    voice.save(path / "conds.safetensors")
    update_manifest(path)
    verified(path)
    return path


@pytest.fixture
def folder(tmp_path, converted):
    return shutil.copytree(converted, tmp_path / "model")


def verified(path, rows=GOOD) -> None:
    found = Verification("balanced", rows, 500, 75, {}, {"mlx": "1"})
    dataclasses.replace(found, weights=weight_hashes(path)).save(path)
    update_manifest(path)


@pytest.fixture
def hub():
    with hub_stand_in() as hub:
        yield hub


def command(hub, *arguments, **settings):
    """`python -m convert` in a process of its own."""
    environment = {**os.environ, **hub.environment()}
    line = [sys.executable, "-m", "convert", *map(str, arguments)]
    return subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings
    )


def finished(process) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.fixture
def run(hub, monkeypatch, tmp_path, capsys):
    """Runs the command line here; the client has read its settings when it was imported."""
    import huggingface_hub
    from huggingface_hub import constants

    for name, value in hub.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "nobody" / "token"))
    renewed = getattr(huggingface_hub, "close_session", lambda: None)
    renewed()  # a client made before may know of a proxy

    def call(*arguments) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    yield call
    renewed()


# --- The card ------------------------------------------------------------------------------------


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_card_has_what_the_hub_and_readers_need(folder):
    config = ModelConfig.load(folder)
    config.source = {
        "repository": "ResembleAI/chatterbox",
        "revision": "5" * 40,
        "files": {"t3_cfg.safetensors": HASH},
    }
    config.save(folder)
    card = model_card(folder, "me/voice", Verification.load(folder))
    top = front_matter(card)
    assert top["library_name"] == "mlx"
    assert top["pipeline_tag"] == "text-to-speech"
    assert top["license"] == "mit"
    assert top["base_model"] == "ResembleAI/chatterbox"
    assert top["base_model_relation"] == "quantized"
    assert top["language"] == ["en"]
    assert {"mlx", "chatterbox", "text-to-speech", "6-bit", "8-bit"} <= set(top["tags"])
    assert "--model me/voice --text" in card
    assert 'ChatterboxTTS.from_pretrained("me/voice")' in card
    size = (folder / "model.safetensors").stat().st_size
    assert f"| model.safetensors | {size / 1e6:.1f} |" in card
    assert "| next token | KL, nats | 0.004 | 0.02 | ok |" in card
    assert "within the bounds of balanced" in card
    assert "| `t3.tfmr.*` | 6 bits, groups of 64 |" in card
    assert "5" * 40 in card
    assert f"`t3_cfg.safetensors`: `{HASH}`" in card


def test_a_multilingual_card_names_every_language():
    """Norwegian's code, `no`, means false in YAML."""
    from mlx_chatterbox.convert.model_card import _front_matter, languages_of
    from mlx_chatterbox.weights.variants import VARIANTS

    config = VARIANTS["multilingual"].default_config()
    config.text.languages = ["xx"]
    top = yaml.safe_load(_front_matter(config, base_of(config), "mit").strip("-"))
    assert top["language"] == languages_of(config)
    assert {"no", "de", "zh", "xx"} <= set(top["language"])
    assert len(top["language"]) == 24


def test_no_path_of_this_machine_is_published(folder, small_upstream):
    config = ModelConfig.load(folder)
    config.source["folder"] = str(small_upstream)  # as older versions noted it
    config.save(folder)
    update_manifest(folder)
    made = publish(folder, "me/voice", dry_run=True)
    for name in made.files:
        if name.endswith((".json", ".md")):
            text = (folder / name).read_text()
            assert str(small_upstream.parent) not in text, name
            assert not re.search(r'["\s`(](/|[A-Z]:\\)(tmp|home|Users|work|root)\b', text), name
    assert ModelConfig.load(folder).source["folder"] == small_upstream.name
    assert check_manifest(folder)  # of what is published
    deep = {"a": {"folder": r"C:\Users\me\model"}, "b": ["/home/me/x"], "c": "ResembleAI/x"}
    assert public(deep) == {"a": {"folder": "model"}, "b": ["x"], "c": "ResembleAI/x"}


def test_the_pocket_voice_has_no_base_model():
    assert base_of(ModelConfig(source={"name": "pocket", "steps": {}})) is None
    nested = {"fine_tuned_from": {"repository": "me/other"}}
    assert base_of(ModelConfig(source=nested)) == "me/other"
    assert base_of(ModelConfig(variant="turbo")) == "ResembleAI/chatterbox-turbo"


# --- Refusals ------------------------------------------------------------------------------------


def test_what_is_past_its_bounds_is_published_by_force_alone(folder):
    verified(folder, BAD)
    with pytest.raises(CheckpointError, match=r"out of bounds for balanced: waveform.*--force-up"):
        publish(folder, "me/voice", dry_run=True)
    said = []
    made = publish(folder, "me/voice", dry_run=True, force=True, say=said.append)
    assert "warning" in said[0]
    assert "VERIFICATION FAILS" in made.card


def test_what_was_not_verified_is_published_by_force_alone(folder):
    (folder / FILE_NAME).unlink()
    update_manifest(folder)
    with pytest.raises(CheckpointError, match="not verified"):
        publish(folder, "me/voice", dry_run=True)
    made = publish(folder, "me/voice", dry_run=True, force=True, say=lambda line: None)
    assert "was **not** compared with its source" in made.card


def test_a_flipped_bit_is_never_published(folder):
    """Force does not publish it either, and no file is rewritten to make it look right."""
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CheckpointError, match="changed or damaged"):
        publish(folder, "me/voice", dry_run=True, force=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (folder / MANIFEST_NAME).unlink()  # nor without a manifest
    with pytest.raises(CheckpointError, match="other weights"):
        publish(folder, "me/voice", dry_run=True, force=True)


@pytest.mark.parametrize("rows", [(), GOOD[:1]])
def test_a_verification_without_its_rows_is_refused(folder, rows):
    verified(folder, rows)
    with pytest.raises(CheckpointError, match=r"not measured: .*waveform"):
        publish(folder, "me/voice", dry_run=True)


def test_a_folder_that_a_killed_conversion_moved_aside_is_published(folder):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder.rename(folder.with_name(f".{folder.name}.old-{gone.pid}"))
    assert publish(folder, "me/voice", dry_run=True).files
    assert folder.is_dir()


@pytest.mark.parametrize("installed", [True, False])
def test_the_pocket_model_is_transcribed_before_it_is_published(folder, monkeypatch, installed):
    """A recogniser is used if it is installed; otherwise output and card say that there is none."""
    from mlx_chatterbox.recognition import recogniser as module

    def recogniser():
        if not installed:
            raise module.MissingRecogniser("pip install pocketsphinx")

    monkeypatch.setattr(module, "Recogniser", recogniser)
    line = options.parser().parse_args(["pocket", "out", "--upload-repo", "me/voice"])
    assert not cli._listens(folder, line)
    config = ModelConfig.load(folder)
    config.source = {"converted_from": {"fine_tuned_from": {"name": "pocket"}}}
    config.save(folder)
    update_manifest(folder)
    assert cli._listens(folder, line) == installed
    assert not cli._listens(folder, options.parser().parse_args(["pocket", "out", "--verify"]))
    line.word_errors = False
    assert not cli._listens(folder, line)
    said = []
    card = publish(folder, "me/voice", dry_run=True, say=said.append).card
    assert "word errors were not measured" in said[0]
    assert "Word errors were not measured" in card
    verified(folder, (*GOOD, Measurement("word error rate", "share of words", 0.1, 0.2)))
    said.clear()
    card = publish(folder, "me/voice", dry_run=True, say=said.append).card
    assert "not measured" not in card
    assert not said


@pytest.mark.parametrize("name", ["voice", "me/", "me/a/b", "../me/x", "me/a b", "me/a--b"])
def test_an_invalid_repository_name_is_refused(folder, name):
    with pytest.raises(CheckpointError, match="OWNER/NAME"):
        publish(folder, name, dry_run=True)


def test_hidden_and_temporary_files_stay_here(folder):
    (folder / ".notes").write_text("mine")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x").write_text("mine")
    (folder / "config.json.tmp").write_text("{}")
    (folder / "voices").mkdir()
    (folder / "voices" / "slt.safetensors").write_bytes(b"x")
    assert set(published_files(folder)) == {
        "config.json", "manifest.json", "model.safetensors", "conds.safetensors",
        "tokenizer.json", FILE_NAME, "voices/slt.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a"], "OUTPUT is missing"),
        (["a", "b", "--private"], "--upload-repo"),
        (["a", "b", "--force-upload"], "--upload-repo"),
        (["a", "--upload-repo", "me/voice", "--force"], "--force belongs to OUTPUT"),
        (["a", "b", "--dry-run"], "--upload-repo"),
        (["a", "b", "--group-size", "32"], "--quantize"),
        (["a", "b", "--recipe", "small", "--dtype", "float16"], "--recipe"),
        (["a", "b", "--recipe", "small", "--quantize", "4"], "not allowed with"),
        (["a", "b", "--quantize", "5"], "invalid choice"),
        (["a", "b", "--positions", "0"], "--positions"),
    ],
)
def test_wrong_use_exits_with_2(arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


# --- The hub -------------------------------------------------------------------------------------


def test_a_dry_run_asks_the_hub_nothing(folder, hub, run):
    code, out, err = run(folder, "--upload-repo", "me/voice", "--dry-run")
    assert code == 0, err
    assert hub.requests == []
    assert "library_name: mlx" in out
    assert "nothing was uploaded" in out
    assert "model.safetensors" in out


def test_a_model_is_published_in_one_commit_and_is_the_folder(folder, hub, tmp_path):
    code, out, err = finished(
        command(hub, folder, "--upload-repo", "me/voice", "--private", "--license", "cc-by-4.0")
    )
    assert code == 0, err
    assert err == ""  # no bars in a pipe
    found = hub.repositories["me/voice"]
    assert found.private
    assert b"license: cc-by-4.0" in found.files["README.md"]
    assert len(found.commits) == 1
    assert found.commits[0] in out
    assert set(found.files) == set(published_files(folder))
    for name, content in found.files.items():
        path = tmp_path / "again" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        assert content == (folder / name).read_bytes(), name
    load_converted(tmp_path / "again")


def test_an_upload_that_was_killed_goes_on_and_sends_nothing_twice(folder, hub, run):
    """The voice has arrived; the process dies in the middle of the weights."""
    weights = (folder / "model.safetensors").stat().st_size
    hub.stall_over = hub.stall = weights // 2
    assert (folder / "conds.safetensors").stat().st_size < hub.stall_over
    process = command(hub, folder, "--upload-repo", "me/voice")
    assert hub.stalled.wait(60)
    for _ in range(600):
        if hub.received:
            break
        hub.go_on.wait(0.1)
    process.send_signal(signal.SIGKILL)
    finished(process)
    (voice,) = hub.received
    assert hub.repositories["me/voice"].files == {}  # nobody can download half a model
    hub.stall = None
    code, _, err = run(folder, "--upload-repo", "me/voice")
    assert code == 0, err
    assert hub.received[0] == voice
    assert [size for _, size in hub.received[1:]] == [weights]
    assert len(hub.repositories["me/voice"].commits) == 1
    assert set(hub.repositories["me/voice"].files) == set(published_files(folder))


def test_an_interrupt_ends_it_at_once_with_a_hint_how_to_resume(folder, hub):
    hub.stall_over = hub.stall = (folder / "model.safetensors").stat().st_size // 2
    process = command(
        hub, folder, "--upload-repo", "me/voice", "--license", "cc0-1.0", start_new_session=True
    )
    assert hub.stalled.wait(60)
    process.send_signal(signal.SIGINT)  # while the hub is still waiting for the rest
    code, _, err = finished(process)
    assert code == 130
    assert f"convert {folder} --upload-repo me/voice --license cc0-1.0` resumes the upload" in err
    assert "Traceback" not in err


def test_a_connection_that_breaks_is_tried_again_by_the_client(folder, hub, run):
    hub.stall_over = (folder / "model.safetensors").stat().st_size // 2
    hub.drop = 1
    code, _, err = run(folder, "--upload-repo", "me/voice")
    assert code == 0, err
    assert hub.drop == 0
    assert set(hub.repositories["me/voice"].files) == set(published_files(folder))


def test_without_a_login_no_work_is_started(folder, run, tmp_path, monkeypatch):
    """The error comes before hours of conversion."""
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    code, _, err = run(folder, tmp_path / "out", "--upload-repo", "me/voice")
    assert code == 1
    assert err.startswith("error: the login at the hub failed")
    assert not (tmp_path / "out").exists()
    assert "hf_wrong" not in err
    monkeypatch.setenv("HF_TOKEN", "")
    code, _, err = run(folder, "--upload-repo", "me/voice")
    assert code == 1
    assert "hf auth login" in err


def test_somebody_else_s_repository_is_an_error_in_one_line(folder, run):
    code, _, err = run(folder, "--upload-repo", "you/voice")
    assert code == 1
    assert err.count("\n") == 1
    assert "you/voice" in err
    assert "Traceback" not in err


def test_the_hub_s_errors_are_hub_errors(folder, monkeypatch):
    import huggingface_hub

    def fail(*arguments, **settings):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fail)
    with pytest.raises(HubError, match=r"no route to host.*--upload-repo me/voice"):
        publish(folder, "me/voice")


# --- From a source to the hub, and back ----------------------------------------------------------


@pytest.fixture
def verified_with(monkeypatch):
    """Verification with little material; the list of its calls' arguments."""
    verify, calls = verification.verify, []
    little = {
        "texts": TEXTS[7:8],
        "spoken": 10,
        "sizes": Sizes(1.5, 8, 41, 20, 6, 4, 9, 6, 2, 13, 9, 2),
    }

    def verify_little(reference, converted, **settings):
        calls.append(settings)
        return verify(reference, converted, **settings, **little)

    monkeypatch.setattr(verification, "verify", verify_little)
    return calls


SPEAK = """
import sys
import numpy
from mlx_chatterbox import ChatterboxTTS

model, voice, output = sys.argv[1:]
tts = ChatterboxTTS.from_pretrained(model)
said = tts.generate("Hello there.", audio_prompt_path=voice, seed=1, max_new_tokens=6)
numpy.save(output, said)
"""


def test_from_upstream_s_files_to_the_hub_and_by_name_back(
    small_upstream, tmp_path, monkeypatch, verified_with, hub, run, recording_file
):
    """A converted, verified and published model gives equal audio on another machine."""
    make_small(monkeypatch, "english", cfm_steps=2)
    output = tmp_path / "out"
    arguments = ("--recipe", "balanced", "--positions", "9", "--upload-repo", "me/voice")
    code, out, err = run(small_upstream, output, *arguments, "--private")
    assert code == 0, err
    assert "within the bounds of balanced" in out
    assert verified_with == [{"positions": 9, "word_errors": ()}]
    document = json.loads((output / FILE_NAME).read_text())
    assert document["holds"] is True
    assert document["positions"] == 9
    assert {row["name"] for row in document["rows"]} >= {"t3/logits", "next token", "mel"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # no float32 copy is left
    assert check_manifest(output)

    tts = ChatterboxTTS.from_local(output)
    voice = {"audio_prompt_path": recording_file}
    expected = tts.generate("Hello there.", **voice, seed=1, max_new_tokens=6)
    assert np.abs(expected).max() > 0
    environment = {**os.environ, **hub.environment(), "HF_HOME": str(tmp_path / "empty")}
    arguments = ["me/voice", str(recording_file), str(tmp_path / "said.npy")]
    subprocess.run([sys.executable, "-c", SPEAK, *arguments], env=environment, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "said.npy"), expected)
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= {n for n, _ in hub.ranges}
    (fetched,) = (tmp_path / "empty" / "hub").glob("models--me--voice/snapshots/*")
    assert check_manifest(fetched)


def test_without_publishing_nothing_is_verified_unless_asked(
    small_upstream, tmp_path, monkeypatch, capsys, verified_with
):
    make_small(monkeypatch, "english", cfm_steps=2)
    output = tmp_path / "out"
    assert cli.main([str(small_upstream), str(output), "--quantize", "8"]) == 0
    assert not verified_with
    assert not (output / FILE_NAME).exists()
    assert ModelConfig.load(output).quantization.recipe == "8bit"
    again = [str(small_upstream), str(tmp_path / "b"), "--dtype", "float16", "--verify"]
    assert cli.main([*again, "--positions", "5"]) == 0
    assert (tmp_path / "b" / FILE_NAME).is_file()
    assert "Verified" in capsys.readouterr().out
