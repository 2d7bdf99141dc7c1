"""Inputs and limits of `decode_batch`, on a T3 whose weights do not matter."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.errors import SettingError, TextError
from mlx_chatterbox.models.decoder.native_stepper import NativeStepper
from mlx_chatterbox.models.decoder.queued_steppers import _QueuedStepper
from mlx_chatterbox.models.t3.decoding import decode, decode_batch
from mlx_chatterbox.models.t3.requests import check_lengths
from mlx_chatterbox.models.t3.sampling import SamplingSettings
from mlx_chatterbox.weights.checkpoint import build
from tests.small import small_config

STOP = 6562


@pytest.fixture(scope="module", params=["english", "turbo"])
def t3(request):
    mx.random.seed(6)
    return build(small_config(request.param)).t3


def room_of(t3, limit: int) -> int:
    if not t3.config.is_gpt2:
        return 256 + 2
    return 2048 - (t3.config.speech_cond_prompt_len + 2) - limit


@pytest.mark.parametrize("limit", [1, 20])
def test_a_text_may_have_as_many_tokens_as_there_are_positions(t3, limit):
    room = room_of(t3, limit)
    check_lengths(t3, mx.ones((room,), dtype=mx.int32), 0.5, limit)
    with pytest.raises(TextError, match=f"has {room + 1} tokens, more than the {room} that"):
        check_lengths(t3, mx.ones((room + 1,), dtype=mx.int32), 0.5, limit)


def test_how_much_may_be_written(t3):
    text, longest = mx.array([1, 2]), t3.config.max_speech_tokens
    for limit in (1, longest):
        check_lengths(t3, text, 0.5, limit)
    for limit in (0, -1, longest + 1):
        with pytest.raises(SettingError, match=f"from 1 to {longest}; got {limit}"):
            check_lengths(t3, text, 0.5, limit)
        with pytest.raises(SettingError, match="max_new_tokens"):
            next(decode_batch(t3, None, [text], SamplingSettings(), 0.5, limit))


def test_weights_of_guidance(t3):
    text = mx.array([1, 2])
    for weight in (0.0, 0.3, 1.0, 7.0):
        check_lengths(t3, text, weight, 10)
    for weight in (-0.1, float("inf"), float("nan")):
        with pytest.raises(SettingError, match="cfg_weight"):
            check_lengths(t3, text, weight, 10)


def test_tokens_that_the_vocabulary_lacks(t3):
    size = t3.config.text_tokens_dict_size
    check_lengths(t3, mx.array([0, size - 1]), 0.5, 10)
    for wrong in (size, -1):
        with pytest.raises(TextError, match="outside the model's vocabulary"):
            check_lengths(t3, mx.array([1, wrong, 2]), 0.5, 10)


# --- Ends --------------------------------------------------------------------------------------


class Chosen:
    """Makes each sentence decode chosen tokens: the likeliest token of a draw is the next one.

    Attributes:
        rows: sentences of each step after the prefills.
    """

    def __init__(self, sentences: dict[int, list[int]], monkeypatch):
        self._sentences, self.rows = list(sentences.values()), []
        for stepper in (NativeStepper, _QueuedStepper):
            monkeypatch.setattr(
                stepper, "_guided", lambda own, rows, logits, hidden: (self(rows, logits), hidden)
            )

    def __call__(self, rows, logits):
        if rows[0].drawn:
            self.rows.append(len(rows))
        chosen = np.full((len(rows), logits.shape[1]), -50.0, np.float32)
        for place, row in enumerate(rows):
            tokens = self._sentences[row.row.number]
            chosen[place, tokens[min(row.drawn, len(tokens) - 1)]] = 50.0
        return chosen if isinstance(logits, np.ndarray) else mx.array(chosen)


def written(t3, sentences, monkeypatch, limit=20, temperature=0.8):
    chosen = Chosen(sentences, monkeypatch)
    cond = t3.embed_conditioning(mx.ones((1, 256)) / 16, mx.arange(20)[None], 0.5)
    texts = [mx.array([1, 2 + number]) for number in sentences]
    steps = decode_batch(t3, cond, texts, SamplingSettings(temperature), 0.5, limit)
    return list(steps), chosen


def test_a_sentence_ends_with_the_stop_token_which_is_not_written(t3, monkeypatch):
    tokens = [5, 6, 7, 6561, STOP]
    steps, _ = written(t3, {0: tokens}, monkeypatch)
    assert steps == [[(0, token)] for token in tokens[:-1]]


def test_upstreams_gpt2_does_not_look_at_the_first_token(t3, monkeypatch):
    steps, _ = written(t3, {0: [STOP, 5, STOP]}, monkeypatch)
    assert steps == ([[(0, STOP)], [(0, 5)]] if t3.config.is_gpt2 else [])


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_no_more_is_written_than_wanted(t3, monkeypatch, limit):
    steps, chosen = written(t3, {0: [5, 6, 7, 8, 9, 10, 11]}, monkeypatch, limit)
    assert steps == [[(0, token)] for token in [5, 6, 7, 8, 9][:limit]]
    # No step is computed whose token cannot be returned.
    assert len(chosen.rows) == limit - 1


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_each_sentence_ends_for_itself(t3, monkeypatch, temperature):
    sentences = {0: [10, 11, 12, 13, 14, STOP], 1: [20, STOP], 2: [30, 31, 32, STOP]}
    steps, chosen = written(t3, sentences, monkeypatch, temperature=temperature)
    assert steps == [
        [(0, 10), (1, 20), (2, 30)],
        [(0, 11), (2, 31)],
        [(0, 12), (2, 32)],
        [(0, 13)],
        [(0, 14)],
    ]
    # Finished rows leave the batch as soon as the device gains from that.
    assert chosen.rows[0] == 3
    assert chosen.rows[-1] == 1
    assert chosen.rows == sorted(chosen.rows, reverse=True)


def test_what_is_unwanted_ends_after_the_step(t3, monkeypatch):
    Chosen({0: [10, 11, 12, 13, 14], 1: [20, 21, 22, 23]}, monkeypatch)
    cond = t3.embed_conditioning(mx.ones((1, 256)) / 16, mx.arange(20)[None], 0.5)
    texts, ended, numbers = [mx.array([1, 2]), mx.array([1, 3])], set(), []
    for step in decode_batch(t3, cond, texts, SamplingSettings(), 0.5, 4, ended=ended):
        numbers.append([number for number, _ in step])
        if len(numbers) == 2:
            ended.add(1)
    assert numbers == [[0, 1], [0, 1], [0], [0]]
    assert list(decode_batch(t3, cond, [], SamplingSettings())) == []


def test_one_sentence_by_itself_is_a_batch_of_one(t3):
    cond = t3.embed_conditioning(mx.ones((1, 256)) / 16, mx.arange(20)[None], 0.5)
    text, settings = mx.array([1, 2, 3]), SamplingSettings()
    alone = list(decode(t3, cond, text, settings, 0.5, 6, mx.random.key(3)))
    together = decode_batch(t3, cond, [text], settings, 0.5, 6, [mx.random.key(3)])
    assert alone == [token for step in together for _, token in step]
    # The default key and weight are constants.
    assert list(decode(t3, cond, text, settings, max_new_tokens=6)) == list(
        decode(t3, cond, text, settings, 0.5, 6, mx.random.key(0))
    )
    steps = decode_batch(t3, cond, [text], settings, max_new_tokens=6)
    assert [token for step in steps for _, token in step] == list(
        decode(t3, cond, text, settings, 0.5, 6, mx.random.key(0))
    )


def test_guidance_changes_what_a_llama_writes_and_nothing_of_gpt2s(t3):
    cond = t3.embed_conditioning(mx.ones((1, 256)) / 16, mx.arange(20)[None], 0.5)
    text, settings = mx.array([1, 2, 3, 4]), SamplingSettings(min_p=0.0)
    without, some, much = (
        list(decode(t3, cond, text, settings, weight, 30, mx.random.key(3)))
        for weight in (0.0, 0.5, 20.0)
    )
    for one, other in ((without, some), (without, much), (some, much)):
        assert (one == other) is t3.config.is_gpt2
