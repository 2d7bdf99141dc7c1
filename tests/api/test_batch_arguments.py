"""Voices and settings of each text of a batch: all are checked before anything is spoken."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mlx_chatterbox
from mlx_chatterbox import ChatterboxMultilingualTTS, ChatterboxTTS, ChatterboxTurboTTS, Voice
from mlx_chatterbox.errors import AudioError, CheckpointError, SettingError, TextError
from mlx_chatterbox.text.unread import UnreadWarning

VOICE = Path(mlx_chatterbox.__file__).parent / "pocket" / "voices" / "slt.safetensors"
TEXTS = ["Good morning.", "Yes.", "Thank you."]
FAST = {"max_new_tokens": 6, "n_cfm_timesteps": 1, "watermark": False}


@pytest.fixture(scope="module")
def tts() -> ChatterboxTTS:
    return ChatterboxTTS.from_pretrained("pocket")


@pytest.fixture(scope="module")
def voice() -> Voice:
    return Voice.load(VOICE)


def last(**settings) -> dict:
    """Settings of the last of three texts."""
    return {"settings": [{}, {}, settings]}


OF_3 = "^settings of text 3: "
WRONG = [
    ({"voices": [None] * 2}, SettingError, "^voices must have one for each of the 3 texts; got 2"),
    ({"settings": [{}]}, SettingError, "^settings must have one for each of the 3 texts; got 1"),
    ({"voices": 3}, SettingError, "^voices must be a list, one for each text; got the int 3"),
    ({"voices": "slt"}, SettingError, "^voices must be a list"),
    ({"settings": {"speed": 2}}, SettingError, "^settings must be a list, one for each text"),
    ({"voices": [None, "slt", None]}, SettingError, "^voice of text 2 must be a Voice .*'slt'"),
    ({"settings": [{}, 3, {}]}, SettingError, "^settings of text 2 must be keyword arguments"),
    ({"settings": [{}, {1: 2}, {}]}, TypeError, "^settings of text 2: .*argument 1$"),
    (last(temprature=1), TypeError, OF_3 + "got an unexpected keyword argument 'temprature'"),
    (last(text="No."), TypeError, OF_3 + "got an unexpected keyword argument 'text'"),
    (last(top_k=3), TypeError, OF_3 + "got an unexpected keyword argument 'top_k'"),
    (last(finished=print), TypeError, OF_3 + "got an unexpected keyword argument 'finished'"),
    (last(seed=1), SettingError, "^settings of text 3 cannot have seed: give seeds"),
    (last(voice=None), SettingError, "^settings of text 3 cannot have voice: give voices"),
    (last(noise=np.zeros(3)), SettingError, "^settings of text 3 cannot have noise"),
    (last(source=np.zeros(3)), SettingError, "^settings of text 3 cannot have source"),
    (last(progress=print), SettingError, "^settings of text 3 cannot have progress"),
    (last(batch_size=1), SettingError, "^settings of text 3 cannot have batch_size"),
    (last(vocode_together=2), SettingError, "^settings of text 3 cannot have vocode_together"),
    (last(temperature=-1.0), SettingError, OF_3 + "temperature must be"),
    (last(temperature=None), SettingError, OF_3 + "temperature must be a number"),
    (last(min_p=2.0), SettingError, OF_3 + "min_p must be"),
    (last(cfg_weight="x"), SettingError, OF_3 + "cfg_weight must be a number"),
    (last(cfg_weight=-1.0), SettingError, OF_3 + "cfg_weight must be from"),
    (last(exaggeration=3.0), SettingError, OF_3 + "exaggeration must be from 0 to 2"),
    (last(max_new_tokens=0), SettingError, OF_3 + "max_new_tokens must be from 1"),
    (last(max_new_tokens=2.5), SettingError, OF_3 + "max_new_tokens must be a whole number"),
    (last(n_cfm_timesteps=0), SettingError, OF_3),
    (last(speed=3.0), SettingError, OF_3 + "speed must be"),
    (last(guard="off"), SettingError, OF_3 + "guard must be True or False"),
    (last(watermark="off"), SettingError, OF_3 + "watermark must be True or False"),
    (last(lexicon=3), TextError, OF_3 + "a lexicon is a file's path"),
    (last(audio_prompt_path="none.wav"), AudioError, OF_3 + ".*no file"),
    (last(audio_prompt_path=3), AudioError, OF_3 + "the reference must be the path"),
    ({"invariant": "yes"}, SettingError, "^invariant must be True or False"),
    ({"temperature": -1.0}, SettingError, "^temperature must be"),
    ({"max_new_tokens": 0}, SettingError, "^max_new_tokens must be"),
]


@pytest.fixture
def nothing_spoken(tts, monkeypatch):
    """T3 decodes nothing, no text is finished, and the model's voice stays."""
    decoded, finished, before = [], [], tts.conds
    step = type(tts.networks.t3).hidden_states
    monkeypatch.setattr(
        type(tts.networks.t3),
        "hidden_states",
        lambda *what, **more: decoded.append(1) or step(*what, **more),
    )
    yield finished
    assert not decoded
    assert not finished
    assert tts.conds is before


@pytest.mark.parametrize(("wrong", "kind", "message"), WRONG)
def test_what_is_wrong_is_named_and_nothing_is_spoken(tts, nothing_spoken, wrong, kind, message):
    with pytest.raises(kind, match=message) as caught:
        tts.generate_batch(
            TEXTS, finished=lambda *what: nothing_spoken.append(what), **{**FAST, **wrong}
        )
    assert "\n" not in str(caught.value)


def test_the_voice_of_another_model_is_named(tts, voice, nothing_spoken):
    other = replace(voice, embedding=voice.embedding[:, :9])
    with pytest.raises(CheckpointError, match=r"^text 2: the voice is another model's"):
        tts.generate_batch(TEXTS, voices=[None, other, None], **FAST)


def test_a_text_has_a_voice_or_a_recording(tts, voice, nothing_spoken, recording_file):
    with pytest.raises(SettingError, match=OF_3 + "its voice is in voices, so audio_prompt_path"):
        tts.generate_batch(
            TEXTS, voices=[None, None, voice], **last(audio_prompt_path=recording_file), **FAST
        )


def test_a_wrong_setting_of_all_is_not_one_texts(tts, voice):
    """Also where each text has a voice of its own."""
    with pytest.raises(SettingError, match=r"^max_new_tokens must be"):
        tts.generate_batch(TEXTS, voices=[voice] * 3, **{**FAST, "max_new_tokens": 0})


@pytest.mark.parametrize("texts", [["Yes.", "?"], ["Yes.", "Yes.", "你好"], ["Yes.", "a" * 5000]])
def test_a_text_that_cannot_be_spoken_is_named(tts, nothing_spoken, texts):
    for own in (None, [{} for _ in texts], [{"normalize": True} for _ in texts]):
        with pytest.raises(TextError, match=f"^text {len(texts)}: "):
            tts.generate_batch(texts, settings=own, **FAST)
        with pytest.raises(TextError, match=r"^(?!text)"):
            tts.generate_batch(texts[-1:], **FAST)


def test_an_error_of_one_text_is_as_generates(tts):
    with pytest.raises(TextError) as alone:
        tts.generate("?", **FAST)
    with pytest.raises(TextError) as batch:
        tts.generate_batch(["?"], **FAST)
    with pytest.raises(TextError) as among:
        tts.generate_batch(["Yes.", "?"], **FAST)
    assert str(batch.value) == str(alone.value)
    assert str(among.value) == f"text 2: {alone.value}"


def test_texts_of_a_kind_of_reading_are_warned_of_together(tts):
    own = [{}, {"lexicon": {"ok": "okay"}}, {"temperature": 0.5}, {"lexicon": {"ok": "okay"}}]
    texts = [f"Yes {sign} yes." for sign in "🙂☃🎉🙃"]
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        tts.batch_request(texts, settings=own, normalize=True)
    assert len(noted) == 2
    assert {one.category for one in noted} == {UnreadWarning}
    assert {one.filename for one in noted} == {__file__}


def test_each_text_may_have_a_language_of_its_own(small_models, recording_file):
    tts = ChatterboxMultilingualTTS.from_local(small_models("multilingual"))
    tts.prepare_conditionals(recording_file)
    limits = {"max_new_tokens": 6}
    own = [{"language_id": "fr"}, {"language_id": "DE"}, {}]
    request = tts.batch_request(["Bonjour.", "Bonjour.", "Bonjour."], "en", settings=own, **limits)
    expected = [tts.request("Bonjour.", code, **limits) for code in ("fr", "de", "en")]
    found = [pieces[0].ids.tolist() for pieces in request.texts]
    assert found == [one.texts[0][0].ids.tolist() for one in expected]
    assert len({str(ids) for ids in found}) == 3
    # None for all is needed if each has one.
    same = tts.batch_request(["Bonjour.", "Bonjour."], settings=own[:2], **limits)
    assert [pieces[0].ids.tolist() for pieces in same.texts] == found[:2]
    missing = "missing a required argument: 'language_id'"
    with pytest.raises(TypeError, match=OF_3 + missing):
        tts.batch_request(["One.", "Two.", "Three."], settings=own, **limits)
    with pytest.raises(TypeError, match=f"^{missing}"):
        tts.batch_request(["One.", "Two.", "Three."], voices=[tts.conds] * 3, **limits)
    with pytest.raises(TextError, match=r"^text 2: .*xx"):
        tts.batch_request(["One.", "Two."], "en", settings=[{}, {"language_id": "xx"}], **limits)
    with pytest.raises(SettingError, match=r"^settings of text 2: language_id must be a code"):
        tts.batch_request(["One.", "Two."], "en", settings=[{}, {"language_id": 3}], **limits)


def test_what_turbo_ignores_is_said_once(small_models, voices):
    tts = ChatterboxTurboTTS.from_local(small_models("turbo"))
    tts.prepare_conditionals(np.concatenate(voices[:3]))
    own = [{"exaggeration": 0.7, "top_k": 5}, {"exaggeration": 0.6, "min_p": 0.1}, {}]
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        request = tts.batch_request(["One.", "Two.", "Three."], settings=own, max_new_tokens=6)
    assert [str(one.message) for one in noted] == ["Turbo and Nano ignore min_p, exaggeration."]
    assert [one.sampling.top_k for one in request.settings] == [5, 1000, 1000]
    assert {one.sampling.min_p for one in request.settings} == {0.0}
    assert len({id(one) for one in request.voices}) == 1
    with pytest.raises(SettingError, match="exaggeration must be a number"):
        tts.generate("One.", exaggeration="x")
