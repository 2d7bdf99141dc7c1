"""Verification: what is measured, and that damage to any part of a model is detected."""

from __future__ import annotations

import copy
import dataclasses
import json
import sys

import numpy as np
import pytest

from mlx_chatterbox.convert import __main__ as cli
from mlx_chatterbox.convert.damage import GROUPS, measure, measure_recipe
from mlx_chatterbox.convert.measures import (
    TEXTS,
    compute_outputs,
    divergence,
    prepare,
    spectral_distance,
    token_distributions,
)
from mlx_chatterbox.convert.verification import (
    FILE_NAME,
    OUTPUTS,
    REQUIRED,
    TOKENS,
    Measurement,
    ReferenceResults,
    Verification,
    as_markdown,
    as_text,
    verify,
    weight_hashes,
)
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.parity.inputs.make import Sizes
from mlx_chatterbox.parity.tables.chatterbox import STAGES
from mlx_chatterbox.weights.checkpoint import load_converted
from mlx_chatterbox.weights.conversion.bounds import BOUNDS, precision_name
from mlx_chatterbox.weights.conversion.recipes import RECIPES, plain, uniform
from tests.weights.by_recipe import folders_by_recipe

SIZES = Sizes(1.5, 8, 41, 20, 6, 4, 9, 6, 2, 13, 9, 2)
TWO = (TEXTS[3], TEXTS[7])  # short ones
FEW = {"texts": TWO, "positions": 12, "spoken": 10, "sizes": SIZES}


@pytest.fixture(scope="module")
def brief_config(small_config):
    """Two steps of the flow, which use every layer too."""
    config = copy.deepcopy(small_config)
    config.generation.cfm_steps = 2
    return config


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory, small_upstream, brief_config):
    return folders_by_recipe(tmp_path_factory.mktemp("verified"), small_upstream, brief_config)


@pytest.fixture(scope="module")
def exact(folder_of):
    return folder_of(RECIPES["exact"])


@pytest.fixture(scope="module")
def reference(exact):
    return ReferenceResults.of(exact, **FEW)


@pytest.fixture(scope="module")
def material(exact):
    return prepare(load_converted(exact), TWO, positions=20, spoken=8)


def test_the_divergence_is_that_of_textbooks():
    p, q = np.array([[0.5, 0.25, 0.25]]), np.array([[0.25, 0.5, 0.25]])
    expected = 0.5 * np.log(2.0) + 0.25 * np.log(0.5)
    np.testing.assert_allclose(divergence(np.log(p), np.log(q)), expected, rtol=1e-12)
    assert divergence(np.log(p), np.log(p)) == 0.0
    assert divergence(np.log(p), np.full((1, 3), np.nan)) == np.inf


def test_the_spectral_distance_of_half_the_amplitude_is_six_db(recording):
    loud = recording[24000:48000]
    assert spectral_distance(loud, loud) == 0.0
    # Noise, so that nothing is under the floor.
    noise = np.random.default_rng(0).standard_normal(24000).astype(np.float32)
    assert spectral_distance(noise, 0.5 * noise) == pytest.approx(6.02, abs=0.01)


@pytest.mark.numbers
def test_distributions_are_those_of_the_tokens_it_would_speak(exact, material):
    """One distribution for every speech token of real text, and one for the next token."""
    checkpoint = load_converted(exact)
    assert material.positions == 20
    tokens, guided = token_distributions(checkpoint.networks.t3, material, 0.5)
    assert tokens.shape == guided.shape == (20, checkpoint.config.t3.speech_tokens_dict_size)
    np.testing.assert_allclose(np.exp(tokens).sum(-1), 1.0, rtol=1e-5)
    assert not np.allclose(tokens, guided)
    again = prepare(checkpoint, TWO, positions=20, spoken=8)
    for one, other in zip(material.sentences, again.sentences, strict=True):
        np.testing.assert_array_equal(one.text, other.text)
        np.testing.assert_array_equal(one.tokens, other.tokens)


@pytest.mark.numbers
def test_exact_differs_in_nothing(exact):
    found = verify(exact, exact, **FEW)
    assert found.precision == "float32"
    assert found.holds
    assert {row.name for row in found.rows} >= {*OUTPUTS, TOKENS, "next token", "mel", "waveform"}
    assert all(row.value == 0.0 for row in found.rows)


@pytest.mark.numbers
@pytest.mark.parametrize("name", ["float16", "balanced", "small"])
def test_precisions_are_within_their_bounds(reference, folder_of, name):
    recipe = RECIPES.get(name) or plain(name)
    found = reference.compare(folder_of(recipe))
    assert found.precision == name
    assert found.holds, as_text(found)
    assert all(row.value > 0.0 for row in found.rows if row.name in ("t3/logits", "next token"))


def _spoil(networks, part: str) -> None:
    layer = {
        "t3/logits": networks.t3.speech_head,
        "flow/mel": networks.s3gen.flow.encoder_proj,
        "vocoder/waveform": networks.s3gen.mel2wav.conv_post,
        "vocoder/f0": networks.s3gen.mel2wav.f0_predictor.classifier,
        "speaker_encoder/embedding": networks.s3gen.speaker_encoder.xvector.dense.linear,
        "voice_encoder/embedding": networks.ve.proj,
        "s3_encoder/codes": networks.s3_tokenizer.quantizer.codebook.project_down,
    }[part]
    layer.weight = -1.5 * layer.weight


@pytest.mark.parametrize(
    "part",
    [
        "t3/logits",
        "flow/mel",
        "vocoder/waveform",
        "vocoder/f0",
        "speaker_encoder/embedding",
        "voice_encoder/embedding",
        "s3_encoder/codes",
    ],
)
def test_damage_to_any_network_fails(reference, exact, part, monkeypatch):
    from mlx_chatterbox.convert import verification

    def spoiled(folder, *rest):
        checkpoint = load_converted(folder, *rest)
        _spoil(checkpoint.networks, part)
        return checkpoint

    monkeypatch.setattr(verification, "load_converted", spoiled)
    found = reference.compare(exact)
    assert not found.holds
    failed = {row.name for row in found.failures}
    assert part in failed
    whole = {
        "t3/logits": "next token",
        "flow/mel": "mel",
        "vocoder/waveform": "waveform",
        "vocoder/f0": "spectrum",
        "s3_encoder/codes": TOKENS,
    }
    assert whole.get(part, part) in failed


def test_outputs_are_stages_of_parity():
    assert {*OUTPUTS, TOKENS} <= {output.name for stage in STAGES for output in stage.outputs}


def test_it_is_written_beside_the_weights_and_read_back(small_checkpoint, tmp_path):
    for path in small_checkpoint.iterdir():
        (tmp_path / path.name).symlink_to(path)
    rows = (
        Measurement("mel", "dB", 0.25, 1.0),
        Measurement("waveform", "RMS", float("inf"), 0.1),
        Measurement("x", "", 1.0, None),
    )
    made = Verification("small", rows, 500, 75, weight_hashes(tmp_path), {"mlx": "1"})
    made.save(tmp_path)
    document = json.loads((tmp_path / FILE_NAME).read_text())
    assert document["holds"] is False
    assert [row["holds"] for row in document["rows"]] == [True, False, True]
    assert Verification.load(tmp_path) == made
    assert Verification.load(small_checkpoint) is None
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    content[-3] ^= 1  # one bit, the size the same
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="other weights"):
        Verification.load(tmp_path)


def test_tables_name_what_fails():
    rows = (
        *(
            Measurement(name, "", 0.0, 1.0)
            for name in REQUIRED
            if name not in ("mel", "next token")
        ),
        Measurement("mel", "dB", 2.0, 1.0),
        Measurement("next token", "KL", 0.001, 0.02),
    )
    found = Verification("small", rows, 500, 75, {})
    assert as_text(found).endswith("VERIFICATION FAILS: out of bounds for small: mel.")
    assert "| mel | dB | 2 | 1 | FAILS |" in as_markdown(found)
    assert "| next token | KL | 0.001 | 0.02 | ok |" in as_markdown(found)


@pytest.mark.parametrize("name", REQUIRED)
def test_what_was_not_measured_or_not_judged_does_not_hold(name):
    rows = tuple(Measurement(other, "", 0.0, 1.0) for other in REQUIRED)
    assert Verification("small", rows, 500, 75, {}).holds
    without = tuple(row for row in rows if row.name != name)
    for changed in ((), without, (*without, Measurement(name, "", 0.0, None))):
        found = Verification("small", changed, 500, 75, {})
        assert not found.holds
        assert name in found.missing
        assert f"not measured: {name}" in as_text(found) or not changed


def test_a_stage_that_was_not_computed_is_an_error(reference, exact, monkeypatch):
    from mlx_chatterbox.convert import verification

    monkeypatch.setattr(
        verification,
        "compute_with",
        lambda *_: {k: v for k, v in reference.stages.items() if k != "flow/mu"},
    )
    with pytest.raises(CheckpointError, match="flow/mu was not computed"):
        reference.compare(exact)


def test_not_a_number_holds_no_bound():
    assert not Measurement("mel", "dB", float("nan"), 1.0).holds


def test_bounds_are_by_what_the_rules_are_not_by_a_name():
    config = ModelConfig(dtype="float16", quantization=RECIPES["balanced"].quantization)
    assert precision_name(config) == "balanced"
    config.quantization = dataclasses.replace(uniform(3).quantization, recipe="balanced")
    assert precision_name(config) == "3bit"
    assert precision_name(ModelConfig(dtype="bfloat16")) == "bfloat16"
    assert {"float32", "float16", "bfloat16", "8bit", "6bit", "4bit", "3bit"} <= set(BOUNDS)
    assert BOUNDS["balanced"].kl <= 0.02


def test_only_float32_is_a_reference(folder_of):
    with pytest.raises(CheckpointError, match="not float32"):
        verify(folder_of(plain("float16")), folder_of(RECIPES["small"]), **FEW)


def test_damage_is_measured_group_by_group_and_undone(exact, material):
    checkpoint = load_converted(exact)
    generation = checkpoint.config.generation
    before = compute_outputs(checkpoint.networks, material, generation)
    groups = ("T3 attention", "flow decoder", "vocoder")
    found = list(measure(checkpoint, material, (8, 3), 32, ("float16",), groups))
    assert [(item.group, item.precision) for item in found if item.group == "T3 attention"] == [
        ("T3 attention", "float16"),
        ("T3 attention", "8 bits"),
        ("T3 attention", "3 bits"),
    ]
    by_name = {(item.group, item.precision): item for item in found}
    low, high = by_name["T3 attention", "3 bits"], by_name["T3 attention", "8 bits"]
    assert low.distance.kl > 10 * high.distance.kl > 0.0
    assert low.bytes < high.bytes < low.half
    assert low.distance.mel == 0.0
    flow = by_name["flow decoder", "3 bits"].distance
    assert flow.kl == 0.0
    assert flow.mel > 0.0
    assert by_name["vocoder", "float16"].distance.waveform > 0.0
    after = compute_outputs(checkpoint.networks, material, generation)
    np.testing.assert_array_equal(before.tokens, after.tokens)
    np.testing.assert_array_equal(before.waveform, after.waveform)


def test_every_weight_that_speaks_is_in_a_group(small_checkpoint):
    from fnmatch import fnmatchcase

    from mlx.utils import tree_flatten

    patterns = [pattern for members in GROUPS.values() for pattern in members]
    for key, _ in tree_flatten(load_converted(small_checkpoint).networks.parameters()):
        layer = key.rpartition(".")[0]
        if key.startswith(("t3.tfmr.model.layers", "s3gen.flow", "s3gen.mel2wav", "t3.speech")):
            fits = any(fnmatchcase(layer, pattern) for pattern in patterns)
            assert fits or "norm" in key, key


def test_a_recipe_s_damage_is_the_folder_s(exact, folder_of, material):
    """Measuring in memory or from a converted folder uses the same weights."""
    checkpoint = load_converted(exact)
    recipe = uniform(4)
    in_memory = measure_recipe(checkpoint, material, recipe)
    generation = checkpoint.config.generation
    expected = compute_outputs(checkpoint.networks, material, generation)
    other = load_converted(folder_of(recipe), "float32").networks
    found = token_distributions(other.t3, material, generation.cfg_weight)[0]
    kl = float(divergence(expected.tokens, found).mean())
    assert kl == pytest.approx(in_memory.kl, rel=0.01)


def test_word_errors_are_counted_of_both_and_bounded(exact, folder_of, monkeypatch):
    """The recogniser transcribes the first model correctly and the second one wrongly."""
    from mlx_chatterbox.convert import verification

    heard = iter([TWO[0], "nothing", "nothing", "nothing"])
    monkeypatch.setattr(verification, "open_recogniser", lambda: lambda waveform: next(heard))
    limited = dataclasses.replace(ModelConfig.load(exact).generation, max_new_tokens=4)

    def brief(folder, *rest):
        checkpoint = load_converted(folder, *rest)
        checkpoint.config.generation = limited
        return checkpoint

    monkeypatch.setattr(verification, "load_converted", brief)
    found = verify(exact, folder_of(plain("float16")), word_errors=TWO, **FEW)
    by_name = {row.name: row for row in found.rows}
    assert 0.0 < by_name["word error rate, source"].value < 1.0
    assert by_name["word error rate"].value == 1.0
    assert not by_name["word error rate"].holds


def test_a_missing_recogniser_is_reported_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    arguments = ["pocket", str(tmp_path / "out"), "--verify", "--word-errors"]
    assert cli.main(arguments) == 1
    assert "pip install 'mlx-chatterbox[recognition]'" in capsys.readouterr().err
