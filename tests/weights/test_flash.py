"""Chatterbox-Flash: its files, their conversion, and what opens them."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import yaml
from mlx.utils import tree_flatten

from mlx_chatterbox import ChatterboxFlashTTS, ChatterboxTTS, ChatterboxTurboTTS, ChatterboxVC
from mlx_chatterbox.api.s3gen_model import S3GenModel
from mlx_chatterbox.api.tts import open_model
from mlx_chatterbox.audio.files import save_audio
from mlx_chatterbox.convert import __main__ as convert_command
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.generate import main as generate
from mlx_chatterbox.models.config import BlockConfig, ModelConfig
from mlx_chatterbox.models.t3.config import T3Config, gpt2_config
from mlx_chatterbox.parity.__main__ import main as parity
from mlx_chatterbox.parity.fabricate.checkpoint import fabricate, upstream_shapes
from mlx_chatterbox.parity.fabricate.small import SMALL_SIZES
from mlx_chatterbox.parity.inputs.make import make_inputs
from mlx_chatterbox.parity.settings import RunSettings
from mlx_chatterbox.parity.stages import computable
from mlx_chatterbox.parity.tables.flash import FLASH_STAGES
from mlx_chatterbox.parity.weights import located
from mlx_chatterbox.weights.checkpoint import build, load_converted, variant_of, verify_folder
from mlx_chatterbox.weights.conversion.core import convert
from mlx_chatterbox.weights.conversion.recipes import RECIPES, uniform
from mlx_chatterbox.weights.conversion.sources import find_source
from mlx_chatterbox.weights.conversion.upstream import plan
from mlx_chatterbox.weights.hub import variant_files
from mlx_chatterbox.weights.variants import VARIANTS
from tests.small import small_config
from tests.weights import mlx_audio_layout
from tests.weights.test_conversion import change, left_in, refuses, small_weights

ROW = VARIANTS["flash"]
FILES = {"t3_flash.safetensors", "s3gen.safetensors", "ve.safetensors", "tokenizer.json"}
# Of upstream's T3 at full size: for each key its shape and type.
KEYS = json.loads((Path(__file__).parents[1] / "data" / "flash-keys.json").read_text())


@pytest.fixture
def files(tmp_path):
    """A folder of upstream's files of a small Flash."""
    return fabricate(tmp_path / "upstream", variant="flash", config=small_config("flash"))


@pytest.fixture(scope="module")
def converted(small_models):
    return small_models("flash")


# --- The files -----------------------------------------------------------------------------------


def test_its_files_are_upstreams():
    assert set(ROW.required_files) == FILES
    assert set(variant_files(ROW)) - {"conds.pt"} == FILES
    assert ROW.repo == "ResembleAI/chatterbox-flash"


def test_t3_has_upstreams_keys_and_shapes_at_full_size():
    layout = upstream_shapes(ROW.default_config(), variant="flash")
    assert set(layout) == {"t3_flash.safetensors", "s3gen.safetensors", "ve.safetensors"}
    assert {key: tuple(shape) for key, (shape, _) in KEYS.items()} == layout[ROW.t3_file]
    assert {dtype for _, dtype in KEYS.values()} == {"float32"}


def test_upstreams_t3_becomes_ours_at_full_size():
    shapes = {key: tuple(shape) for key, (shape, _) in KEYS.items()}
    todo = plan({ROW.t3_file: shapes}, "flash")
    networks = build(ROW.default_config())
    ours = {f"t3.{key}": value.shape for key, value in tree_flatten(networks.t3.parameters())}
    assert {entry.target: entry.shape for entry in todo.entries} == ours
    assert ours["t3.speech_emb.weight"] == (8195, 1024)
    assert ours["t3.speech_head.weight"] == (8194, 1024)
    assert ROW.default_config().t3.mask_token == 8194
    assert [item.key for item in todo.dropped] == ["tfmr.embed_tokens.weight"]


def test_only_one_row_tells_it_from_english():
    english = upstream_shapes(VARIANTS["english"].default_config())["t3_cfg.safetensors"]
    flash = upstream_shapes(ROW.default_config(), variant="flash")[ROW.t3_file]
    assert {key for key in flash if flash[key] != english.get(key)} == {"speech_emb.weight"}
    assert flash.keys() == english.keys()


def test_its_s3gen_is_turbos():
    config, turbo = ROW.default_config(), VARIANTS["turbo"].default_config()
    assert config.s3gen == turbo.s3gen
    assert config.generation.cfm_steps == 2


# --- Conversion ----------------------------------------------------------------------------------


def test_a_folder_of_upstreams_files_is_recognised_and_converted(files, tmp_path):
    assert find_source(files).name == "flash"
    result = convert(files, tmp_path / "ours", config=small_config("flash"), verify=verify_folder)
    assert result.variant == "flash"
    assert not result.voice
    theirs = mx.load(str(files / ROW.t3_file))["speech_emb.weight"]
    networks = load_converted(result.folder).networks
    assert networks.t3.speech_emb.weight.shape == (8195, 64)
    assert mx.array_equal(networks.t3.speech_emb.weight, theirs)
    assert networks.t3.speech_head.weight.shape == (8194, 64)


def test_the_configuration_says_so_and_others_stay_as_they_were(converted, small_checkpoint):
    values = json.loads((converted / "config.json").read_text())
    assert values["t3"]["has_mask"] is True
    assert values["blocks"]["size"] == 16
    assert ModelConfig.load(converted).blocks == BlockConfig()
    for folder in (small_checkpoint,):
        others = json.loads((folder / "config.json").read_text())
        assert "blocks" not in others
        assert "has_mask" not in others["t3"]


def without_mask(tensors):
    tensors["speech_emb.weight"] = tensors["speech_emb.weight"][:-1]


def test_a_table_without_a_mask_is_refused(files, tmp_path):
    """Upstream would add a random row."""
    change(files, ROW.t3_file, without_mask)
    words = r"t3_flash.safetensors is not flash's: .* 8194 rows, where flash has 8195, the last"
    refuses(files, tmp_path, words, config=small_config("flash"))
    refuses(files, tmp_path, words, config=small_config("flash"), verify=None)


def test_a_table_of_another_size_is_refused(files, tmp_path):
    def longer(tensors):
        table = tensors["speech_emb.weight"]
        tensors["speech_emb.weight"] = mx.concatenate([table, table[:1]])

    change(files, ROW.t3_file, longer)
    refuses(files, tmp_path, r"8196 rows, where flash has 8195", config=small_config("flash"))


def test_a_head_that_predicts_the_mask_is_refused(files, tmp_path):
    def longer(tensors):
        tensors["speech_head.weight"] = tensors["speech_emb.weight"]

    change(files, ROW.t3_file, longer)
    refuses(files, tmp_path, r"8195 rows, where flash has 8196", config=small_config("flash"))


def test_a_table_with_a_mask_is_not_english(files, tmp_path):
    (files / ROW.t3_file).rename(files / "t3_cfg.safetensors")
    assert find_source(files).name == "english"
    refuses(files, tmp_path, r"t3_cfg.safetensors is not english's: .* 8195 rows, .* only Flash")


def test_t3_under_another_name_is_told_by_its_mask(files):
    (files / ROW.t3_file).rename(files / "t3_mine.safetensors")
    assert find_source(files).name == "flash"
    assert find_source(files, t3_file="t3_mine.safetensors").name == "flash"
    with pytest.raises(CheckpointError, match=r"vocabulary of 704 and a \[MASK\]"):
        find_source(files, "english", "t3_mine.safetensors")


@pytest.mark.parametrize(("variant", "other"), [("flash", "english"), ("english", "flash")])
def test_an_s3gen_of_the_other_kind_is_refused(tmp_path, variant, other):
    """Both are called s3gen.safetensors."""
    folders = [
        fabricate(tmp_path / name, variant=name, config=small_config(name))
        for name in (variant, other)
    ]
    (folders[1] / "s3gen.safetensors").replace(folders[0] / "s3gen.safetensors")
    words = rf"s3gen.safetensors is not {variant}'s S3Gen: it is (that|the one)"
    refuses(folders[0], tmp_path, words, config=small_config(variant))


def test_mlx_audios_english_is_no_flash(tmp_path):
    folder = mlx_audio_layout.write(tmp_path / "c" / "model", small_weights("english"), bits=None)
    with pytest.raises(CheckpointError, match="holds english, not flash"):
        convert(folder, tmp_path / "out", variant="flash")


@pytest.mark.parametrize("recipe", [RECIPES["balanced"], RECIPES["small"], uniform(4, 32)])
def test_every_precision_loads_with_the_whole_table(files, tmp_path, recipe):
    settings = {"dtype": recipe.dtype, "quantization": recipe.quantization}
    first = convert(
        files, tmp_path / "a", config=small_config("flash"), verify=verify_folder, **settings
    )
    again = convert(first.folder, tmp_path / "b", dtype="float32", verify=verify_folder)
    for result in (first, again):
        t3 = load_converted(result.folder).networks.t3
        assert t3.speech_emb.weight.shape[0] == 8195
        assert t3.speech_head.weight.shape[0] == 8194
        assert ModelConfig.load(result.folder).t3.has_mask


@pytest.mark.parametrize("wrong", [{"size": 0}, {"num_steps": 0}, {"time_shift_tau": -0.5}])
def test_settings_that_no_block_can_have_are_refused(wrong):
    with pytest.raises(CheckpointError):
        BlockConfig.from_dict(wrong)


def test_gpt2_has_no_mask():
    gpt2 = gpt2_config(64, 2, 4).to_dict()
    with pytest.raises(CheckpointError, match="has_mask"):
        T3Config.from_dict({**gpt2, "has_mask": True})


# --- Opening it ----------------------------------------------------------------------------------


def test_the_variant_is_known_before_anything_is_downloaded(converted, files, small_checkpoint):
    for name in ("flash", "ResembleAI/chatterbox-flash", converted, str(files)):
        assert variant_of(name) is ROW
    assert variant_of(small_checkpoint) is VARIANTS["english"]
    assert variant_of("chatterbox") is VARIANTS["english"]
    assert variant_of("somebody/model") is None


def test_it_is_opened_as_what_it_is(converted, small_checkpoint):
    assert type(open_model(converted)) is ChatterboxFlashTTS
    assert ChatterboxFlashTTS.from_pretrained(converted).conds is None
    with pytest.raises(CheckpointError, match="flash model, which ChatterboxTTS"):
        ChatterboxTTS.from_pretrained(converted)
    with pytest.raises(CheckpointError, match="flash model, which ChatterboxTurboTTS"):
        ChatterboxTurboTTS(load_converted(converted))
    with pytest.raises(CheckpointError, match="english model, which ChatterboxFlashTTS"):
        ChatterboxFlashTTS.from_pretrained(small_checkpoint)


def test_the_command_wants_a_recording_in_one_line(converted, tmp_path, capsys):
    words = ["--text", "Hi.", "--model", str(converted), "--output", str(tmp_path / "a.wav")]
    assert generate(words) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "error: no voice" in line
    assert "--voice" in line
    assert not (tmp_path / "a.wav").exists()


def test_its_texts_are_shown_as_it_would_read_them(capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert generate(["--text", "It cost $5.50.", "--model", "flash", "--show-text"]) == 0
    assert capsys.readouterr().out.strip() == "It cost five dollars and fifty cents."


def test_its_s3gen_is_opened_alone(converted):
    assert S3GenModel.from_pretrained(converted).n_cfm_timesteps == 2


def test_it_converts_voices(converted, recording, voices):
    vc = ChatterboxVC.from_pretrained(converted)
    vc.set_target_voice(recording)
    waveform = vc.generate(voices[0])
    assert np.isfinite(waveform).all()
    assert waveform.any()


def test_its_stages_are_compared(files):
    assert located(RunSettings(weights=files)).variant == "flash"
    names = make_inputs(small_config("flash"), sizes=SMALL_SIZES)
    stages = {stage.name for stage in computable(names)}
    assert stages >= {stage.name for stage in FLASH_STAGES}
    assert stages.isdisjoint({"t3", "t3_greedy", "sampler", "sampler_turbo"})


def test_its_files_are_made_by_the_command(tmp_path):
    folder = tmp_path / "made"
    assert parity(["fabricate", str(folder), "--variant", "flash", "--small"]) == 0
    assert set(left_in(folder)) == FILES | {"fabricated.json"}


# --- Verification and publication ----------------------------------------------------------------


def published(folder, *arguments) -> int:
    words = [str(folder), "--upload-repo", "me/flash", "--dry-run", "--force-upload", *arguments]
    return convert_command.main(words)


def test_the_card_has_its_licence_and_its_origin(converted, tmp_path, capsys):
    assert convert_command.main([str(converted), str(tmp_path / "half"), "--dtype", "float16"]) == 0
    assert "without a built-in voice (to speak, give a recording" in capsys.readouterr().out
    assert published(tmp_path / "half") == 0
    card = (tmp_path / "half" / "README.md").read_text()
    top = yaml.safe_load(card.split("---\n")[1])
    assert top["license"] == "mit"
    assert top["base_model"] == "ResembleAI/chatterbox-flash"
    assert "no built-in voice" in card
    assert '--model me/flash --text "Hello there." --voice me.wav --output hello.wav' in card
    assert "from mlx_chatterbox import ChatterboxFlashTTS" in card
    assert 'model.generate("Hello there.", audio_prompt_path="me.wav")' in card


def test_the_cards_example_speaks(converted, recording, tmp_path, monkeypatch):
    from mlx_chatterbox.convert.model_card import model_card

    card = model_card(converted, "me/flash", None)
    code = card.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    save_audio(tmp_path / "me.wav", recording, 24000)
    exec(code.replace("me/flash", str(converted)), {})
    assert (tmp_path / "hello.wav").stat().st_size > 10_000


def test_a_card_of_any_model_without_a_voice_says_how_to_give_one(small_checkpoint, tmp_path):
    from mlx_chatterbox.convert.model_card import model_card

    folder = convert(small_checkpoint, tmp_path / "silent").folder
    card = model_card(folder, "me/voiceless", None)
    assert "--voice me.wav" in card
    assert 'generate("Hello there.", audio_prompt_path="me.wav")' in card
    (folder / "conds.safetensors").touch()
    assert "--voice" not in model_card(folder, "me/voiced", None)


def test_a_recording_saved_for_the_command_is_a_voice(converted, recording, voices, tmp_path):
    save_audio(tmp_path / "me.wav", recording, 24000)
    save_audio(tmp_path / "talk.wav", voices[0], 24000)
    from mlx_chatterbox.vc import main as convert_voice

    words = ["--model", converted, "--input", tmp_path / "talk.wav", "--voice", tmp_path / "me.wav"]
    assert convert_voice([str(word) for word in [*words, "--output", tmp_path / "out.wav"]]) == 0
    assert (tmp_path / "out.wav").stat().st_size > 10_000
