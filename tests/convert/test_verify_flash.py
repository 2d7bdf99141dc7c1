"""Verification of a model that decides blocks of masked tokens."""

from __future__ import annotations

import copy
import dataclasses
import json

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.convert import __main__ as cli
from mlx_chatterbox.convert.measures import TEXTS, prepare, token_distributions
from mlx_chatterbox.convert.model_card import model_card
from mlx_chatterbox.convert.verification import (
    BLOCK_OUTPUTS,
    BLOCKS_REQUIRED,
    FILE_NAME,
    PRIOR,
    Measurement,
    ReferenceResults,
    Verification,
    as_text,
    verify,
    weight_hashes,
)
from mlx_chatterbox.convert.written import BlockByBlock
from mlx_chatterbox.parity.fabricate.checkpoint import fabricate
from mlx_chatterbox.weights.checkpoint import load_converted
from mlx_chatterbox.weights.conversion.recipes import RECIPES, plain
from tests.convert.test_verify import SIZES
from tests.small import small_config
from tests.weights.by_recipe import folders_by_recipe

TWO = (TEXTS[3], TEXTS[7])  # short ones
FEW = {"texts": TWO, "positions": 60, "spoken": 10, "sizes": SIZES}


@pytest.fixture(scope="module")
def config():
    """Fabricated weights predict the stop token as often as any other, so hardly ever."""
    return small_config("flash")


@pytest.fixture(scope="module")
def upstream(tmp_path_factory, config):
    return fabricate(tmp_path_factory.mktemp("flash") / "files", variant="flash", config=config)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory, upstream, config):
    return folders_by_recipe(tmp_path_factory.mktemp("verified"), upstream, config)


@pytest.fixture(scope="module")
def exact(folder_of):
    return folder_of(RECIPES["exact"])


@pytest.fixture(scope="module")
def reference(exact):
    return ReferenceResults.of(exact, **FEW)


def states_of(sentence: BlockByBlock):
    return [state for block in sentence.blocks for state in block.states]


@pytest.mark.numbers
def test_its_blocks_are_taken_as_they_were_decided(exact):
    """At the last step of a greedy block every mask becomes what is likeliest with guidance."""
    checkpoint = load_converted(exact)
    config = copy.deepcopy(checkpoint.config)
    config.generation.temperature = config.blocks.position_temperature = 0.0
    config.generation.max_new_tokens = 40
    checkpoint = dataclasses.replace(checkpoint, config=config)
    material = prepare(checkpoint, TWO, positions=10_000)
    t3, mask = checkpoint.networks.t3, config.t3.mask_token
    plain_rows, guided = token_distributions(t3, material, config.generation.cfg_weight)
    assert len(plain_rows) == len(guided) == material.positions
    np.testing.assert_allclose(np.exp(plain_rows).sum(-1), 1.0, rtol=1e-5)
    row = decided = 0
    for sentence in material.sentences:
        lengths = [len(block.tokens) for block in sentence.blocks]
        assert lengths == [16, 16, 8]
        np.testing.assert_array_equal(
            np.concatenate([block.tokens for block in sentence.blocks]), sentence.tokens
        )
        for block in sentence.blocks:
            masked = [(state == mask) for state in block.states]
            assert masked[0].all(), "the first of a block knows nothing of it"
            assert not (block.tokens == mask).any()
            for is_masked in masked:
                rows = guided[row : row + is_masked.sum()]
                row += len(rows)
            np.testing.assert_array_equal(rows.argmax(-1), block.tokens[masked[-1]])
            decided += len(rows)
    assert row == len(guided)
    assert decided > 6


def test_as_many_positions_as_are_wanted_of_several_blocks_and_steps(exact):
    checkpoint = load_converted(exact)
    material = prepare(checkpoint, TEXTS[:4], positions=200, spoken=8)
    assert 140 <= material.positions <= 220
    assert all(len(sentence.blocks) == 2 for sentence in material.sentences)
    masks = {(s == checkpoint.config.t3.mask_token).sum() for one in material.sentences
             for s in states_of(one)}  # fmt: skip
    assert len(masks) >= 5, "steps of all kinds"
    again = prepare(checkpoint, TEXTS[:4], positions=200, spoken=8)
    for one, other in zip(material.sentences, again.sentences, strict=True):
        for state, same in zip(states_of(one), states_of(other), strict=True):
            np.testing.assert_array_equal(state, same)


@pytest.mark.numbers
def test_exact_differs_in_nothing(reference, exact):
    found = reference.compare(exact)
    assert found.holds, as_text(found)
    assert found.writes_blocks
    assert {row.name for row in found.rows} >= {*BLOCKS_REQUIRED}
    assert "t3/logits" not in {row.name for row in found.rows}
    assert all(row.value == 0.0 for row in found.rows)


@pytest.mark.numbers
@pytest.mark.parametrize("name", ["float16", "balanced", "small"])
def test_precisions_are_within_their_bounds(reference, folder_of, name):
    recipe = RECIPES.get(name) or plain(name)
    found = reference.compare(folder_of(recipe))
    assert found.precision == name
    assert found.holds, as_text(found)
    # The prior's may be lost in the rounding of its logarithms.
    assert all(row.value > 0.0 for row in found.rows if row.name == "next token")


def negated_head(t3) -> None:
    t3.speech_head.weight = -1.5 * t3.speech_head.weight


def other_mask(t3) -> None:
    table = np.array(t3.speech_emb.weight)
    table[-1] = -table[-1]
    t3.speech_emb.weight = mx.array(table)


def shifted_positions(t3) -> None:
    table = t3.speech_pos_emb.emb if hasattr(t3.speech_pos_emb, "emb") else t3.speech_pos_emb
    table.weight = mx.roll(table.weight, 1, axis=0)


@pytest.mark.parametrize("spoil", [negated_head, other_mask, shifted_positions])
def test_damage_to_t3_fails(reference, exact, spoil, monkeypatch):
    from mlx_chatterbox.convert import verification

    def spoiled(folder, *rest):
        checkpoint = load_converted(folder, *rest)
        spoil(checkpoint.networks.t3)
        return checkpoint

    monkeypatch.setattr(verification, "load_converted", spoiled)
    failed = {row.name for row in reference.compare(exact).failures}
    assert {"next token", PRIOR} <= failed


def test_a_verification_without_its_prior_does_not_hold(converted_copy):
    rows = tuple(Measurement(name, "", 0.0, 1.0) for name in BLOCKS_REQUIRED)
    hashes = weight_hashes(converted_copy)
    whole = Verification("small", rows, 500, 75, hashes, {"mlx": "1"}, writes_blocks=True)
    assert whole.holds
    whole.save(converted_copy)
    assert Verification.load(converted_copy) == whole
    without = dataclasses.replace(whole, rows=rows[:-1])
    assert without.missing == (PRIOR,)
    assert not without.holds
    # Of a model that writes one token at a time others are required.
    assert "t3/logits" in dataclasses.replace(whole, writes_blocks=False).missing
    assert set(BLOCK_OUTPUTS) < set(BLOCKS_REQUIRED)


@pytest.fixture
def converted_copy(exact, tmp_path):
    for path in exact.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def test_the_command_verifies_and_the_card_says_so(exact, tmp_path, monkeypatch, capsys):
    from mlx_chatterbox.convert import verification

    few = dict(FEW)
    few.pop("positions")
    monkeypatch.setattr(
        verification,
        "verify",
        lambda reference, converted, **own: verify(reference, converted, **{**few, **own}),
    )
    out = tmp_path / "out"
    words = [str(exact), str(out), "--dtype", "float16", "--verify", "--positions", "60"]
    assert cli.main(words) == 0, capsys.readouterr().err
    assert "Verified: within the bounds of float16." in capsys.readouterr().out
    assert json.loads((out / FILE_NAME).read_text())["writes_blocks"] is True
    card = model_card(out, "me/flash", Verification.load(out))
    assert f"| {PRIOR} | KL, nats |" in card
    assert "Verified: within the bounds of float16." in card
