"""Speech of Flash beyond one text: company, streams, guards, limits, on a small model."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox import ChatterboxFlashTTS, Chunks
from mlx_chatterbox.models.decoder.engine import DecodingEngine
from mlx_chatterbox.models.flash.requests import FlashRequest
from mlx_chatterbox.models.flash.settings import FlashSampling
from mlx_chatterbox.models.flash.writer import BlockWriter
from mlx_chatterbox.models.s3gen.token_stream import vocoder_delay
from mlx_chatterbox.synthesis import synthesizer
from mlx_chatterbox.synthesis.decoding import BlockDecoding
from mlx_chatterbox.synthesis.tokens import TokenLimit, audible_tokens
from mlx_chatterbox.watermark import detect
from mlx_chatterbox.watermark.marker import DELAY_SECONDS
from tests.chosen_tokens import ChosenStepper, choose_tokens

TEXT = "Hello there."
ONCE = {"guard": False, "watermark": False, "seed": 1}
SHORT = {**ONCE, "max_new_tokens": 40}
MANY = [
    (TEXT, {}),
    ("Yes.", {"num_steps": 6, "max_new_tokens": 20}),
    ("It costs 12 kopeks.", {"cfg_scale": 0.0, "temperature": 0.8}),
    ("Thank you.", {"block_size": 8, "exaggeration": 1.2, "time_shift_tau": 1.0}),
    ("No. [pause 0.1s] Nobody knows.", {"pmi_uncond_prior_precompute": False}),
]


@pytest.fixture(scope="module")
def tts(small_models, recording):
    tts = ChatterboxFlashTTS.from_local(small_models("flash"))
    tts.prepare_conditionals(recording)
    return tts


def endless(tts, monkeypatch):
    """Have T3 decide tokens that have a sound alone, and no stop token."""
    t3 = tts.networks.t3
    head = t3.speech_head

    def without_stop(hidden):
        has_sound = mx.arange(t3.config.speech_tokens_dict_size) < t3.config.start_speech_token
        return mx.where(has_sound, head(hidden), -1e9)

    monkeypatch.setitem(t3, "speech_head", without_stop)


@pytest.mark.parametrize("invariant", [False, True])
def test_a_text_is_the_same_in_any_company(tts, voices, invariant):
    other = tts.voice_of(np.concatenate(voices[:3]))
    used = [None, other, None, other, None]
    common = {**SHORT, "n_cfm_timesteps": 1}
    own = {name: value for name, value in common.items() if name != "seed"}
    alone = [
        tts.speak(text, seed=seed, voice=voice or tts.conds, **{**own, **settings})
        for seed, ((text, settings), voice) in enumerate(zip(MANY, used, strict=True))
    ]
    texts, settings = zip(*MANY, strict=True)
    done: dict[int, list[int]] = {}

    def finished(number, waveform, outcomes):
        done[number] = [token for one in outcomes for token in one.tokens]

    together = tts.generate_batch(
        texts,
        voices=used,
        settings=settings,
        seeds=range(len(MANY)),
        finished=finished,
        batch_size=3,
        invariant=invariant,
        **own,
    )
    assert [done[number] for number in range(len(MANY))] == [one.tokens for one in alone]
    assert [len(one) for one in together] == [len(one.waveform) for one in alone]


def test_rows_for_an_engine(tts):
    request = tts.request([TEXT, "Yes."], **SHORT)
    engine = DecodingEngine(tts.networks.t3, prefills=None)
    rows = [engine.join(one) for one in tts.engine.row_requests(request)]
    engine.run_until_idle()
    expected = [list(one.tokens) for one in tts.speak([TEXT, "Yes."], **SHORT).outcomes]
    assert [audible_tokens(row.tokens, -1, 6561) for row in rows] == expected


@pytest.fixture
def passes(monkeypatch):
    """The number of sentences in each pass over blocks."""
    counts, run = [], BlockWriter.run

    def counted(self, blocks, caches, width):
        counts.append(len(blocks))
        return run(self, blocks, caches, width)

    monkeypatch.setattr(BlockWriter, "run", counted)
    return counts


def test_a_text_that_has_used_up_its_tokens_keeps_no_other_waiting(tts, monkeypatch, passes):
    """Upstream's batch goes on with rows that are over."""
    endless(tts, monkeypatch)
    monkeypatch.setattr(synthesizer, "can_run_two", lambda: False)
    limits = [{"max_new_tokens": 16}, {"max_new_tokens": 64}]
    tts.speak(TEXT, **{**ONCE, "max_new_tokens": 16})
    alone = len(passes)
    passes.clear()
    tts.generate_batch([TEXT, TEXT], settings=limits, invariant=True, **ONCE)
    assert [one.stopped for one in tts.outcomes] == [False, False]
    assert passes[:alone] == [2] * alone
    assert set(passes[alone:]) == {1}


@pytest.mark.parametrize(
    ("limit", "length", "settings", "expected"),
    [
        (TokenLimit(1000, False), 10, {}, TokenLimit(300, False)),
        (TokenLimit(1000, False), 60, {}, TokenLimit(360, False)),
        (TokenLimit(1000, False), 200, {}, TokenLimit(1000, False)),
        (TokenLimit(200, False), 10, {}, TokenLimit(200, False)),
        (TokenLimit(2000, True), 10, {}, TokenLimit(2000, True)),
        (TokenLimit(1000, False), 10, {"max_speech_tokens": 40}, TokenLimit(40, True)),
        (TokenLimit(1000, False), 10, {"max_speech_tokens": 400}, TokenLimit(300, False)),
    ],
)
def test_the_limit_of_a_text(limit, length, settings, expected):
    assert BlockDecoding(FlashSampling(), **settings).limit_of(limit, length) == expected


def test_upstreams_limit_has_no_end():
    exact = BlockDecoding(FlashSampling(upstream_exact=True))
    assert exact.limit_of(TokenLimit(1000, False), 200) == TokenLimit(1200, False)


def test_a_result_has_the_limit_of_its_longest_piece(tts, monkeypatch):
    endless(tts, monkeypatch)
    long = "all " * 30
    request = tts.request([TEXT, long])
    lengths = [pieces[0].ids.size for pieces in request.texts]
    assert lengths[0] <= 50 < lengths[1]
    assert request.limit == 6 * lengths[1]
    result = tts.speak(TEXT, guard=False, seed=1, n_cfm_timesteps=1)
    assert (result.limit, result.stopped) == (300, False)
    stream = tts.stream(TEXT, guard=False, seed=1, n_cfm_timesteps=1)
    list(stream)
    assert (stream.result.limit, stream.result.stopped) == (300, False)


def test_streamed_speech_is_the_wholes(tts):
    """Its tokens and its length; what fits one chunk to the bit."""
    for limit in (8, 120):
        settings = {**ONCE, "max_new_tokens": limit}
        whole = tts.speak(TEXT, **settings)
        stream = tts.stream(TEXT, **settings)
        chunks = list(stream)
        assert stream.result.tokens == whole.tokens
        heard = np.concatenate(chunks)
        assert len(heard) == len(whole.waveform)
        if limit == 8:
            (only,) = chunks
            np.testing.assert_array_equal(only, whole.waveform)
        else:
            assert len(chunks) > 2
            assert np.isfinite(heard).all()


class DecodedBlocks:
    """Counts the blocks that engines have delivered meanwhile."""

    def __init__(self, monkeypatch):
        self.count, step = 0, DecodingEngine.step

        def counted(engine):
            written = step(engine)
            self.count += bool(written)
            return written

        monkeypatch.setattr(DecodingEngine, "step", counted)


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("chunks", [Chunks(), Chunks(first=0.04, lookahead=0.12)])
def test_sound_comes_in_units_of_a_block(tts, monkeypatch, chunks, marked):
    endless(tts, monkeypatch)
    counts: list[int] = []
    settings = {**ONCE, "max_new_tokens": 80, "watermark": marked}
    stream = tts.stream(
        TEXT, chunks=chunks, progress=lambda what, done, total: counts.append(done), **settings
    )
    blocks = DecodedBlocks(monkeypatch)
    next(stream)
    sizes = chunks.in_tokens(DELAY_SECONDS if marked else 0.0)
    due = sizes.first + sizes.delay + vocoder_delay(tts.networks.s3gen) + sizes.lookahead
    assert counts[-1] == due
    assert blocks.count == -(-due // 16)
    list(stream)
    assert blocks.count == 5
    assert counts == list(range(1, 81))


def test_chunks_of_one_block_come_one_by_one(tts, monkeypatch):
    """All tokens of a block are there at once; no chunk waits for the next block."""
    endless(tts, monkeypatch)
    counts: list[int] = []
    small = Chunks(first=0.04, largest=0.08, context=0.4, lookahead=0.12)
    stream = tts.stream(
        TEXT, chunks=small, progress=lambda what, done, total: counts.append(done), **SHORT
    )
    at = [counts[-1] for _ in stream]
    assert sum(16 < count <= 32 for count in at) >= 4


def test_a_stream_is_marked(tts):
    settings = {"seed": 1, "guard": False, "max_new_tokens": 160}
    heard = np.concatenate(list(tts.stream(TEXT, **settings)))
    plain = np.concatenate(list(tts.stream(TEXT, watermark=False, **settings)))
    assert detect(heard, tts.sr) > 0.5 > detect(plain, tts.sr)


def test_what_loops_is_ended_and_spoken_again(tts, monkeypatch):
    """A guard sees the tokens of a block one by one, and ends the row within it."""
    seen = []

    def tokens_of(number, request):
        seen.append(request.key)
        return [7] * 200 if len(seen) == 1 else [*range(100, 130)]

    choose_tokens(monkeypatch, tokens_of)
    monkeypatch.setattr(
        FlashRequest, "stepper", lambda self, network, mode: ChosenStepper(network, tokens_of)
    )
    result = tts.speak("Hello there, friend.", seed=1, n_cfm_timesteps=1)
    (outcome,) = result.outcomes
    assert (outcome.tries, outcome.verdict) == (2, "")
    assert result.tokens == list(range(100, 130))
    assert not np.array_equal(np.array(seen[0]), np.array(seen[1]))


def test_a_guard_ends_a_stream_within_a_block(tts, monkeypatch):
    endless(tts, monkeypatch)
    stream = tts.stream("Yes.", seed=1, n_cfm_timesteps=1, watermark=False)
    list(stream)
    (outcome,) = stream.result.outcomes
    assert outcome.verdict.startswith("no end")
    assert len(outcome.tokens) < 300
    unguarded = tts.stream("Yes.", seed=1, n_cfm_timesteps=1, watermark=False, guard=False)
    list(unguarded)
    assert unguarded.result.tokens[: len(outcome.tokens)] == list(outcome.tokens)


def test_a_start_token_is_like_others_without_a_sound(tts, monkeypatch):
    """Other models begin anew with it; a block may have one anywhere."""
    tokens = [5, 6, 6561, 7, 8194, 8, 6561, 9]
    monkeypatch.setattr(
        FlashRequest,
        "stepper",
        lambda self, network, mode: ChosenStepper(network, lambda *_: tokens),
    )
    choose_tokens(monkeypatch, lambda *_: tokens)
    assert tts.speak(TEXT, **SHORT).tokens == [5, 6, 7, 8, 9]
    stream = tts.stream(TEXT, **SHORT)
    list(stream)
    assert stream.result.tokens == [5, 6, 7, 8, 9]
    assert audible_tokens(tokens, 6561, 6561) == [7, 8, 9]
