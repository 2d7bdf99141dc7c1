"""Flash's decoding in NumPy reproduces what upstream's own package recorded."""

from __future__ import annotations

import numpy as np
import pytest

from mlx_chatterbox.parity.numpy import flash
from tests.flash_reference import MASK, RUNS, recorded, reference

STOP = 6562


def rules(tag: str, **changes) -> flash.Rules:
    names = {"num_steps": "steps", "time_shift_tau": "tau", "cfg_scale": "weight"}
    settings = {names[name]: value for name, value in RUNS[tag].items() if name in names}
    settings = {"tau": 0.1, "stop": STOP, "prior": reference()["flash/prior"], **settings}
    return flash.Rules(MASK, **{**settings, **changes})


@pytest.mark.parametrize(("length", "steps"), [(12, 10), (16, 10), (16, 4), (32, 10)])
def test_schedule(length, steps):
    expected = reference()[f"flash/schedule_{length}_{steps}"]
    assert np.array_equal(flash.schedule(length, steps, 0.5), expected)


def test_even_schedule():
    expected = reference()["flash/schedule_16_10_even"]
    assert np.array_equal(flash.schedule(16, 10, 0.0), expected)


def test_candidates_and_scores_of_a_block():
    logits, prior = reference()["flash/block0_logits"], reference()["flash/prior"]
    likely = flash.guided(logits, 1.0)
    tokens = likely.argmax(axis=-1)
    assert np.array_equal(tokens, reference()["flash/block0_argmax"])
    assert np.abs(likely.max(axis=-1) - reference()["flash/block0_guided_max"]).max() < 1e-5
    for row, name in enumerate(("cond", "uncond")):
        own = flash.pmi(logits[row], tokens, prior)
        assert np.abs(own - reference()[f"flash/block0_pmi_{name}"]).max() < 1e-5
    scores = flash.scores(logits, tokens, rules("greedy"))
    assert np.abs(scores - reference()["flash/block0_pmi"]).max() < 2e-5


def test_a_draw_is_the_likeliest_after_noise():
    noise = np.random.default_rng(1234).random((16, 8194), dtype=np.float32).astype(np.float64)
    likely = flash.guided(reference()["flash/block0_logits"], 1.0) / 0.6 - np.log(-np.log(noise))
    top = np.sort(likely, axis=-1)
    assert np.array_equal(likely.argmax(axis=-1), reference()["flash/block0_gumbel_tokens"])
    gaps = reference()["flash/block0_gumbel_gap"]
    assert np.abs(top[:, -1] - top[:, -2] - gaps).max() < 1e-3


def replayed(tag: str, exact: bool) -> tuple[np.ndarray, list[flash.Step]]:
    """Decode with what upstream's network predicted: candidates and scores are read off."""
    steps = {tuple(pair): i for i, pair in enumerate(recorded(tag, "steps").tolist())}
    stop = int(recorded("stop", "stop_token")[0]) if tag == "stop" else STOP
    own = rules(tag, stop=stop, exact=exact)
    now = [(0, -1)]

    def predict(blocks: list[np.ndarray]) -> np.ndarray:
        block, tokens = len(blocks) - 1, blocks[-1]
        previous, k = now[0]
        now[0] = (block, k + 1 if block == previous else 0)
        i = steps[now[0]]
        assert np.array_equal(tokens, recorded(tag, "before")[i][: len(tokens)])
        # Without guidance and with a flat prior a token's score is a probability's logarithm.
        candidates = recorded(tag, "candidates")[i][: len(tokens)]
        shares = np.exp(recorded(tag, "pmi")[i][: len(tokens)].astype(np.float64) - 12)
        logits = np.full((1, len(tokens), 8194), -60.0)
        rest = np.log((1 - shares) / 8193)
        logits[0] = rest[:, None]
        logits[0, np.arange(len(tokens)), candidates] = np.log(shares)
        return logits

    def noise(block: int, k: int) -> np.ndarray:
        uniform = recorded(tag, "position_uniform")[steps[block, k]]
        return flash.gumbel(uniform[: lengths[block]].astype(np.float64))

    lengths = [16, 16, 16, 12]
    own = flash.Rules(**{**vars(own), "prior": np.full(8194, np.exp(-12.0)), "weight": 0.0})
    drawn = noise if tag == "noise" else None
    return flash.decode(predict, lengths, own, position_noise=drawn)


@pytest.mark.parametrize("tag", ["greedy", "noise", "stop"])
def test_every_step_of_a_run(tag):
    """Selection, counts and ends, with upstream's candidates and scores."""
    tokens, steps = replayed(tag, exact=True)
    assert [[step.block, step.number] for step in steps] == recorded(tag, "steps").tolist()
    for i, step in enumerate(steps):
        length = len(step.after)
        assert np.array_equal(step.candidates, recorded(tag, "candidates")[i][:length])
        assert np.array_equal(step.after, recorded(tag, "after")[i][:length])
        assert np.abs(step.scores - recorded(tag, "pmi")[i][:length]).max() < 1e-5
    assert np.array_equal(tokens, recorded(tag, "tokens"))


def test_upstream_loses_what_is_masked_before_a_stop_token():
    tokens, _ = replayed("stop", exact=True)
    assert (tokens == MASK).sum() == 10
    # A block that goes on asks for a step that upstream did not make.
    with pytest.raises(KeyError, match=r"\(1, 3\)"):
        replayed("stop", exact=False)


@pytest.mark.parametrize("block_seed", range(3))
def test_a_block_goes_on_until_all_before_its_stop_token_is_decided(block_seed):
    random = np.random.default_rng(block_seed)
    logits = random.standard_normal((1, 16, 30))
    logits[:, :, 5] = -20.0
    logits[:, 9, 5] = 20.0  # certain, so that it is decided first
    own = flash.Rules(mask=30, stop=5, prior=np.full(30, 1 / 30), exact=True)
    lost, short = flash.decode(lambda *_: logits, [16], own)
    assert len(lost) == 9
    assert len(short) == 1
    assert (lost == 30).all()
    whole, steps = flash.decode(
        lambda *_: logits, [16], flash.Rules(**{**vars(own), "exact": False})
    )
    assert 30 not in whole
    assert 1 < len(steps) <= 10
    everything, _ = flash.decode(lambda *_: logits, [16], flash.Rules(**{**vars(own), "stop": -1}))
    assert np.array_equal(whole, everything[: len(whole)])
