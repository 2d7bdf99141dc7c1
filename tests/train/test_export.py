"""A trained model on disk: our format, upstream's, and with an extended vocabulary."""

from __future__ import annotations

import copy
import dataclasses
import shutil
import warnings
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_chatterbox.api.tts import CLASSES
from mlx_chatterbox.errors import CheckpointError, SettingError, TextError
from mlx_chatterbox.train.adapters import adapters, apply_lora, quantize_base, trainable
from mlx_chatterbox.train.export import export
from mlx_chatterbox.train.vocabulary import extend_vocabulary
from mlx_chatterbox.voices.voice import embed_voice
from mlx_chatterbox.weights.checkpoint import VOICE_NAME, load_converted, read_weights
from mlx_chatterbox.weights.conversion.core import convert_folder
from mlx_chatterbox.weights.conversion.recipes import RECIPES, uniform
from mlx_chatterbox.weights.quantization import is_quantized, quantized_layers
from tests.small import small_config

LORA = SimpleNamespace(rank=4, alpha=8.0, dropout=0.0, dora=False, targets=None, layers=None)


def loaded(small_models, variant="english"):
    return load_converted(small_models(variant))


def with_adapters(checkpoint, dora=False, bits=None):
    """Adapters with an effect, on T3 and flow."""
    lora = SimpleNamespace(**{**vars(LORA), "dora": dora})
    for component in ("t3", "flow"):
        if bits:
            quantize_base(checkpoint.networks, component, bits)
        apply_lora(checkpoint.networks, component, lora)
    for index, (_, adapter) in enumerate(adapters(checkpoint.networks)):
        key = mx.random.key(index)
        adapter.lora_b = 0.1 * mx.random.normal(adapter.lora_b.shape, key=key)
    return checkpoint


def logits(networks):
    t3 = networks.t3
    voice = mx.random.normal((1, 256), key=mx.random.key(1))
    cond = t3.embed_conditioning(voice, mx.arange(20)[None], 0.5)
    return t3.teacher_forced_logits(cond, mx.array([255, 30, 31, 32, 0]), mx.arange(9))


@pytest.mark.numbers
@pytest.mark.parametrize("dora", [False, True])
def test_adapters_are_fused_and_the_model_loads(tmp_path, small_models, dora):
    checkpoint = with_adapters(loaded(small_models), dora)
    before = logits(checkpoint.networks)
    untrained = logits(loaded(small_models).networks)
    folder = export(checkpoint, tmp_path / "model")
    again = load_converted(folder)
    after = logits(again.networks)
    assert float(mx.abs(after - before).max()) < 1e-4 * float(mx.abs(before).max())
    assert float(mx.abs(after - untrained).max()) > 0.01
    assert "fine_tuned_from" in again.config.source


@pytest.mark.numbers
def test_a_quantised_base_is_exported_from_the_weights_it_was_made_of(tmp_path, small_models):
    plain = export(with_adapters(loaded(small_models)), tmp_path / "plain")
    folder = export(with_adapters(loaded(small_models), bits=4), tmp_path / "model")
    ours, theirs = read_weights(folder), read_weights(plain)
    assert ours.keys() == theirs.keys()
    for key in ours:
        np.testing.assert_allclose(np.array(ours[key]), np.array(theirs[key]), atol=1e-5)


def few_bits(small_upstream, folder, recipe):
    settings = {"dtype": recipe.dtype, "quantization": recipe.quantization}
    return convert_folder(small_upstream, folder / "base", config=small_config(), **settings)


def test_a_quantised_model_is_fine_tuned_without_expanding_it(tmp_path, small_upstream):
    base = few_bits(small_upstream, tmp_path, RECIPES["small"])
    checkpoint = load_converted(base, "float32")
    before = set(quantized_layers(checkpoint.networks))
    adapted = {f"t3.{path}" for path in apply_lora(checkpoint.networks, "t3", LORA)}
    assert adapted <= before
    for _, adapter in adapters(checkpoint.networks):
        adapter.lora_b = 0.1 * mx.random.normal(adapter.lora_b.shape, key=mx.random.key(1))
    spoken = logits(checkpoint.networks)
    again = load_converted(export(checkpoint, tmp_path / "model"))
    # An adapter needs its layer's weights in full; no other layer changes.
    assert set(quantized_layers(again.networks)) == before - adapted
    assert float(mx.abs(logits(again.networks) - spoken).max()) < 1e-4 * float(mx.abs(spoken).max())
    with pytest.raises(SettingError, match="quantised"):
        trainable(again.networks, [again.networks.s3gen.flow])


def test_a_quantised_model_becomes_upstream_s_files(tmp_path, small_upstream):
    base = few_bits(small_upstream, tmp_path, uniform(8))
    files = export(load_converted(base, "float32"), tmp_path / "upstream", upstream=True)
    back = convert_folder(files, tmp_path / "back", config=small_config())
    expected = logits(load_converted(base, "float32").networks)
    found = logits(load_converted(back).networks)
    assert float(mx.abs(found - expected).max()) < 1e-3


def test_a_quantised_model_learns_letters(tmp_path, small_upstream):
    base = few_bits(small_upstream, tmp_path, uniform(8))
    grown = extend_vocabulary(load_converted(base, "float32"), ["ø"])
    again = load_converted(export(grown, tmp_path / "model"))
    assert again.networks.t3.text_emb.weight.shape[0] == again.config.t3.text_tokens_dict_size
    assert is_quantized(again.networks.t3.speech_emb)


def test_what_was_not_trained_is_bit_equal(tmp_path, small_models):
    checkpoint = with_adapters(loaded(small_models))
    paths = tuple(f"{path}.weight" for path, _ in adapters(checkpoint.networks))
    base = read_weights(small_models("english"))
    made = read_weights(export(checkpoint, tmp_path / "model"))
    changed = {key for key in base if not bool(mx.array_equal(base[key], made[key]))}
    assert changed == set(paths)


def test_an_existing_folder_is_replaced_only_if_asked_and_ours(tmp_path, small_models):
    checkpoint = loaded(small_models)
    folder = export(checkpoint, tmp_path / "model")
    with pytest.raises(CheckpointError, match="exists already"):
        export(checkpoint, folder)
    export(checkpoint, folder, force=True)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").write_text("Dear ...")
    with pytest.raises(CheckpointError, match="not replaced"):
        export(checkpoint, tmp_path / "letters", force=True)
    with pytest.raises(CheckpointError, match="base model"):
        export(checkpoint, checkpoint.folder, force=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["letters", "model"]


@pytest.mark.parametrize("variant", ["english", "multilingual", "turbo"])
def test_upstreams_files_convert_back_to_the_same_model(tmp_path, small_models, variant, recording):
    from mlx_chatterbox.weights.conversion.core import convert_folder

    checkpoint = loaded(small_models, variant)
    recording = np.tile(recording, 3)
    checkpoint.voice = embed_voice(
        checkpoint.networks, recording, checkpoint.config.generation, 0.5
    )
    with pytest.warns(UserWarning, match="other sizes"):
        folder = export(checkpoint, tmp_path / "upstream", upstream=True)
    back = convert_folder(folder, tmp_path / "back", variant=variant, config=small_config(variant))
    base, made = read_weights(checkpoint.folder), read_weights(back)
    assert base.keys() == made.keys()
    for key in base:
        np.testing.assert_allclose(
            np.array(made[key]), np.array(base[key]), rtol=1e-6, atol=1e-7, err_msg=key
        )
    voice = load_converted(back).voice
    for name in ("speaker_embedding", "cond_prompt_tokens", "prompt_token", "prompt_feat"):
        assert bool(mx.array_equal(getattr(voice, name), getattr(checkpoint.voice, name))), name
    assert voice.emotion == checkpoint.voice.emotion


# --- Vocabulary ----------------------------------------------------------------------------------


@pytest.mark.numbers
@pytest.mark.parametrize("variant", ["english", "multilingual"])
def test_new_letters_begin_as_the_mean_and_come_back_by_load(tmp_path, small_models, variant):
    base = loaded(small_models, variant)
    table = np.array(base.networks.t3.text_emb.weight)
    size = len(base.tokenizer._tokenizer.get_vocab())
    grown = extend_vocabulary(base, ["ⴰ", "ǃkung"])
    rows = max(len(table), size + 2)
    assert grown.config.t3.text_tokens_dict_size == rows
    for layer in (grown.networks.t3.text_emb, grown.networks.t3.text_head):
        assert layer.weight.shape[0] == rows
        mean = np.array(layer.weight)[:size].mean(axis=0)
        for row in (size, size + 1):
            np.testing.assert_allclose(np.array(layer.weight)[row], mean, atol=1e-6)
    assert np.array_equal(np.array(grown.networks.t3.text_emb.weight)[:size], table[:size])
    again = load_converted(export(grown, tmp_path / "model"))
    assert again.tokenizer.encode("taⴰ ǃkung")[-1] == size + 1
    assert size in again.tokenizer.encode("taⴰ")
    assert again.tokenizer.encode("plain words") == base.tokenizer.encode("plain words")
    assert again.networks.t3.text_emb.weight.shape[0] == rows


def test_a_grown_model_speaks(small_models, recording):
    grown = extend_vocabulary(loaded(small_models), ["ŋ"])
    tts = CLASSES["english"](grown)
    wav = tts.generate("ŋaŋa!", audio_prompt_path=recording, seed=0, max_new_tokens=12)
    assert len(wav) > 0


@pytest.mark.parametrize("tokens", [["a"], [""], ["x y"], ["ŋ", "ŋ"]])
def test_invalid_or_known_tokens_are_refused(small_models, tokens):
    with pytest.raises(TextError, match="new_tokens"):
        extend_vocabulary(loaded(small_models), tokens)


def test_a_letter_that_the_tokenizer_changes_is_refused(small_models):
    with pytest.raises(TextError, match="can match no text"):
        extend_vocabulary(loaded(small_models, "multilingual"), ["Ⴀ"])


def test_the_tag_of_a_language_makes_it_known(tmp_path, small_models):
    base = loaded(small_models, "multilingual")
    with pytest.raises(TextError, match="unknown language 'hu'"):
        base.tokenizer.encode("Jó", "hu")
    grown = extend_vocabulary(base, ["[hu]"])
    assert base.config.text.languages == []
    again = load_converted(export(grown, tmp_path / "model"))
    assert again.config.text.languages == ["hu"]
    tag = again.tokenizer._tokenizer.token_to_id("[hu]")
    assert again.tokenizer.encode("ja", "HU") == [tag, *base.tokenizer.encode("ja")]
    # A known one changes nothing, and to the English model a tag is ordinary text.
    with pytest.raises(TextError, match="already"):
        extend_vocabulary(again, ["[hu]"])
    assert extend_vocabulary(loaded(small_models), ["[hu]"]).config.text.languages == []


def test_a_tag_that_only_the_vocabulary_knows_grows_nothing(tmp_path, small_models):
    """A multilingual vocabulary may hold tags of languages that are not trained yet."""
    grown = extend_vocabulary(loaded(small_models, "multilingual"), ["[hu]"])
    known = dataclasses.replace(
        grown, tokenizer=copy.copy(loaded(small_models, "multilingual").tokenizer)
    )
    known.tokenizer._tokenizer = grown.tokenizer._tokenizer
    known.config.text.languages = []
    again = extend_vocabulary(known, ["[hu]"])
    assert again.config.text.languages == ["hu"]
    assert again.config.t3.text_tokens_dict_size == grown.config.t3.text_tokens_dict_size
    assert "hu" in again.tokenizer.languages


def test_gpt2_needs_no_new_letters(small_models):
    with pytest.raises(CheckpointError, match="spells any letter"):
        extend_vocabulary(loaded(small_models, "turbo"), ["ŋ"])


# --- Upstream's package --------------------------------------------------------------------------


@pytest.mark.reference
def test_upstreams_networks_load_the_export_strictly(tmp_path):
    """Upstream's own sizes, except the depth of T3, which its table can change."""
    from mlx_chatterbox.parity.fabricate.checkpoint import fabricate
    from mlx_chatterbox.parity.torch.env import prepare
    from mlx_chatterbox.parity.torch.networks import Networks
    from mlx_chatterbox.weights.conversion.core import convert_folder
    from mlx_chatterbox.weights.variants import variant_named

    prepare()
    config = variant_named("english").default_config()
    config.t3.num_hidden_layers = 1
    original = fabricate(tmp_path / "original", config=config)
    base = convert_folder(original, tmp_path / "base", config=config)
    shutil.rmtree(original)
    checkpoint = load_converted(base)
    recording = np.sin(np.arange(48000) / 20).astype(np.float32) * 0.3
    checkpoint.voice = embed_voice(
        checkpoint.networks, recording, checkpoint.config.generation, 0.5
    )
    apply_lora(checkpoint.networks, "t3", LORA)
    for index, (_, adapter) in enumerate(adapters(checkpoint.networks)):
        adapter.lora_b = 0.1 * mx.random.normal(adapter.lora_b.shape, key=mx.random.key(index))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = export(checkpoint, tmp_path / "upstream", upstream=True)
    theirs = Networks(folder, t3_layers=1)
    state = {**theirs.t3.state_dict()}
    ours = dict(tree_flatten(checkpoint.networks.parameters()))
    for key in ("tfmr.layers.0.self_attn.q_proj.weight", "text_emb.weight"):
        mine = key.replace("tfmr.", "tfmr.model.") if key.startswith("tfmr.") else key
        np.testing.assert_array_equal(state[key].numpy(), np.array(ours[f"t3.{mine}"]))
    assert theirs.voice_encoder is not None
    assert theirs.s3gen is not None
    from chatterbox.tts import Conditionals

    conds = Conditionals.load(folder / "conds.pt")
    assert conds.t3.cond_prompt_speech_tokens.shape == checkpoint.voice.cond_prompt_tokens.shape
    assert conds.gen["prompt_feat"].shape == checkpoint.voice.prompt_feat.shape
    assert not (folder / VOICE_NAME).exists()
