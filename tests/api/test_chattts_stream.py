"""Streams of ChatTTS: each sample once, and those of the whole."""

from __future__ import annotations

import warnings
from contextlib import closing

import numpy as np
import pytest

from mlx_chatterbox.chattts import Chat
from mlx_chatterbox.errors import TextError
from mlx_chatterbox.models.chattts.windows import sample_count, steps_before_sound
from mlx_chatterbox.models.decoder.engine import DecodingEngine

pytestmark = pytest.mark.numbers

TEXTS = ["hello world.", "good morning", "what is your favorite food", "chat"]
QUIET = {"skip_refine_text": True, "watermark": False}
# Of unequal lengths, with some luck.
RANDOM = {"temperature": 1.0, "top_P": None, "top_K": None, "min_new_token": 60}


def codes(**values) -> Chat.InferCodeParams:
    defaults = {"max_new_token": 130, "min_new_token": 9999, "manual_seed": 1, "stream_batch": 12}
    return Chat.InferCodeParams(**{**defaults, **values})


@pytest.fixture(scope="module")
def chat(speaking_chattts):
    loaded = Chat()
    loaded.load("custom", custom_path=speaking_chattts)
    return loaded


@pytest.fixture(autouse=True)
def cut_off_is_expected():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not finished within")
        yield


def check_rows(chunks: list[np.ndarray], whole: list[np.ndarray]) -> None:
    streamed = np.concatenate(chunks, axis=1)
    assert streamed.shape == (len(whole), max(map(len, whole)))
    for row, waveform in zip(streamed, whole, strict=True):
        np.testing.assert_allclose(row[: len(waveform)], waveform, atol=1e-5)
        assert not row[len(waveform) :].any()


@pytest.mark.parametrize("use_decoder", [True, False])
def test_rows_are_those_of_the_whole(chat, use_decoder):
    params = {
        "params_infer_code": codes(**RANDOM, max_new_token=250),
        "use_decoder": use_decoder,
        **QUIET,
    }
    params["split_text"] = False
    whole = chat.infer(TEXTS, **params)
    assert len({len(one) for one in whole}) > 1
    chunks = list(chat.infer(TEXTS, stream=True, **params))
    assert len(chunks) > 3
    check_rows(chunks, whole)
    assert chat.last_tokens == chat.speak(TEXTS, **params).tokens


def test_every_batch_begins_at_its_first_sample(chat):
    """Upstream loses the beginning of each batch after the first."""
    params = {"params_infer_code": codes(max_new_token=80), **QUIET}
    text = "hello world. good morning. what is your favorite food. chat. english. this again"
    result = chat.speak(text, **params)
    chunks = list(chat.infer(text, stream=True, max_split_batch=4, **params))
    rows = [chunk.shape[0] for chunk in chunks]
    assert rows == sorted(rows, reverse=True)
    assert set(rows) == {4, 2}
    whole = [result.waveform[start:end] for start, end in result.spans]
    check_rows([chunk for chunk in chunks if len(chunk) == 4], whole[:4])
    check_rows([chunk for chunk in chunks if len(chunk) == 2], whole[4:])


def test_upstreams_parameters_of_streams_keep_their_meaning(chat, monkeypatch):
    steps = []
    step = DecodingEngine.step
    monkeypatch.setattr(DecodingEngine, "step", lambda self: steps.append(1) or step(self))

    def first(**values):
        steps.clear()
        params = {"params_infer_code": codes(**values), **QUIET}
        with closing(chat.infer("hello", stream=True, **params)) as chunks:
            chunk = next(chunks)
        return len(steps), chunk.shape[1]

    assert first(pass_first_n_batches=0) == (steps_before_sound(12), 8 * 512)
    assert first(pass_first_n_batches=6) == (7 * 12, 12000)
    assert first(pass_first_n_batches=6, stream_speed=20000) == (7 * 12, 32 * 512)
    assert first(stream_batch=24) == (72, 20 * 512)
    params = {"params_infer_code": codes(stream_speed=3000), **QUIET}
    sizes = [chunk.shape[1] for chunk in chat.infer("hello", stream=True, **params)]
    assert set(sizes[:-1]) == {3000}
    assert sum(sizes) == sample_count(130)


def test_a_smaller_lookahead_is_sooner_and_nearly_the_same(chat):
    params = {"params_infer_code": codes(pass_first_n_batches=0), **QUIET}
    (whole,) = chat.infer("hello", **params)
    errors = {}
    for lookahead in (0, 4, 12, 52):
        chunks = [one[0] for one in chat.infer("hello", stream=True, lookahead=lookahead, **params)]
        streamed = np.concatenate(chunks)
        assert streamed.shape == whole.shape
        errors[lookahead] = np.abs(streamed - whole).max()
    assert errors[52] < 1e-5
    assert errors[0] > errors[12] > 0
    assert errors[4] > 1e-5


def test_a_text_is_streamed_piece_after_piece(chat):
    params = {"params_infer_code": codes(), **QUIET}
    text = "hello world. good morning."
    result = chat.speak(text, **params)
    stream = chat.stream(text, **params)
    chunks = list(stream)
    assert all(chunk.ndim == 1 and chunk.size for chunk in chunks)
    np.testing.assert_allclose(np.concatenate(chunks), result.waveform, atol=1e-5)
    assert stream.result.outcomes == result.outcomes
    assert stream.result.tokens == chat.last_tokens == result.tokens


def test_streams_are_marked_and_refined_as_wholes_are(chat):
    params = {
        "params_infer_code": codes(),
        "params_refine_text": Chat.RefineTextParams(max_new_token=5, manual_seed=2),
    }
    whole = chat.speak("hello", **params)
    chunks = list(chat.stream("hello", **params))
    np.testing.assert_allclose(np.concatenate(chunks), whole.waveform, atol=0.02)
    rows = np.concatenate(list(chat.infer("hello", stream=True, **params)), axis=1)
    np.testing.assert_allclose(rows[0], whole.waveform, atol=0.02)
    plain = chat.speak("hello", watermark=False, **params)
    assert not np.array_equal(plain.waveform, whole.waveform)
    assert plain.tokens == whole.tokens


def test_speed_of_a_stream(chat):
    params = {"params_infer_code": codes(), **QUIET}
    whole = chat.speak("hello", speed=1.25, **params)
    chunks = list(chat.stream("hello", speed=1.25, **params))
    np.testing.assert_allclose(np.concatenate(chunks), whole.waveform, atol=1e-5)


def test_an_interrupted_stream_ends_with_what_there_is(chat):
    params = {"params_infer_code": codes(max_new_token=2000), **QUIET}
    chunks = []
    for chunk in chat.infer(["hello", "world"], stream=True, split_text=False, **params):
        chunks.append(chunk)
        chat.interrupt()
    lengths = [len(one.tokens) for one in chat.outcomes]
    assert sum(chunk.shape[1] for chunk in chunks) == sample_count(max(lengths))
    assert 60 <= max(lengths) < 100
    assert not chat.stopped


def test_a_stream_that_is_closed_writes_no_more(chat, monkeypatch):
    steps = []
    step = DecodingEngine.step
    monkeypatch.setattr(DecodingEngine, "step", lambda self: steps.append(1) or step(self))
    stream = chat.stream("hello", params_infer_code=codes(max_new_token=2000), **QUIET)
    next(stream)
    stream.close()
    assert len(steps) < 100
    assert list(stream) == []


def test_errors_come_before_the_first_chunk(chat):
    with pytest.raises(TextError, match="nothing to speak"):
        chat.stream("ქ")
    with pytest.raises(TextError, match="nothing to speak"):
        chat.infer("ქ", stream=True)
