"""Flash's decoder against the same network and rules in NumPy, and what decoding promises."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_chatterbox.errors import CheckpointError, SettingError, TextError
from mlx_chatterbox.models.decoder.engine import DecodingEngine
from mlx_chatterbox.models.flash.cache import BlockCache
from mlx_chatterbox.models.flash.decoding import decode, decode_together
from mlx_chatterbox.models.flash.draws import KeyedDraws, keys_of
from mlx_chatterbox.models.flash.prior import PriorMemory
from mlx_chatterbox.models.flash.requests import FlashRequest
from mlx_chatterbox.models.flash.scores import position_noise, propose, select
from mlx_chatterbox.models.flash.sentences import token_limit
from mlx_chatterbox.models.flash.steppers import BlocksStepper
from mlx_chatterbox.models.flash.writer import BlockWriter
from mlx_chatterbox.models.t3.config import T3Config
from mlx_chatterbox.models.t3.requests import RowRequest
from mlx_chatterbox.models.t3.sampling import SamplingSettings
from mlx_chatterbox.models.t3.t3 import T3
from mlx_chatterbox.parity.numpy import flash
from mlx_chatterbox.runtime import device, native

from .small_flash import BLOCK, TEXTS, NumpyFlash, conditioning, request, small_flash

pytestmark = pytest.mark.numbers


@pytest.fixture(scope="module")
def t3():
    return small_flash()


@pytest.fixture(params=["c", "mlx", "gpu"])
def maker(request, monkeypatch):
    """What makes the passes: this package's C, MLX, or MLX as on a GPU."""
    if request.param == "gpu":
        with device.pretend("gpu"):
            yield
        return
    if request.param == "mlx":
        monkeypatch.setattr(BlockWriter, "_in_c", lambda self: None)
    elif not native.takes():
        pytest.skip("nothing was compiled here, or it is not for this device")
    yield


def written(t3: T3, one: FlashRequest) -> list[int]:
    return [token for block in decode(t3, one) for token in block]


def relative(got, expected: np.ndarray) -> float:
    difference = np.array(got).astype(np.float64) - expected
    return float(np.linalg.norm(difference) / np.linalg.norm(expected))


# --- Against NumPy -------------------------------------------------------------------------------


@pytest.mark.usefixtures("maker")
@pytest.mark.parametrize("text", TEXTS)
def test_passes_over_blocks(t3, text):
    """A prefix, a block half decided, the block committed, and one after it that is shorter."""
    network, writer = NumpyFlash(t3, text), BlockWriter(t3)
    past = t3.conditioning_cache(conditioning(t3))
    before, past = writer.prefill(past, mx.array(text), True)
    cache = BlockCache(past)
    random = np.random.default_rng(3)
    first, second = random.integers(0, 54, BLOCK), random.integers(0, 54, 5)
    cache.make_room_for(BLOCK)
    for _ in range(2):
        # What was tried before leaves no trace.
        draft = np.where(random.random(BLOCK) < 0.5, first, 53)
        (hidden,) = writer.run([mx.array(draft)], [cache], BLOCK)
        assert relative(writer.logits(before, hidden), network.predict([draft])) < 1e-5
    (hidden,) = writer.run([mx.array(first)], [cache], BLOCK)
    cache.commit(BLOCK)
    before = hidden[:, -1]
    cache.make_room_for(BLOCK)
    (hidden,) = writer.run([mx.array(second)], [cache], BLOCK)
    assert relative(writer.logits(before, hidden), network.predict([first, second])) < 1e-5


@pytest.mark.parametrize("bits", [None, 8])
def test_the_row_without_text_needs_its_start_token_alone(bits):
    """All before it is zero, in keys and values as well, whatever the kind of the weights."""
    t3 = small_flash()
    if bits is not None:
        nn.quantize(t3.tfmr, group_size=32, bits=bits)
    text, voice = mx.array(TEXTS[0]), conditioning(t3)
    hidden, past = BlockWriter(t3).prefill(t3.conditioning_cache(voice), text, True)
    start = t3.embed_speech(mx.array([[t3.config.start_speech_token]]), 0)
    before = mx.zeros((1, past.length - 1, start.shape[-1]))
    expected, whole = t3.hidden_states(mx.concatenate([before, start], axis=1))
    assert relative(hidden[1], np.array(expected[0, -1]).astype(np.float64)) < 1e-5
    for own, all_of_it in ((past.keys, whole.keys), (past.values, whole.values)):
        for layer, full in zip(own, all_of_it, strict=True):
            # A masked position weighs less than rounding, which norms enlarge; not always nothing.
            assert mx.abs(full[:, :, :-1]).max() < 1e-7
            assert not mx.any(layer[1, :, :-1])
            assert relative(layer[1, :, -1], np.array(full[0, :, -1]).astype(np.float64)) < 1e-5
    assert len(written(t3, request(t3))) == 20


@pytest.mark.parametrize("size", [BLOCK, 13])
def test_prior(t3, size):
    assert relative(mx.exp(BlockWriter(t3).log_prior(size)), NumpyFlash(t3).prior(size)) < 1e-5


# Settings of ours, and rules of NumPy's.
CASES = {
    "usual": ({}, {}),
    "no early decoding": ({"time_shift_tau": 0.0}, {"tau": 0.0}),
    "more steps than positions": (
        {"num_steps": 11, "time_shift_tau": 0.0},
        {"steps": 11, "tau": 0.0},
    ),
    "even": ({"schedule_t_shift": 0, "num_steps": 3}, {"shift": 0, "steps": 3}),
    "guided more": ({"cfg_scale": 2.5}, {"weight": 2.5}),
    "prior of the block": ({"prior_precompute": False}, {"prior": None}),
    "without guidance": ({"cfg_scale": 0}, {"weight": 0.0}),
    "neither": ({"cfg_scale": 0, "prior_precompute": False}, {"weight": 0.0, "prior": None}),
}


@pytest.mark.usefixtures("maker")
@pytest.mark.parametrize("case", CASES)
def test_greedy_tokens(t3, case):
    settings, rules = CASES[case]
    steps: list = []
    one = request(t3, tokens=21, on_step=steps.append, **settings)
    network = NumpyFlash(t3, rows=one.sampling.rows)
    expected, all_steps = network.decode([8, 8, 5], **rules)
    assert written(t3, one) == expected.tolist()
    # A step that decides nothing is left out.
    deciding = [step for step in all_steps if not np.array_equal(step.before, step.after)]
    assert [(s.block, s.step) for s in steps] == [(s.block, s.number) for s in deciding]
    for step, reference in zip(steps, deciding, strict=True):
        assert np.array_equal(step.before, reference.before)
        assert np.array_equal(step.after, reference.after)
        assert step.scores.dtype == np.float32
        assert np.abs(step.scores - reference.scores).max() < 1e-3


def test_the_first_blocks_calibration_stays_where_upstream_keeps_it(t3):
    settings = {"cfg_scale": 0, "prior_precompute": False, "upstream_exact": True}
    steps: list = []
    exact = written(t3, request(t3, tokens=24, on_step=steps.append, **settings))
    network = NumpyFlash(t3, rows=1)
    masks = np.full(BLOCK, t3.config.mask_token)
    prior = flash.marginal(network.predict([masks])[0])
    expected, _ = network.decode([8, 8, 8], weight=0.0, prior=prior)
    assert exact == expected.tolist()
    own = written(t3, request(t3, tokens=24, **{**settings, "upstream_exact": False}))
    assert own != exact


def test_a_draw_and_its_score():
    random = np.random.default_rng(0)
    logits = 3 * random.standard_normal((2, 6, 40)).astype(np.float32)
    prior = flash.marginal(random.standard_normal((5, 40)))
    noise = random.gumbel(size=(6, 40)).astype(np.float32)
    drawn = propose(mx.array(logits), mx.log(mx.array(prior)), 1.5, 0.7, mx.array(noise))
    rules = flash.Rules(mask=40, stop=-1, weight=1.5, prior=prior)
    tokens = (flash.guided(logits, 1.5) / 0.7 + noise).argmax(axis=-1)
    assert drawn.tokens.tolist() == tokens.tolist()
    assert np.abs(np.array(drawn.scores) - flash.scores(logits, tokens, rules)).max() < 1e-4
    # Shares below a floor count as much as it.
    rare = np.full((1, 1, 3), 0, dtype=np.float32)
    rare[0, 0, 0] = 60
    flat = propose(mx.array(rare), mx.log(mx.array([1e-30, 0.5, 0.5])), 0, 0)
    assert flat.scores.item() == pytest.approx(-np.log(1e-8))
    uniform = random.random(9, dtype=np.float32)
    noises = np.array(position_noise(mx.array(uniform)))
    assert np.abs(noises - flash.gumbel(uniform.astype(np.float64))).max() < 1e-4
    assert np.isfinite(np.array(position_noise(mx.array([0.0, 1.0])))).all()


def test_selection_takes_the_first_of_equals():
    scores = mx.array([1.0, 3.0, 3.0, 3.0, -mx.inf, 9.0])
    masked = mx.array([True, True, True, True, True, False])
    assert select(scores, masked, 2).tolist() == [False, True, True, False, False, False]
    assert select(scores, masked, 9).tolist() == masked.tolist()
    assert not select(scores, masked, 0).any()


# --- Ends ----------------------------------------------------------------------------------------


def stopping(t3: T3, token: int) -> T3:
    """The same weights, with another token as the one that ends a sentence."""
    other = T3(replace(t3.config, stop_speech_token=token))
    other.update(t3.parameters())
    return other


@pytest.fixture(scope="module")
def early_stop(t3):
    """A network that decides its stop token before others in front of it; its tokens without."""
    steps: list = []
    tokens = written(t3, request(t3, tokens=40, on_step=steps.append))
    mask = t3.config.mask_token
    for step in steps:
        for place in np.flatnonzero(step.before != step.after):
            token = int(step.after[place])
            if step.block and mask in step.after[:place] and token not in tokens[: 8 * step.block]:
                return stopping(t3, token), tokens
    raise AssertionError("no token is decided before one in front of it")


def test_what_is_masked_before_a_stop_token_is_decided(early_stop):
    t3, unstopped = early_stop
    config, row = t3.config, None
    for finished in decode_together(t3, [request(t3, tokens=40)]):
        row = finished[-1][0]
    tokens = written(t3, request(t3, tokens=40))
    assert row.end == "stop"
    assert config.mask_token not in tokens
    assert config.stop_speech_token not in tokens
    # As many as there are before the first of them, where nothing ends a block.
    assert tokens == unstopped[: unstopped.index(config.stop_speech_token)]
    expected, _ = NumpyFlash(t3).decode([8] * 5, stop=config.stop_speech_token)
    assert tokens == expected.tolist()


def test_no_pass_is_made_after_a_stop_token(early_stop):
    """Upstream makes one more over the block; on a GPU it is queued before the stop is read."""
    steps: list = []
    engine, passes = DecodingEngine(early_stop[0]), 0
    with device.pretend("cpu"):
        row = engine.join(request(early_stop[0], tokens=40, on_step=steps.append))
        while not engine.is_idle:
            engine.step()
            passes += 1
    assert row.end == "stop"
    # One a step, and one over each whole block before the last.
    assert passes == len(steps) + steps[-1].block
    stop = early_stop[0].config.stop_speech_token
    last = steps[-1].after.tolist()
    assert early_stop[0].config.mask_token not in last[: last.index(stop)]


def test_upstream_loses_what_is_masked_before_a_stop_token(early_stop):
    t3, _ = early_stop
    stop = t3.config.stop_speech_token
    tokens = written(t3, request(t3, tokens=40, upstream_exact=True))
    expected, _ = NumpyFlash(t3).decode([8] * 5, stop=stop, exact=True)
    assert tokens == expected.tolist()
    assert t3.config.mask_token in tokens


def test_looking_once_a_block_changes_nothing(t3, early_stop, monkeypatch):
    """As on a GPU, where steps after the stop token are made in vain."""
    networks = [(t3, 24), (early_stop[0], 40)]
    settings = {"temperature": 1.0, "position_temperature": 1.0}

    def both() -> list:
        return [
            written(network, request(network, tokens=count, **chosen))
            for network, count in networks
            for chosen in ({}, settings)
        ]

    often = both()
    monkeypatch.setattr(BlocksStepper, "looks_often", lambda stepper, row: False)
    assert both() == often


def test_limits(t3):
    assert [token_limit(n) for n in (2, 50, 51)] == [300, 300, 306]
    assert request(t3, tokens=None).max_new_tokens == 300
    for count in (1, BLOCK, BLOCK + 1):
        assert len(written(t3, request(t3, tokens=count))) == count
    row = None
    for finished in decode_together(t3, [request(t3, tokens=2 * BLOCK + 3)]):
        row = finished[0][0]
    assert row.end == "limit"
    # The table's steps, and one more for each block but the last.
    steps: list = []
    written(t3, request(t3, tokens=2 * BLOCK + 3, on_step=steps.append))
    engine, passes = DecodingEngine(t3), 0
    engine.join(request(t3, tokens=2 * BLOCK + 3))
    while not engine.is_idle:
        engine.step()
        passes += 1
    assert passes == len(steps) + 2


def test_a_callback_ends_a_sentence(t3):
    whole = written(t3, request(t3, tokens=24))
    seen: list = []

    def watch(token: int) -> bool:
        seen.append(token)
        return len(seen) == 11

    (*_, last) = decode_together(t3, [request(t3, tokens=24, on_token=watch)])
    assert last[0][0].end == "watch"
    assert seen == whole[:11]


# --- Draws and company ---------------------------------------------------------------------------

DRAWN = {"temperature": 1.0, "position_temperature": 1.0}


def drawn(t3: T3, seed: int = 1, **settings) -> list[int]:
    return written(t3, request(t3, key=mx.random.key(seed), **{**DRAWN, **settings}))


def test_the_same_seed_gives_the_same_tokens(t3):
    assert drawn(t3) == drawn(t3)
    assert drawn(t3) != drawn(t3, 2)
    # The limit changes the blocks that it cuts, and none before.
    assert drawn(t3, tokens=16) == drawn(t3, tokens=50)[:16]


def test_draws_of_a_position_do_not_depend_on_others():
    draws = KeyedDraws(keys_of(mx.random.key(4), 3, 3))
    noise, places = np.array(draws.tokens(2, 1, 8, 30)), np.array(draws.positions(2, 1, 8))
    assert np.array_equal(np.array(draws.tokens(2, 1, 5, 30)), noise[:5])
    assert np.array_equal(np.array(draws.positions(2, 1, 5)), places[:5])
    others = [draws.tokens(2, 2, 8, 30), draws.tokens(1, 1, 8, 30), draws.tokens(1, 2, 8, 30)]
    values = np.concatenate([noise.ravel(), *(np.array(other).ravel() for other in others)])
    assert len(np.unique(values)) > 0.99 * len(values)
    # Euler's constant, and pi squared over six.
    many = np.array(draws.tokens(0, 0, 16, 4000))
    assert many.mean() == pytest.approx(0.5772, abs=0.03)
    assert many.var() == pytest.approx(np.pi**2 / 6, rel=0.05)


class FixedDraws:
    """Noise that was recorded."""

    def __init__(self, uniform: np.ndarray):
        self.uniform = uniform

    def tokens(self, block: int, step: int, positions: int, vocabulary: int) -> mx.array:
        raise AssertionError("no token is drawn")

    def positions(self, block: int, step: int, positions: int) -> mx.array:
        return mx.array(self.uniform[block, step, :positions])


def test_noise_of_positions_has_its_size(t3):
    uniform = np.random.default_rng(2).random((3, 10, BLOCK), dtype=np.float32)

    def tokens(size: float, exact: bool = False) -> list[int]:
        settings = {"position_temperature": size, "upstream_exact": exact}
        return written(t3, request(t3, draws=FixedDraws(uniform), **settings))

    expected = {}
    for size in (1e-3, 1.0, 30.0):
        noise = size * flash.gumbel(uniform.astype(np.float64))
        expected[size], _ = NumpyFlash(t3).decode([8, 8, 4], noise=noise)
        assert tokens(size) == expected[size].tolist()
    assert len({tuple(one) for one in expected.values()}) == 3
    assert tokens(1e-3) == written(t3, request(t3))
    # Upstream's 0.1.0 knows one size.
    assert tokens(1e-3, True) == tokens(30.0, True) == tokens(1.0)


@pytest.mark.usefixtures("maker")
def test_sentences_of_different_lengths_share_passes(t3):
    """Each has the tokens that it has alone: what it sees is its own."""
    limits = [20, 37, 11]
    requests = [request(t3, text, n) for text, n in zip(TEXTS, limits, strict=True)]
    results: dict = {}
    for finished in decode_together(t3, requests):
        for row, tokens in finished:
            results.setdefault(id(row.request), []).extend(tokens)
    for one, text, lengths in zip(
        requests, TEXTS, ([8, 8, 4], [8, 8, 8, 8, 5], [8, 3]), strict=True
    ):
        expected, _ = NumpyFlash(t3, text).decode(lengths)
        assert results[id(one)] == expected.tolist() == written(t3, one)


@pytest.mark.usefixtures("maker")
def test_sentences_that_take_turns_are_what_they_are_alone(t3):
    """To the bit, since each has a pass of its own."""
    requests = [request(t3, text, 20, key=mx.random.key(9), **DRAWN) for text in TEXTS]
    together: list[list] = [[] for _ in requests]
    watched = [
        replace(one, on_step=own.append) for one, own in zip(requests, together, strict=True)
    ]
    for _ in decode_together(t3, watched, mode="invariant"):
        pass
    for one, own in zip(requests, together, strict=True):
        alone: list = []
        for _ in decode_together(t3, [replace(one, on_step=alone.append)], mode="invariant"):
            pass
        assert len(alone) == len(own)
        for a, b in zip(alone, own, strict=True):
            assert np.array_equal(a.scores, b.scores)
            assert np.array_equal(a.after, b.after)


@pytest.mark.usefixtures("maker")
def test_blocks_of_several_sizes_share_a_call(t3):
    requests = [request(t3, tokens=20, block_size=size) for size in (BLOCK, 5)]
    results: dict = {}
    for finished in decode_together(t3, requests):
        for row, tokens in finished:
            results.setdefault(row.request.block_size, []).extend(tokens)
    assert results[BLOCK] == written(t3, request(t3))
    expected, _ = NumpyFlash(t3).decode([5] * 4)
    assert results[5] == expected.tolist()


# --- Prior, types, refusals ----------------------------------------------------------------------


def test_a_prior_is_kept_until_weights_change():
    t3, memory = small_flash(seed=8), PriorMemory()
    first = memory.log_prior(BlockWriter(t3), BLOCK)
    assert memory.log_prior(BlockWriter(t3), BLOCK) is first
    assert memory.log_prior(BlockWriter(t3), 5) is not first
    assert memory.log_prior(BlockWriter(t3), BLOCK) is first
    t3.speech_head.weight = t3.speech_head.weight * 2
    other = memory.log_prior(BlockWriter(t3), BLOCK)
    assert relative(mx.exp(other), NumpyFlash(t3).prior()) < 1e-5
    t3.speech_head.weight *= 2  # in place
    assert relative(mx.exp(memory.log_prior(BlockWriter(t3), BLOCK)), NumpyFlash(t3).prior()) < 1e-5


def test_scores_are_float32_in_half_precision():
    t3 = small_flash()
    t3.set_dtype(mx.bfloat16)
    steps: list = []
    tokens = written(t3, request(t3, on_step=steps.append))
    assert len(tokens) == 20
    assert {step.scores.dtype.name for step in steps} == {"float32"}
    # Numbers of eight bits would be multiples of a 64th here.
    scores = 64 * np.concatenate([step.scores for step in steps])
    assert np.abs(scores - np.rint(scores)).max() > 0.1


def test_a_damaged_model_says_so():
    t3 = small_flash()
    t3.tfmr.model.norm.weight[3] = mx.nan
    with pytest.raises(CheckpointError, match="NaN"):
        written(t3, request(t3))


def test_requests_that_are_refused(t3):
    plain = T3(T3Config(**{**vars(t3.config), "has_mask": False}))
    assert plain.speech_emb.weight.shape[0] == t3.speech_emb.weight.shape[0] - 1
    with pytest.raises(SettingError, match="one token at a time"):
        written(plain, request(plain))
    autoregressive = RowRequest(
        mx.array(TEXTS[0]), conditioning(t3), SamplingSettings(), max_new_tokens=5
    )
    with pytest.raises(SettingError, match="blocks"):
        DecodingEngine(t3).join(autoregressive)
    for wrong in ({"tokens": 0}, {"tokens": 10**9}):
        with pytest.raises(SettingError, match="max_new_tokens"):
            written(t3, request(t3, **wrong))
    for size in (0, -1, 4000):
        with pytest.raises(SettingError, match="block_size"):
            written(t3, request(t3, block_size=size))
    with pytest.raises(SettingError, match="mode"):
        list(decode_together(t3, [request(t3)], mode="slow"))
    with pytest.raises(TextError, match="split it"):
        written(t3, request(t3, [38] + [1] * 80))
    with pytest.raises(TextError, match="vocabulary"):
        written(t3, request(t3, [38, 40, 0]))


def test_a_network_with_positions_of_its_own_has_no_mask():
    with pytest.raises(CheckpointError, match="has_mask"):
        T3Config(backbone="gpt2", has_mask=True)
