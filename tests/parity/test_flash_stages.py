"""Stages of Flash: ours against NumPy, planted faults, and inputs that are refused."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from mlx_chatterbox.models.decoder.llama import rotary_wavelengths
from mlx_chatterbox.models.t3.config import T3Config
from mlx_chatterbox.models.t3.t3 import T3
from mlx_chatterbox.parity import stages
from mlx_chatterbox.parity.commands.unused import say_unused
from mlx_chatterbox.parity.compare import compare
from mlx_chatterbox.parity.errors import ParityError
from mlx_chatterbox.parity.fabricate.checkpoint import fabricate
from mlx_chatterbox.parity.fabricate.small import SMALL_SIZES
from mlx_chatterbox.parity.faults.fault import Patches
from mlx_chatterbox.parity.faults.flash import FAULTS
from mlx_chatterbox.parity.inputs.make import make_inputs
from mlx_chatterbox.parity.mlx.backend import compute, compute_with
from mlx_chatterbox.parity.numpy import backend as numpy_backend
from mlx_chatterbox.parity.numpy import flash, flash_network
from mlx_chatterbox.parity.numpy.flash_steps import PADDING, decided_counts, recorded_steps
from mlx_chatterbox.parity.numpy.networks import networks_of
from mlx_chatterbox.parity.tables.flash import FLASH_STAGES
from mlx_chatterbox.parity.tables.stage import FLASH
from tests.models.small_flash import BLOCK, TEXTS, NumpyFlash, small_flash
from tests.small import small_config

pytestmark = pytest.mark.numbers
# Blocks of the recorded run.
LENGTHS = [16, 16, 5]


@pytest.fixture(scope="module")
def networks():
    return SimpleNamespace(t3=small_flash())


@pytest.fixture(scope="module")
def network(networks):
    return NumpyFlash(networks.t3)


UNIFORM = np.random.default_rng(6).random((3, 10, 16), dtype=np.float32)


@pytest.fixture(scope="module")
def runs(network):
    """Tokens and steps of NumPy, without noise and with it."""
    noise = flash.gumbel(UNIFORM.astype(np.float64))
    kinds = {"greedy": None, "noise": noise}
    return {
        name: network.decode(LENGTHS, tau=stages.FLASH_TIME_SHIFT, noise=of_positions)
        for name, of_positions in kinds.items()
    }


def recorded(steps, what: str, padding: float = -1) -> np.ndarray:
    """Arrays (T,) of steps as (S, D)."""
    rows = np.full((len(steps), LENGTHS[0]), padding)
    for row, step in zip(rows, steps, strict=True):
        row[: len(step.before)] = getattr(step, what)
    return rows


def numbers(steps) -> np.ndarray:
    return np.array([[step.block, step.number] for step in steps])


@pytest.fixture(scope="module")
def inputs(networks, runs):
    """A dump's inputs; the steps are those of NumPy."""
    mask = networks.t3.config.mask_token
    random = np.random.default_rng(4)
    half, whole, next_half = (random.integers(0, mask, BLOCK) for _ in range(3))
    half[::2] = next_half[1::3] = mask
    greedy, noisy = (runs[name][1] for name in ("greedy", "noise"))
    uniform = np.array([UNIFORM[step.block, step.number] for step in noisy])
    return {
        "flash/speaker_emb": np.full((1, 256), 1 / 16, np.float32),
        "flash/cond_prompt_tokens": np.arange(20),
        "flash/emotion": np.array([0.5], np.float32),
        "flash/text_tokens": np.array(TEXTS[0]),
        "flash/block0_tokens": half,
        "flash/block0_final_tokens": whole,
        "flash/block1_tokens": next_half,
        "flash/greedy/before": recorded(greedy, "before").astype(np.int64),
        "flash/greedy/steps": numbers(greedy),
        "flash/noise/before": recorded(noisy, "before").astype(np.int64),
        "flash/noise/steps": numbers(noisy),
        "flash/noise/position_uniform": uniform,
    }


@pytest.fixture(scope="module")
def expected(network, inputs, runs):
    """The same from NumPy."""
    half, whole, next_half = (
        inputs[f"flash/{name}"]
        for name in ("block0_tokens", "block0_final_tokens", "block1_tokens")
    )
    prior, logits = network.prior(), network.predict([half])
    tokens = flash.guided(logits, 1.0).argmax(axis=-1)
    with_text, without = (flash.pmi(row, tokens, prior) for row in logits)
    greedy, steps = runs["greedy"]
    noisy, noisy_steps = runs["noise"]
    results = {
        "flash/prior": prior,
        "flash/prior_32": network.prior(32),
        "flash/block0_logits": logits,
        "flash/block0_pmi_cond": with_text,
        "flash/block0_pmi_uncond": without,
        "flash/block0_pmi": 2 * with_text - without,
        "flash/block1_logits": network.predict([whole, next_half]),
        "flash/greedy/pmi": recorded(steps, "scores", 0.0),
    }
    results = {name: value.astype(np.float32) for name, value in results.items()}
    integers = {
        "flash/greedy/candidates": recorded(steps, "candidates"),
        "flash/greedy/after": recorded(steps, "after"),
        "flash/greedy/tokens": greedy,
        "flash/noise/tokens": noisy,
        "flash/noise/after": recorded(noisy_steps, "after"),
    }
    return results | {name: value.astype(np.int32) for name, value in integers.items()}


def test_every_output_is_numpys(networks, network, inputs, expected):
    results = compute_with(networks, inputs)
    outputs = {output.name for stage in FLASH_STAGES for output in stage.outputs}
    assert set(results) == outputs | {"t3/cond_emb"}
    comparison = compare(expected, results)
    assert len(comparison.rows) == len(expected)
    assert comparison.holds, [row for row in comparison.rows if not row.holds]
    # What the logits follow from.
    head = network.weights["speech_head.weight"].T
    first = results["flash/prefix_shift"].astype(np.float64) @ head
    assert np.abs(first - results["flash/block0_logits"][:, 0]).max() < 1e-3
    hidden = results["flash/block0_hidden"][:, :-1].astype(np.float64) @ head
    assert np.abs(hidden - results["flash/block0_logits"][:, 1:]).max() < 1e-3
    first = results["flash/block1_shift"].astype(np.float64) @ head
    assert np.abs(first - results["flash/block1_logits"][:, 0]).max() < 1e-3


def forget(t3) -> None:
    """Forget the priors, and the pass that was compiled, which keep a fault that was planted."""
    t3.block_priors = t3.compiled_pass = None


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_planted_faults_show(networks, inputs, expected, fault):
    forget(networks.t3)
    with ExitStack() as stack:
        fault.code(Patches(stack))
        comparison = compare(expected, compute_with(networks, inputs))
    wrong = {row.stage for row in comparison.rows if not row.holds}
    # A run from the beginning may come to other tokens by it.
    assert wrong - {"flash_greedy", "flash_noise"} == set(fault.stages)
    forget(networks.t3)
    assert compare(expected, compute_with(networks, inputs)).holds


def test_the_stage_in_numpy_is_ours(tmp_path, small_models):
    """From upstream's files, voice and all, against the network that was converted from them."""
    config = small_config("flash")
    folder = fabricate(tmp_path / "upstream", variant="flash", config=config)
    inputs = make_inputs(config, seed=3, sizes=SMALL_SIZES)
    inputs = {name: value for name, value in inputs.items() if name.startswith("flash/")}
    by_numpy = numpy_backend.compute(inputs, networks_of(folder, config, "flash"))
    comparison = compare(by_numpy, compute(small_models("flash"), inputs))
    assert len(comparison.rows) == 11
    assert comparison.holds, [row for row in comparison.rows if not row.holds]


def test_made_up_masks_that_no_schedule_has_decide_nothing(networks, inputs, expected):
    """Candidates and scores are those of the tokens; which are decided is not known."""
    before = inputs["flash/greedy/before"].copy()
    before[0, 0] = 3
    results = compute_with(networks, {**inputs, "flash/greedy/before": before}, ["flash_steps"])
    assert set(results) == {"flash/greedy/candidates", "flash/greedy/pmi"}
    # The first block's second step, and those after, are as they were.
    pairs = (results["flash/greedy/pmi"][1:9], expected["flash/greedy/pmi"][1:9])
    assert np.abs(pairs[0] - pairs[1]).max() < 1e-4


@pytest.mark.parametrize(("steps", "tau"), [(4, 0.1), (8, 0.1), (10, 0.1), (13, 0.1)])
def test_the_number_of_steps_is_read_off_the_masks(steps, tau):
    """Of a whole block and a short one, and of the beginning of a run that stopped."""
    rows, numbers = [], []
    for block, length in enumerate((32, 9)):
        left = length
        for step, count in enumerate(decided_counts(length, steps, 0.5, tau)):
            tokens = np.where(np.arange(32) < length, 5, PADDING)
            tokens[:left] = 53
            rows.append(tokens)
            numbers.append((block, step))
            left -= count
    for end in (len(rows), 5 if steps == 10 else len(rows)):
        given = {"flash/a/before": np.array(rows[:end]), "flash/a/steps": np.array(numbers[:end])}
        recorded = recorded_steps(given, "a", 53)
        assert (recorded.num_steps, recorded.is_scheduled) == (steps, True)
    assert recorded_steps(given, "a", 53).lengths[0] == 32


def refused(networks, inputs, match: str, **changes) -> None:
    changed = {f"flash/{name}": np.array(value) for name, value in changes.items()}
    with pytest.raises(ParityError, match=match):
        compute_with(networks, {**inputs, **changed})


def test_inputs_that_are_refused(networks, inputs):
    refused(networks, inputs, "block0_tokens", block0_tokens=[54] * 8)
    refused(networks, inputs, "block1_tokens", block1_tokens=np.zeros((2, 8), np.int32))
    refused(networks, inputs, "block1_tokens", block1_tokens=np.zeros(0, np.int32))
    refused(networks, inputs, "text_tokens", text_tokens=[38, 40, 0])
    steps, before = inputs["flash/greedy/steps"], inputs["flash/greedy/before"]
    refused(networks, inputs, "shapes", **{"greedy/steps": steps[1:]})
    refused(networks, inputs, "block to block", **{"greedy/steps": steps[::-1]})
    refused(networks, inputs, "greedy/before", **{"greedy/before": before + 40})
    plain = T3(replace(networks.t3.config, has_mask=False))
    refused(SimpleNamespace(t3=plain), inputs, "checkpoint of Flash")


def test_dump_says_which_inputs_it_does_not_use(inputs, capsys):
    table = stages.stages_of(FLASH)
    say_unused(inputs, table, "in")
    assert capsys.readouterr().err == ""
    short = {name: value for name, value in inputs.items() if name != "flash/greedy/steps"}
    say_unused(short, table, "in")
    printed = capsys.readouterr().err
    for stage in ("flash_steps", "flash_greedy"):
        assert f"in: {stage} is left out, since flash/greedy/steps" in printed


def test_the_network_in_numpy_sees_whole_blocks():
    seen = flash_network.block_seen(2, [3, 1])
    assert seen.astype(int).tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1],
    ]
    frequencies = flash_network.frequencies(64, flash_network.FlashSizes())
    assert np.allclose(1 / frequencies, np.array(rotary_wavelengths(T3Config())), rtol=1e-5)
