"""A request is complete when it is made; a result has everything that it produced."""

from __future__ import annotations

import dataclasses
import inspect
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from mlx_chatterbox import ChatterboxTTS
from mlx_chatterbox.errors import SettingError, TextError
from mlx_chatterbox.synthesis.request import Request, SpeechOptions, TokenLimit
from mlx_chatterbox.synthesis.result import LatestResult, Result
from mlx_chatterbox.text.unread import UnreadWarning

FAST = {"n_cfm_timesteps": 1, "watermark": False, "seed": 5}
TEXT = "Open the window. [pause 0.2s] Nobody knows where the books are."
SENTENCES = ["Good morning.", "Yes.", TEXT]


@pytest.fixture(scope="module")
def tts() -> ChatterboxTTS:
    return ChatterboxTTS.from_pretrained("pocket")


def test_speak_returns_all_that_generate_leaves(tts):
    waveform = tts.generate(TEXT, **FAST)
    left = {name: getattr(tts, name) for name in ("outcomes", "spans", "limit", "stopped")}
    left["tokens"] = tts.last_tokens
    result = tts.speak(TEXT, **FAST)
    np.testing.assert_array_equal(result.waveform, waveform)
    assert {name: getattr(result, name) for name in left} == left
    assert len(result.outcomes) == len(result.spans) == 2
    assert result.spans[1][1] == len(waveform)
    assert tts.last_tokens is result.tokens


def test_several_texts_are_generate_batchs(tts):
    waveforms = tts.generate_batch(SENTENCES, **FAST)
    result = tts.speak(SENTENCES, **FAST)
    assert len(result.waveforms) == 3
    for one, expected in zip(result.waveforms, waveforms, strict=True):
        np.testing.assert_array_equal(one, expected)
    with pytest.raises(ValueError, match="3 waveforms"):
        _ = result.waveform
    with pytest.raises(TextError, match="generate_batch"):
        tts.generate(SENTENCES, **FAST)


def test_a_streams_result_grows_and_is_whole_at_its_end(tts):
    expected = tts.speak(TEXT, **FAST)
    stream = tts.stream(TEXT, **FAST)
    assert stream.result.tokens == []
    next(stream)
    begun = len(stream.result.tokens)
    rest = sum(map(len, stream))
    assert 0 < begun <= len(stream.result.tokens)
    assert rest > 0
    assert stream.result.tokens == expected.tokens == tts.last_tokens
    assert stream.result.outcomes == expected.outcomes
    assert (stream.result.limit, stream.result.stopped) == (expected.limit, True)


def test_a_stream_that_changes_threads_keeps_one_result(tts):
    """The other thread has spoken something of its own before."""
    expected = tts.speak(TEXT, **FAST)
    with ThreadPoolExecutor(1) as other:
        other.submit(tts.generate, "Yes.", **FAST).result()
        stream = tts.stream(TEXT, **FAST)
        next(stream)
        other.submit(list, stream).result()
    assert stream.result.tokens == expected.tokens
    assert stream.result.outcomes == expected.outcomes


def test_a_request_is_spoken_again_and_by_another_thread(tts):
    request = tts.request(TEXT, **FAST)
    first = tts.engine.speak(request)
    with ThreadPoolExecutor(1) as other:
        again = other.submit(tts.engine.speak, request).result()
    assert again.tokens == first.tokens
    np.testing.assert_array_equal(again.waveform, first.waveform)
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.seeds = (1,)


def test_without_a_seed_each_time_it_is_spoken_draws_another(tts):
    request = tts.request("Yes.", **{**FAST, "seed": None})
    seeds = [tts.engine.speak(request).outcomes[0].seed for _ in range(2)]
    assert seeds[0] != seeds[1]


def test_what_is_left_out_is_the_checkpoints_own(tts):
    settings = tts.request("Yes.").settings[0]
    own = tts.defaults
    assert settings.limit == TokenLimit(own.max_new_tokens, is_callers=False)
    assert settings.cfm_steps == own.cfm_steps
    assert settings.sampling.temperature == own.temperature
    assert type(settings.sampling.top_k) is int
    given = tts.request("Yes.", temperature=0.8, max_new_tokens=own.max_new_tokens).settings[0]
    assert given.sampling.temperature == 0.8 != own.temperature
    assert given.limit == TokenLimit(own.max_new_tokens, is_callers=True)


def test_wrong_settings_are_refused_before_the_voice_is_read(tts, recording_file):
    before = tts.conds
    for wrong in ({"seed": -1}, {"n_cfm_timesteps": 0}, {"max_new_tokens": 0}, {"guard": "x"}):
        with pytest.raises(SettingError):
            tts.request("Yes.", audio_prompt_path=recording_file, **wrong)
    with pytest.raises(TextError):
        tts.request("?", audio_prompt_path=recording_file)
    assert tts.conds is before


def test_a_stream_takes_one_text(tts):
    with pytest.raises(SettingError, match="this request has 3"):
        tts.engine.stream(tts.request(SENTENCES, **FAST))


@pytest.mark.parametrize("method", ["generate", "speak", "stream", "generate_batch"])
def test_an_unknown_option_is_refused(tts, method):
    text = ["Yes."] if method == "generate_batch" else "Yes."
    with pytest.raises(TypeError, match="unexpected keyword argument 'temprature'"):
        getattr(tts, method)(text, temprature=0.5)


def test_every_option_is_shown_and_only_declared_once():
    shown = inspect.signature(ChatterboxTTS.generate).parameters
    for name in SpeechOptions.__annotations__:
        assert shown[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert shown[name].default is {"guard": True, "vocode_together": 1}.get(name)
        assert f"{name}" in SpeechOptions.__doc__
    assert not {one.name for one in dataclasses.fields(Request)} & {"text", "temperature"}


@pytest.mark.parametrize("text", ["Yes 🙂 yes.", "No мир."])
def test_warnings_are_of_the_users_line(tts, text):
    for speak in (partial(tts.generate, text), partial(tts.generate_batch, ["No.", text])):
        with pytest.warns(UnreadWarning) as noted:
            speak(normalize=True, **FAST)
        assert {one.filename for one in noted} == {__file__}


def test_a_thread_reads_its_own_result_or_the_latest():
    latest = LatestResult(Result(1))
    with ThreadPoolExecutor(1) as other:
        assert other.submit(latest.get).result().limit == 1
        latest.set(Result(2))
        assert other.submit(latest.get).result().limit == 2
        other.submit(latest.set, Result(3)).result()
        assert latest.get().limit == 2
        assert other.submit(latest.get).result().limit == 3
    with ThreadPoolExecutor(1) as third:
        assert third.submit(latest.get).result().limit == 3
