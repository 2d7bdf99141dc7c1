"""ChatTTS's text and code rows on one engine: what requests refuse, what rows keep, counters."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.doctor.small_chattts import small_chattts
from mlx_chatterbox.doctor.small_t3 import small_t3
from mlx_chatterbox.doctor.t3_repertoire import T3Repertoire
from mlx_chatterbox.errors import SettingError, TextError
from mlx_chatterbox.models.chattts.requests import CodeRow, TextRow
from mlx_chatterbox.models.chattts.sampling import ChatTTSSampling
from mlx_chatterbox.models.decoder import engine as engine_module
from mlx_chatterbox.models.decoder.cache import CAPACITY_STEP
from mlx_chatterbox.models.decoder.engine import DecodingEngine
from mlx_chatterbox.models.decoder.native_step import NativeStep
from mlx_chatterbox.parity.taps.replacing import replaced

pytestmark = pytest.mark.numbers


@pytest.fixture(scope="module")
def networks():
    return small_chattts()


def code_row(networks, length=12, limit=20, seed=0, **how) -> CodeRow:
    ids = np.random.default_rng(seed).integers(1, 600, (length, 1)).repeat(4, axis=1)
    settings = ChatTTSSampling(min_new_tokens=limit)
    return CodeRow(
        networks, ids, np.ones(length, bool), None, settings, limit, mx.random.key(seed), **how
    )


def text_row(networks, length=9, limit=20, seed=0, settings=None) -> TextRow:
    ids = np.random.default_rng(seed).integers(1, 600, length)
    settings = settings or ChatTTSSampling(0.7, min_new_tokens=limit)
    return TextRow(networks, ids, settings, limit, mx.random.key(seed))


@pytest.mark.parametrize("steps", ["c", "mlx"])
def test_hidden_states_are_those_that_the_codes_were_predicted_from(networks, steps):
    """Teacher forcing: a pass over prompt and codes gives each row the states that it kept."""
    with replaced(NativeStep, "of", classmethod(lambda cls, network: None) if steps == "mlx"
                  else NativeStep.of):  # fmt: skip
        engine = DecodingEngine()
        row = engine.join(code_row(networks))
        engine.run_until_idle()
    request, codes = row.request, np.array(row.tokens, np.int32)
    assert len(row.hidden) == len(codes) == 20
    ids = np.concatenate([request.ids, codes])
    is_text = np.arange(len(ids)) < len(request.ids)
    embedded = networks.gpt.embed_prompt(mx.array(ids)[None], mx.array(is_text)[None])
    states, _ = networks.codes.hidden_states(embedded)
    expected = np.array(states[0, len(request.ids) - 1 : -1])
    np.testing.assert_allclose(np.stack(row.hidden), expected, rtol=0, atol=2e-5)


def test_text_rows_keep_no_hidden_states(networks):
    engine = DecodingEngine()
    row = engine.join(text_row(networks))
    engine.run_until_idle()
    assert (len(row.tokens), row.hidden) == (20, [])
    assert all(isinstance(token, int) for token in row.tokens)


def test_any_codebooks_stop_ends_a_row_and_is_not_among_its_tokens(networks):
    request = code_row(networks, limit=40)
    ends = set()
    for seed in range(8):
        engine = DecodingEngine()
        settings = ChatTTSSampling(1.0, None, None)
        row = engine.join(CodeRow(networks, request.ids, request.is_text, None, settings, 400,
                                  mx.random.key(seed)))  # fmt: skip
        engine.run_until_idle()
        ends.add(row.end)
        assert len(row.hidden) == len(row.tokens)
        assert not any(625 in token for token in row.tokens)
    assert "stop" in ends


def test_the_stop_is_banned_before_the_least_number_of_draws(networks):
    engine = DecodingEngine()
    settings = ChatTTSSampling(1.0, None, None, min_new_tokens=60)
    row = engine.join(text_row(networks, limit=60, settings=settings))
    engine.run_until_idle()
    assert (row.end, len(row.tokens)) == ("limit", 60)


def test_requests_that_no_network_can_read_are_refused(networks):
    engine, room = DecodingEngine(), networks.gpt.config.max_position_embeddings
    with pytest.raises(TextError, match="the prompt has 4096 tokens"):
        engine.join(code_row(networks, length=room))
    with pytest.raises(TextError, match="the prompt has 0 tokens"):
        engine.join(text_row(networks, length=0))
    with pytest.raises(SettingError, match=f"from 1 to {room - 12}"):
        engine.join(code_row(networks, limit=room))
    with pytest.raises(SettingError, match="temperature must be a number here; got 4"):
        engine.join(text_row(networks, settings=ChatTTSSampling((1.0, 1.0, 1.0, 1.0))))
    one, three = code_row(networks), ChatTTSSampling((1.0, 1.0, 1.0))
    with pytest.raises(SettingError, match="a number, or 4 here; got 3"):
        engine.join(CodeRow(networks, one.ids, one.is_text, None, three))
    assert engine.is_idle


def test_an_engine_without_a_network_takes_no_sentence_of_t3(networks):
    t3 = small_t3("turbo")
    sentence = T3Repertoire(t3, 1, has_long=False).request(0)
    with pytest.raises(SettingError, match="an engine without a network"):
        DecodingEngine().join(sentence)
    with pytest.raises(SettingError, match="needs an engine whose network is one"):
        DecodingEngine(networks.codes).join(sentence)


def test_rows_of_three_networks_share_an_engine(networks):
    """T3's sentences, refined texts and codes are what each is alone."""
    t3 = small_t3("turbo")
    repertoire = T3Repertoire(t3, 3, has_long=False)
    others = [code_row(networks), text_row(networks)]

    def written(requests) -> list[list]:
        engine = DecodingEngine(t3, mode="invariant")
        rows = [engine.join(request) for request in requests]
        engine.run_until_idle()
        return [row.tokens for row in rows]

    requests = [repertoire.request(0), others[0], repertoire.request(1), others[1]]
    assert written(requests) == [written([request])[0] for request in requests]


def test_a_row_leaves_by_its_number(networks):
    engine = DecodingEngine(rows=1)
    first, second = (engine.join(code_row(networks, seed=seed)) for seed in (1, 2))
    engine.step()
    engine.leave(second.number)
    assert (second.state, second.end) == ("ended", "left")
    engine.leave(first.number)
    engine.step()
    assert (first.end, len(first.tokens)) == ("left", 1)
    engine.leave(7)  # nobody's


def test_a_row_that_waits_for_room_does_not_cost_a_stepper_a_step(networks, monkeypatch):
    """Weights are looked up once for each network, not at every step (red before)."""
    made, stepper_of = [], engine_module.stepper_of

    def noting(network, *how):
        made.append(network)
        return stepper_of(network, *how)

    monkeypatch.setattr(engine_module, "stepper_of", noting)
    engine = DecodingEngine(positions=CAPACITY_STEP)
    engine.join(code_row(networks))
    waiting = engine.join(text_row(networks))
    for _ in range(10):
        engine.step()
    assert waiting.state == "waiting"
    assert made == [networks.codes, networks.text]
    engine.run_until_idle()
    assert waiting.end == "limit"


@pytest.mark.parametrize("steps", ["c", "mlx", "fast"])
def test_counters(networks, steps):
    """Rows that outgrow the budget together: the later one makes room once."""
    with replaced(NativeStep, "of", classmethod(lambda cls, network: None) if steps != "c"
                  else NativeStep.of):  # fmt: skip
        mode = "fast" if steps == "fast" else "invariant"
        engine = DecodingEngine(positions=3 * CAPACITY_STEP, mode=mode, prefills=None)
        assert (engine.positions_used, engine.interruptions) == (0, 0)
        grown = CAPACITY_STEP - 10
        for seed in (1, 2):
            engine.join(code_row(networks, length=grown, seed=seed))
        engine.step()
        assert engine.positions_used == 2 * CAPACITY_STEP
        assert (len(engine.running), len(engine.waiting)) == (2, 0)
        for _ in range(12):
            engine.step()
        assert engine.positions_used == 2 * CAPACITY_STEP
        assert (len(engine.running), len(engine.waiting), engine.interruptions) == (1, 1, 1)
        engine.run_until_idle()
        assert (engine.positions_used, engine.interruptions) == (0, 1)
