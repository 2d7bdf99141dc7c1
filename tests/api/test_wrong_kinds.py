"""Arguments of wrong types in Python: one clear line by this library's own errors."""

from __future__ import annotations

import numpy as np
import pytest

from mlx_chatterbox import ChatterboxTTS, Voice
from mlx_chatterbox.errors import AudioError, ChatterboxError, SettingError

FAST = {"max_new_tokens": 6, "n_cfm_timesteps": 1, "watermark": False}


@pytest.fixture(scope="module")
def tts() -> ChatterboxTTS:
    return ChatterboxTTS.from_pretrained("pocket")


WRONG = [
    ("seed", "a", "seed must be a whole number; got the str 'a'"),
    ("seed", 1.5, "seed must be a whole number; got the float 1.5"),
    ("temperature", "hot", "temperature must be a number; got 'hot'"),
    ("temperature", None, "temperature must be a number"),
    ("repetition_penalty", [1], "repetition_penalty must be a number"),
    ("min_p", "0", "min_p must be a number"),
    ("top_p", "1", "top_p must be a number"),
    ("cfg_weight", "x", "cfg_weight must be a number; got the str 'x'"),
    ("exaggeration", "x", "exaggeration must be a number; got the str 'x'"),
    ("max_new_tokens", "9", "max_new_tokens must be a whole number"),
    ("max_new_tokens", 2.5, "max_new_tokens must be a whole number"),
    ("n_cfm_timesteps", "x", "n_cfm_timesteps must be a whole number"),
    ("batch_size", "x", "batch_size must be a whole number"),
    ("vocode_together", "x", "vocode_together must be a whole number"),
    ("normalize", "no", "normalize must be True or False; got the str 'no'"),
    ("guard", "off", "guard must be True or False"),
    ("watermark", "off", "watermark must be True or False"),
    ("noise", "x", "noise must be an array"),
    ("progress", 3, "progress must be a function"),
    ("lexicon", 3, "a lexicon is a file's path, or words and respellings; got the int 3"),
    ("lexicon", b"x", "a lexicon is a file's path"),
    ("lexicon", {"a": 3}, r"pairs of a word and its respelling; got the tuple \('a', 3\)"),
    ("lexicon", ["ab", "cd"], "pairs of a word and its respelling; got the str 'ab'"),
    ("audio_prompt_path", 3, "the reference must be the path of a recording.*got the int 3"),
    ("audio_prompt_path", [0.0, 0.1], "the reference must be the path of a recording"),
    ("audio_prompt_path", b"x", "the reference must be the path of a recording"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
@pytest.mark.parametrize("how", ["generate", "stream", "generate_batch"])
def test_settings_of_another_kind(tts, how, name, value, message):
    if how == "generate_batch" and name == "noise":
        message = "noise: not in generate_batch"
    if how == "generate_batch" and name == "seed":
        message = "seed must be a whole number"
    settings = {**FAST, name: value}
    said = ["Hi."] if how == "generate_batch" else "Hi."
    with pytest.raises(ChatterboxError, match=message) as caught:
        list(getattr(tts, how)(said, **settings))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": 4}, "seeds must be a list of whole numbers; got the int 4"),
        ({"seeds": "4"}, "seeds must be a list of whole numbers"),
        ({"seeds": ["x"]}, "a seed must be a whole number; got the str 'x'"),
        ({"finished": 3}, "finished must be a function"),
    ],
)
def test_settings_of_a_batch_of_another_kind(tts, settings, message):
    with pytest.raises(SettingError, match=message):
        tts.generate_batch(["Hi."], **FAST, **settings)


def test_numbers_of_numpy_are_numbers(tts):
    plain = tts.generate("Hi.", seed=3, temperature=0.5, normalize=False, **FAST)
    settings = {"seed": int(np.int64(3)), "temperature": np.float32(0.5)}
    same = tts.generate("Hi.", normalize=np.bool_(False), **settings, **FAST)
    assert np.array_equal(plain, same)


def test_voices_and_models_of_another_kind(tts):
    for value in (None, 3, []):
        with pytest.raises(AudioError, match="the reference must be the path of a recording"):
            tts.prepare_conditionals(value)
        with pytest.raises(SettingError, match="a voice is loaded from the path of a file"):
            Voice.load(value)
    with pytest.raises(ChatterboxError, match="a model is a name or a folder; got the int 3"):
        ChatterboxTTS.from_pretrained(3)
