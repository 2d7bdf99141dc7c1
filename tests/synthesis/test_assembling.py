"""Assembly of pieces to whole texts, in any order of finishing; no network."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.errors import AudioError, SettingError
from mlx_chatterbox.models.t3.sampling import SamplingSettings
from mlx_chatterbox.runtime.seeds import piece_seeds
from mlx_chatterbox.synthesis.assembling import FinishedPiece, TextAssembler
from mlx_chatterbox.synthesis.decoding import TokenDecoding
from mlx_chatterbox.synthesis.request import Request, SpeechSettings
from mlx_chatterbox.synthesis.result import Outcome
from mlx_chatterbox.synthesis.splitting import TextPiece
from mlx_chatterbox.synthesis.tokens import DecodedTokens, TokenLimit


def finished_piece(value: float, samples: int = 10) -> FinishedPiece:
    waveform = np.full(samples, value, np.float32)
    decoded = DecodedTokens(2, [int(value)], False, False)
    return FinishedPiece(waveform, decoded, Outcome((int(value),), "", 1, 0))


def piece(before: float = 0.0, after: float = 0.0) -> TextPiece:
    return TextPiece("a", mx.array([0]), pause_before=before, pause_after=after)


TEXTS = (
    (piece(before=0.001), piece(after=0.002)),
    (piece(),),
    (piece(), piece(), piece()),
)


def settings(limit: int = 100, **values) -> SpeechSettings:
    values = {"watermark": False, **values}
    return SpeechSettings(TokenDecoding(SamplingSettings()), TokenLimit(limit, False), 1, **values)


def request(own=(), **values) -> Request:
    """`own`: what the settings of each text have beyond those of all."""
    common = {name: values.pop(name) for name in ("watermark", "speed") if name in values}
    each = tuple(settings(**{**common, **one}) for one in own or ({}, {}, {}))
    names = ("text 1", "text 2", "text 3")
    values = {"voices": ("ann", "bob", "ann"), "settings": each, "names": names, **values}
    return Request(TEXTS, (1, 2, 3), **values)


def joined(order, **values):
    finished = []
    asked = request(finished=lambda *what: finished.append(what), **values)
    joining = TextAssembler(asked, 1000)
    utterances = asked.utterances()
    for number in order:
        joining.add(utterances[number], finished_piece(number + 1.0))
    return joining, finished


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 3, 2, 1, 4, 0]])
def test_a_text_is_its_pieces_in_order_with_their_silence(order):
    joining, finished = joined(order)
    one, two, three, four, five, six = (np.full(10, value) for value in range(1, 7))
    np.testing.assert_array_equal(joining.waveforms[0], np.concatenate([[0], one, two, [0, 0]]))
    np.testing.assert_array_equal(joining.waveforms[1], three)
    np.testing.assert_array_equal(joining.waveforms[2], np.concatenate([four, five, six]))
    assert sorted(text for text, _, _ in finished) == [0, 1, 2]
    for text, waveform, outcomes in finished:
        assert waveform is joining.waveforms[text]
        numbers = [number for number, (t, _) in enumerate(places()) if t == text]
        assert [one.tokens for one in outcomes] == [(number + 1,) for number in numbers]
    assert [one.outcome.tokens for one in joining.finished()] == [(n,) for n in range(1, 7)]
    assert not joining.failures


def places():
    return [(text, at) for text, pieces in enumerate(TEXTS) for at in range(len(pieces))]


def test_a_text_is_finished_with_its_last_piece_and_not_before():
    order = [3, 0, 5, 1, 4]
    seen = [[text for text, _, _ in joined(order[:n])[1]] for n in range(1, 6)]
    assert seen == [[], [], [], [0], [0, 2]]
    joining, _ = joined(order)
    assert [len(waveform) for waveform in joining.waveforms] == [23, 0, 30]
    assert len(joining.finished()) == 5


def test_where_the_pieces_of_a_text_stand_in_it():
    joining, _ = joined(range(6))
    assert joining.spans == [[(1, 11), (11, 21)], [(0, 10)], [(0, 10), (10, 20), (20, 30)]]
    fast, _ = joined(range(6), speed=2.0)
    for waveform, spans, before in zip(fast.waveforms, fast.spans, joining.spans, strict=True):
        assert len(waveform) < before[-1][1]
        in_all = {0: 23, 1: 10, 2: 30}[joining.spans.index(before)]
        ratio = len(waveform) / in_all
        for (start, end), (was_start, was_end) in zip(spans, before, strict=True):
            assert 0 <= was_start * ratio - start < 1
            assert 0 <= was_end * ratio - end < 1


def test_each_piece_has_the_voice_and_settings_of_its_text():
    asked = request(own=({"speed": 2.0}, {"limit": 7}, {}))
    utterances = asked.utterances()
    assert [one.number for one in utterances] == list(range(6))
    texts = [one.text for one in utterances]
    assert texts == [0, 0, 1, 2, 2, 2]
    for one in utterances:
        assert one.settings is asked.settings[one.text]
    assert [one.voice for one in utterances] == ["ann", "ann", "bob", "ann", "ann", "ann"]
    assert [one.piece for one in utterances] == [piece for pieces in TEXTS for piece in pieces]
    assert [one.name for one in utterances] == [f"text {text + 1}" for text in texts]
    assert {one.name for one in request(names=()).utterances()} == {""}
    seeds = [*piece_seeds(1, 2), 2, *piece_seeds(3, 3)]
    assert [one.seed for one in utterances] == seeds


def test_each_text_is_stretched_by_its_own_speed():
    plain, _ = joined(range(6))
    mixed, _ = joined(range(6), own=({}, {}, {"speed": 2.0}))
    np.testing.assert_array_equal(mixed.waveforms[0], plain.waveforms[0])
    np.testing.assert_array_equal(mixed.waveforms[1], plain.waveforms[1])
    fast, _ = joined(range(6), speed=2.0)
    np.testing.assert_array_equal(mixed.waveforms[2], fast.waveforms[2])
    assert len(mixed.waveforms[2]) < len(plain.waveforms[2])
    assert mixed.spans == [*plain.spans[:2], fast.spans[2]]


def test_some_of_the_texts_keep_their_numbers():
    finished = []
    asked = request(own=({}, {"limit": 7}, {}), finished=lambda *what: finished.append(what))
    some = asked.only([2, 1])
    assert some.texts == (TEXTS[2], TEXTS[1])
    assert some.seeds == (3, 2)
    assert some.voices == ("ann", "bob")
    assert [one.name for one in some.utterances()] == ["text 3"] * 3 + ["text 2"]
    assert [one.limit.tokens for one in some.settings] == [100, 7]
    joining = TextAssembler(some, 1000)
    for utterance in some.utterances():
        joining.add(utterance, finished_piece(1.0))
    assert [number for number, _, _ in finished] == [2, 1]
    assert len(asked.only([]).utterances()) == 0
    assert request().only([0]).finished is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"voices": ("ann",)}, "voices must have one for each of the 3 texts; got 1"),
        ({"settings": (None,) * 4}, "settings must have one for each of the 3 texts; got 4"),
        ({"noise": mx.zeros((1, 2, 80))}, "noise and source fit a text of one piece"),
    ],
)
def test_a_request_that_contradicts_itself(values, message):
    with pytest.raises(SettingError, match=message):
        request(**values)


def test_a_request_needs_a_seed_for_each_text():
    for seeds in ((1, 2), (1, 2, -1), (1, 2, "x")):
        with pytest.raises(SettingError, match="seed"):
            replace(request(), seeds=seeds)


def test_the_result_has_everything_in_the_order_of_the_texts():
    joining, _ = joined([5, 3, 2, 1, 4, 0])
    result = joining.result()
    assert result.tokens == [1, 2, 3, 4, 5, 6]
    assert [one.tokens for one in result.outcomes] == [(n,) for n in range(1, 7)]
    assert result.spans == [span for of_text in joining.spans for span in of_text]
    assert result.waveforms is joining.waveforms
    assert (result.limit, result.stopped) == (100, True)
    with pytest.raises(ValueError, match="3 waveforms"):
        _ = result.waveform


def test_texts_are_marked_and_one_that_cannot_be_leaves_the_others(monkeypatch):
    def mark(waveform, rate):
        assert rate == 1000
        if waveform.max() >= 3.0:
            raise AudioError("no mark")
        return waveform + 100.0

    monkeypatch.setattr("mlx_chatterbox.watermark.apply", mark)
    # The error is the first text's, in any order of finishing.
    for order in (range(6), range(5, -1, -1)):
        joining, finished = joined(order, watermark=True)
        with pytest.raises(AudioError, match=r"^text 2: no mark$"):
            joining.result()
        assert sorted(joining.failures) == [1, 2]
        assert [text for text, _, _ in finished] == [0]
        assert joining.waveforms[0].max() == 102.0
        assert len(joining.waveforms[1]) == 0
    unmarked, _ = joined(range(6))
    assert unmarked.waveforms[0].max() == 2.0
    # Each by its own settings.
    mixed, _ = joined(range(6), own=({}, {}, {"watermark": False}), watermark=True)
    assert mixed.waveforms[2].max() == 6.0
    assert sorted(mixed.failures) == [1]


def test_the_limit_of_each_text_is_its_own():
    joining, _ = joined(range(6), own=({}, {"limit": 7}, {"limit": 9}))
    assert joining.result().limit == 100
