"""Sizes of a stream's chunks, and what a stream reports."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest

from mlx_chatterbox import ChatterboxTTS, Chunks
from mlx_chatterbox.errors import SettingError, TextError
from mlx_chatterbox.models.s3gen.token_stream import ChunkTokens, vocoder_delay
from mlx_chatterbox.runtime.seeds import piece_seeds
from mlx_chatterbox.synthesis.monitor import plausible
from mlx_chatterbox.watermark.marker import DELAY_SECONDS

SETTINGS = {"n_cfm_timesteps": 1, "watermark": False, "seed": 1, "max_new_tokens": 200}
SMALL = Chunks(first=0.2, largest=0.4, context=0.4, lookahead=0.2)
# All different, so that no guard objects.
WORDS = np.random.default_rng(3).permutation(6561).tolist()


@pytest.fixture(scope="module")
def tts(small_checkpoint, recording):
    tts = ChatterboxTTS.from_local(small_checkpoint)
    tts.prepare_conditionals(recording)
    return tts


def writes(monkeypatch, *pieces):
    """Makes T3 decode these tokens, piece by piece; returns the limits of its calls."""
    left, limits = list(pieces), []

    def decode(t3, request):
        limits.append(request.max_new_tokens)
        yield from left.pop(0)[: request.max_new_tokens]

    monkeypatch.setattr("mlx_chatterbox.synthesis.streaming.decode", decode)
    return limits


# --- Sizes -------------------------------------------------------------------------------------


def test_sizes_left_out():
    assert asdict(Chunks()) == {
        "first": 0.3,
        "largest": 8.0,
        "context": 2.0,
        "lookahead": 0.24,
        "first_reference": 2.0,
    }


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("first", 0.04, 10.0),
        ("largest", 0.04, 16.0),
        ("context", 0.0, 10.0),
        ("lookahead", 0.12, 4.0),
        ("first_reference", 1.0, 10.0),
    ],
)
def test_ranges_of_sizes(name, least, most):
    others = {"largest": {"first": 0.04}, "first": {"largest": 16.0}}.get(name, {})
    for value in (least, most):
        assert getattr(Chunks(**{**others, name: value}), name) == value
    for value in (least - 0.01, most + 0.01, math.nan, math.inf):
        with pytest.raises(SettingError, match=f"chunks: {name} must be from {least} to {most} s"):
            Chunks(**{**others, name: value})


def test_the_first_chunk_is_no_longer_than_the_largest():
    assert Chunks(first=2.0, largest=2.0).first == 2.0
    with pytest.raises(SettingError, match=r"first \(2.0\) is above largest \(1.9\)"):
        Chunks(first=2.0, largest=1.9)


def test_sizes_in_tokens_of_40_ms():
    assert Chunks().in_tokens() == ChunkTokens(8, 200, 50, 6, delay=0, first_reference=50)
    sizes = Chunks(0.2, 0.4, 0.0, 0.12, 1.0).in_tokens(delay=0.41)
    # A delay that ends within a token includes the whole token.
    assert sizes == ChunkTokens(5, 10, 0, 3, delay=11, first_reference=25)


# --- Reports -----------------------------------------------------------------------------------


def test_the_first_chunk_is_as_long_as_wanted_marked_or_not(tts, monkeypatch):
    text = {**SETTINGS, "guard": False, "max_new_tokens": 60}
    for marked in (False, True):
        known = []
        writes(monkeypatch, WORDS)
        told = partial(lambda known, _, *count: known.append(count), known)
        settings = {**text, "watermark": marked, "progress": told}
        stream = tts.stream("Hello.", chunks=SMALL, **settings)
        first = len(next(stream))
        delay = math.ceil(DELAY_SECONDS * 25) if marked else 0
        waited = 5 + delay + 5 + vocoder_delay(tts.networks.s3gen)
        # It comes with the token that makes it possible, not later.
        assert known == [(n, 60) for n in range(1, waited + 1)]
        assert 5 * 960 <= first < (6 + delay) * 960
        rest = sum(map(len, stream))
        assert known[-1] == (60, 60)
        assert first + rest == 960 * len(tts.last_tokens)


def test_a_limit_that_was_reached_is_reported(tts, monkeypatch):
    for tokens, limit, ended in ((WORDS[:12], 12, False), (WORDS[:12], 13, True)):
        limits = writes(monkeypatch, tokens)
        list(tts.stream("Hello.", **{**SETTINGS, "max_new_tokens": limit}))
        assert limits == [tts.limit] == [limit]
        assert tts.stopped is ended
    # One of several pieces is enough, whichever it is.
    for lengths in ((12, 5), (5, 12)):
        writes(monkeypatch, *(WORDS[:length] for length in lengths))
        list(tts.stream("One. [pause 0.1s] Two.", **{**SETTINGS, "max_new_tokens": 12}))
        assert not tts.stopped
    limits = writes(monkeypatch, WORDS[:12])
    monkeypatch.setattr(tts.defaults, "max_new_tokens", 17)
    list(tts.stream("Hello.", **{**SETTINGS, "max_new_tokens": None}))
    assert limits == [17]


def test_outcomes_are_of_pieces(tts, monkeypatch):
    bounds = plausible("Hello there, you all.", tts.defaults.seconds_per_letter)
    well, short = WORDS[: bounds.usual], WORDS[: bounds.shortest - 1]
    text = "Hello there, you all. [pause 0.1s] Hello there, you all."
    for guard, verdict in ((True, "an early end"), (False, "")):
        writes(monkeypatch, well, short)
        list(tts.stream(text, guard=guard, **SETTINGS))
        one, two = tts.outcomes
        assert (one.tokens, two.tokens) == (tuple(well), tuple(short))
        assert one.verdict == ""
        assert two.verdict.startswith(verdict)
        assert bool(two.verdict) is guard
        assert (one.tries, two.tries) == (1, 1)
        assert [one.seed, two.seed] == piece_seeds(1, 2)
        assert tts.last_tokens == well + short
    # The caller's own limit is not a fault of the speech.
    writes(monkeypatch, short)
    list(tts.stream("Hello there, you all.", **{**SETTINGS, "max_new_tokens": len(short)}))
    assert tts.outcomes[0].verdict == ""


def test_a_guard_ends_runaway_decoding_and_the_next_piece_is_good(tts, monkeypatch):
    text = "Hello there. [pause 0.1s] Hello there."
    bounds = plausible("Hello there.", tts.defaults.seconds_per_letter)
    for guard in (True, False):
        writes(monkeypatch, WORDS[: 2 * bounds.longest], WORDS[: bounds.usual])
        list(tts.stream(text, guard=guard, **SETTINGS))
        endless, well = tts.outcomes
        assert len(endless.tokens) == (bounds.longest + 1 if guard else 2 * bounds.longest)
        assert endless.verdict.startswith("no end" if guard else "")
        assert (well.tokens, well.verdict) == (tuple(WORDS[: bounds.usual]), "")
        assert tts.stopped


def test_a_piece_without_a_sound_is_named_among_several(tts, monkeypatch):
    writes(monkeypatch, [6562, 6561])
    with pytest.raises(TextError, match="no speech token that has a sound"):
        list(tts.stream("Hello.", **SETTINGS))
    writes(monkeypatch, WORDS[:9], [6562])
    heard = []
    with pytest.raises(TextError, match="no speech token for piece 2 that has a sound"):
        heard.extend(tts.stream("One. [pause 0.1s] Two.", **SETTINGS))
    assert sum(map(len, heard)) >= 9 * 960 - 960


@pytest.mark.parametrize(
    "tokens",
    [
        [*WORDS[:30], 6561, 6560],  # played already
        [6561, 6561, *WORDS[:9]],
        [1, 6561, 2, 6561, 3],
        [6561, 6562, 6560, 0],
    ],
)
def test_only_a_start_token_before_all_sound_makes_void_what_was_before(tts, monkeypatch, tokens):
    writes(monkeypatch, tokens)
    sounds = list(tts.stream("Hello.", chunks=SMALL, **SETTINGS))
    void = 0 if tokens[0] == WORDS[0] else tokens.index(6561)
    assert tts.last_tokens == [token for token in tokens[void:] if token < 6561]
    assert sum(map(len, sounds)) == 960 * len(tts.last_tokens)


def test_settings_that_a_stream_cannot_have(tts):
    for name in ("noise", "source"):
        with pytest.raises(SettingError, match="a stream takes no noise or source"):
            tts.stream("Hello.", **{**SETTINGS, name: np.zeros(1)})
    for steps in (0, -1):
        with pytest.raises(SettingError, match="n_cfm_timesteps must be 1 or more"):
            tts.stream("Hello.", **{**SETTINGS, "n_cfm_timesteps": steps})
    # Before any token, in whichever piece it is.
    long = "One. [pause 0.1s] " + "word " * 200
    with pytest.raises(TextError, match="split it"):
        tts.stream(long, **SETTINGS)


def test_silence_that_a_marked_stream_begins_with_is_not_its_end(tts):
    text = "[pause 0.1s] Hello. [pause 0.2s] You. [pause 0.3s]"
    settings = {**SETTINGS, "watermark": True, "max_new_tokens": 8, "guard": False}
    whole = tts.generate(text, **settings)
    heard = np.concatenate(list(tts.stream(text, chunks=SMALL, **settings)))
    assert len(heard) == len(whole)
