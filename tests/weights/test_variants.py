"""Multilingual, Turbo and Nano on small models: their own properties."""

from __future__ import annotations

import inspect
import warnings

import mlx.core as mx
import numpy as np
import pytest

import mlx_chatterbox
from mlx_chatterbox import (
    ChatterboxFlashTTS,
    ChatterboxMultilingualTTS,
    ChatterboxTTS,
    ChatterboxTurboTTS,
)
from mlx_chatterbox.api.tts import CLASSES, open_model, t3_file
from mlx_chatterbox.errors import AudioError, CheckpointError, SettingError, TextError
from mlx_chatterbox.models.t3.decoding import decode
from mlx_chatterbox.models.t3.sampling import SamplingSettings
from mlx_chatterbox.synthesis.request import SpeechOptions
from mlx_chatterbox.weights.variants import VARIANTS

SHORT = {"max_new_tokens": 12, "n_cfm_timesteps": 2}


@pytest.fixture(scope="module")
def long_recording():
    from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice

    return synthetic_voice(6.0, seed=4)


@pytest.fixture(scope="module")
def turbo(small_models, long_recording):
    tts = ChatterboxTurboTTS.from_local(small_models("turbo"))
    tts.prepare_conditionals(long_recording)
    return tts


@pytest.fixture(scope="module")
def multilingual(small_models, long_recording):
    tts = ChatterboxMultilingualTTS.from_local(small_models("multilingual"))
    tts.prepare_conditionals(long_recording)
    return tts


@pytest.mark.numbers
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_speaks_through_one_pipeline(small_models, long_recording, variant):
    tts = open_model(small_models(variant))
    assert type(tts) is CLASSES[tts.checkpoint.config.kind]
    tts.prepare_conditionals(long_recording)
    language = {"language_id": "en"} if variant.startswith("multilingual") else {}
    one = tts.generate("Hello there.", seed=1, **SHORT, **language)
    again = tts.generate("Hello there.", seed=1, **SHORT, **language)
    np.testing.assert_array_equal(one, again)
    assert one.dtype == np.float32
    assert np.isfinite(one).all()


def test_multilingual_cuts_the_last_tokens_noise(multilingual):
    waveform = multilingual.generate("Bonjour.", "fr", seed=1, **SHORT)
    assert len(waveform) == 960 * max(1, len(multilingual.last_tokens) - 1)


def test_turbo_appends_three_tokens_of_silence(turbo):
    waveform = turbo.generate("Hello.", seed=1, **SHORT)
    assert len(waveform) == 960 * (len(turbo.last_tokens) + 3)


def test_turbo_uses_fifteen_seconds_of_reference(turbo, small_models, long_recording):
    twenty = np.tile(long_recording, 4)
    assert turbo.voice_of(twenty).cond_prompt_tokens.shape == (1, 375)
    english = ChatterboxTTS.from_local(small_models("english"))
    assert english.voice_of(twenty).cond_prompt_tokens.shape == (1, 150)


def test_turbo_wants_more_than_five_seconds(turbo, long_recording):
    with pytest.raises(AudioError, match=r"needs more than 5"):
        turbo.prepare_conditionals(long_recording[: 5 * 24000])


def test_turbo_brings_references_to_one_loudness(turbo, long_recording):
    """A quiet and a loud copy give one voice, unless that is turned off."""
    loud, quiet = long_recording, (long_recording * 0.1).astype(np.float32)
    voices = [turbo.voice_of(copy).prompt_feat for copy in (loud, quiet)]
    assert float(mx.abs(voices[0] - voices[1]).max()) < 1e-2
    voices = [turbo.voice_of(copy, 0.0, False).prompt_feat for copy in (loud, quiet)]
    assert float(mx.abs(voices[0] - voices[1]).max()) > 1.0


def test_turbo_reports_unknown_tags_and_does_not_speak_them(turbo):
    with pytest.warns(UserWarning, match=r"\[yodel\].*known are .*\[laugh\]"):
        marked = turbo.generate("Hello [yodel] there.", seed=1, **SHORT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = turbo.generate("Hello there.", seed=1, **SHORT)
        turbo.generate("Hello [laugh] there.", seed=1, **SHORT)
    np.testing.assert_array_equal(marked, plain)


def test_turbo_with_unknown_tags_alone_has_nothing_to_say(turbo):
    with pytest.warns(UserWarning, match="yodel"), pytest.raises(TextError, match="unknown tags"):
        turbo.generate("[yodel]", **SHORT)


def test_turbo_reports_ignored_settings(turbo):
    with pytest.warns(UserWarning, match="ignore cfg_weight, exaggeration"):
        turbo.generate("Hello.", cfg_weight=0.5, exaggeration=0.7, seed=1, **SHORT)


def test_an_unknown_language(multilingual):
    with pytest.raises(TextError, match="xx"):
        multilingual.generate("Hello.", "xx", **SHORT)


def test_a_language_may_be_left_open(multilingual):
    assert len(multilingual.generate("Hello.", None, seed=1, **SHORT)) > 0


def test_the_language_matters(multilingual):
    requests = [multilingual.request("Hello.", code, **SHORT) for code in ("en", "fr", None)]
    tokens = [request.texts[0][0].ids.tolist() for request in requests]
    assert tokens[0] != tokens[1] != tokens[2]


def test_a_class_refuses_another_models_checkpoint(small_models):
    with pytest.raises(CheckpointError, match="turbo model, which ChatterboxTTS"):
        ChatterboxTTS.from_local(small_models("turbo"))


def test_gpt2_teacher_forcing_equals_decoding_with_the_cache(turbo):
    t3 = turbo.networks.t3
    cond = t3.embed_conditioning(turbo.conds.speaker_embedding, mx.arange(9)[None], 0.0)
    text = mx.array([5, 6, 7, 8])
    greedy = SamplingSettings(0.0, 1.0, 0.0, 1.0, 0, "penalty_last")
    tokens = list(decode(t3, cond, text, greedy, 0.5, 10))
    logits = t3.teacher_forced_logits(cond, text, mx.array(tokens))
    assert logits.shape == (1, len(tokens) + 1, 6563)
    assert mx.argmax(logits[0], axis=-1).tolist()[: len(tokens)] == tokens


def test_turbo_penalises_the_start_token_at_step_one_and_never_again(turbo, monkeypatch):
    seen_at = []

    def spy(logits, seen, settings):
        seen_at.append(np.flatnonzero(np.array(seen)[0]).tolist())
        return logits

    monkeypatch.setattr("mlx_chatterbox.models.t3.sampler.process_logits", spy)
    t3 = turbo.networks.t3
    cond = t3.embed_conditioning(turbo.conds.speaker_embedding, None, 0.0)
    greedy = SamplingSettings(0.0, 1.2, 0.0, 1.0, 0, "penalty_last")
    tokens = list(decode(t3, cond, mx.array([5, 6]), greedy, 0.0, 4))
    assert seen_at[0] == [6561]
    assert seen_at[1] == [tokens[0]]
    assert seen_at[2] == sorted(set(tokens[:2]))


UPSTREAM = {
    ChatterboxTTS: {
        "repetition_penalty": 1.2,
        "min_p": 0.05,
        "top_p": 1.0,
        "audio_prompt_path": None,
        "exaggeration": 0.5,
        "cfg_weight": 0.5,
        "temperature": 0.8,
    },
    ChatterboxMultilingualTTS: {
        "language_id": inspect.Parameter.empty,
        "audio_prompt_path": None,
        "exaggeration": 0.5,
        "cfg_weight": 0.5,
        "temperature": 0.8,
        "repetition_penalty": 1.2,
        "min_p": 0.05,
        "top_p": 1.0,
    },
    ChatterboxTurboTTS: {
        "repetition_penalty": 1.2,
        "min_p": 0.0,
        "top_p": 0.95,
        "audio_prompt_path": None,
        "exaggeration": 0.0,
        "cfg_weight": 0.0,
        "temperature": 0.8,
        "top_k": 1000,
        "norm_loudness": True,
    },
    ChatterboxFlashTTS: {},  # all of its arguments are keywords: tests/api/test_flash.py
}


@pytest.mark.parametrize("kind", UPSTREAM, ids=lambda kind: kind.__name__)
def test_arguments_and_defaults_are_upstreams(kind):
    parameters = inspect.signature(kind.generate).parameters
    ours = {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name not in ("self", "text")
    }
    assert list(ours.items()) == list(UPSTREAM[kind].items())
    extras = {n for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert extras >= set(SpeechOptions.__annotations__)
    assert kind is ChatterboxFlashTTS or extras == set(SpeechOptions.__annotations__)


@pytest.mark.parametrize("variant", ["english", "turbo", "multilingual"])
def test_upstreams_checkpoints_keep_upstreams_defaults(variant):
    config = VARIANTS[variant].default_config()
    signature = UPSTREAM[CLASSES[config.text.tokenizer]]
    for name in ("repetition_penalty", "min_p", "top_p", "cfg_weight", "temperature"):
        assert getattr(config.generation, name) == signature[name]


def test_a_checkpoints_own_defaults_apply_unless_overridden(turbo):
    assert turbo.request("Hello.").settings[0].sampling == (
        SamplingSettings(0.8, 1.2, 0.0, 0.95, 1000, "penalty_last")
    )


def test_t3_models_are_named_as_upstream_names_them():
    assert t3_file("v3") == "t3_mtl23ls_v3.safetensors"
    assert t3_file("my_t3.safetensors") == "my_t3.safetensors"
    with pytest.raises(ValueError, match="v9"):
        t3_file("v9")


def test_upstreams_device_arguments(monkeypatch):
    """from_pretrained(device, t3_model) and (device, nano), positionally as upstream's."""
    calls = []
    monkeypatch.setattr(
        "mlx_chatterbox.api.text_to_speech.load",
        lambda name, **kw: calls.append((name, kw)) or _stop(),
    )

    def _stop():
        raise KeyboardInterrupt

    for load in (
        lambda: ChatterboxMultilingualTTS.from_pretrained("mps", "v3"),
        lambda: ChatterboxTurboTTS.from_pretrained("cuda", True),
        lambda: ChatterboxTurboTTS.from_pretrained(device="cpu", nano=True),
        lambda: ChatterboxTTS.from_pretrained("cpu"),
        lambda: ChatterboxMultilingualTTS.from_pretrained(),
    ):
        with pytest.raises(KeyboardInterrupt):
            load()
    names = ["multilingual-v2", "nano", "nano", "chatterbox", "multilingual-v2"]
    assert [name for name, _ in calls] == names
    assert calls[0][1]["t3_file"] == "t3_mtl23ls_v3.safetensors"


def test_all_languages_are_listed():
    assert len(mlx_chatterbox.SUPPORTED_LANGUAGES) == 23
    assert ChatterboxMultilingualTTS.get_supported_languages()["zh"] == "Chinese"


def test_command_line_asks_for_the_language(small_models, capsys, tmp_path):
    from mlx_chatterbox.generate import main

    words = ["--text", "Hi.", "--model", str(small_models("multilingual"))]
    assert main([*words, "--output", str(tmp_path / "a.wav")]) == 1
    assert "--language is required" in capsys.readouterr().err
    words = ["--text", "Hi.", "--language", "fr", "--model", str(small_models("english"))]
    assert main([*words, "--output", str(tmp_path / "a.wav")]) == 1
    assert "english has no language_id" in capsys.readouterr().err


def test_command_line_prints_warnings_in_one_line(small_models, capsys, tmp_path, long_recording):
    from mlx_chatterbox.audio.files import save_audio
    from mlx_chatterbox.generate import main

    save_audio(tmp_path / "me.wav", long_recording, 24000)
    words = ["--text", "Hi [yodel].", "--model", small_models("turbo"), "--max-new-tokens", 8]
    words += ["--voice", tmp_path / "me.wav", "--output", tmp_path / "a.wav", "--seed", 1]
    assert main([str(word) for word in words]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "yodel" in line]
    assert len(notes) == 1
    assert notes[0].startswith("mlx-chatterbox: note: unknown tag")


@pytest.mark.parametrize("setting", [{"top_k": -1}, {"top_p": 2.0}, {"temperature": -1.0}])
def test_turbo_settings_out_of_range(turbo, setting):
    with pytest.raises(SettingError, match="must be"):
        turbo.generate("Hello.", **setting, **SHORT)
