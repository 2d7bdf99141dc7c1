"""The pipeline on a small model: what it returns, what it refuses."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox import ChatterboxTTS, ChatterboxTurboTTS, Voice
from mlx_chatterbox.errors import AudioError, CheckpointError, SettingError, TextError
from mlx_chatterbox.runtime.device_argument import is_device
from mlx_chatterbox.synthesis.tokens import audible_tokens
from mlx_chatterbox.voices.voice import embed_voice, whole_tokens
from mlx_chatterbox.weights.checkpoint import load
from tests.chosen_tokens import choose_tokens


@pytest.fixture(scope="module")
def tts(small_checkpoint, recording):
    tts = ChatterboxTTS.from_local(small_checkpoint)
    tts.prepare_conditionals(recording)
    return tts


SHORT = {"max_new_tokens": 12, "n_cfm_timesteps": 2}


def test_forty_milliseconds_for_each_audible_token(tts):
    waveform = tts.generate("Hello there.", seed=1, watermark=False, **SHORT)
    assert waveform.dtype == np.float32
    assert waveform.shape == (960 * len(tts.last_tokens),)
    assert tts.sr == 24000
    assert np.isfinite(waveform).all()
    assert np.abs(waveform[:480]).max() == 0.0  # faded in
    assert np.abs(waveform).max() > 0.0


def test_a_seed_repeats_and_another_differs(tts):
    first = tts.generate("Hello there.", seed=1, **SHORT)
    again = tts.generate("Hello there.", seed=1, **SHORT)
    other = tts.generate("Hello there.", seed=2, **SHORT)
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_without_a_seed_every_call_differs_and_the_global_generator_stays(tts):
    mx.random.seed(7)
    expected = mx.random.uniform(shape=(3,)).tolist()
    mx.random.seed(7)
    first = tts.generate("Hello there.", **SHORT)
    assert mx.random.uniform(shape=(3,)).tolist() == expected
    second = tts.generate("Hello there.", **SHORT)
    assert first.shape != second.shape or not np.array_equal(first, second)


def test_without_guidance(tts):
    waveform = tts.generate("Hello there.", cfg_weight=0.0, seed=1, **SHORT)
    assert waveform.shape == (960 * len(tts.last_tokens),)


def test_noise_and_source_can_be_given(tts):
    """Given both, nothing after the tokens is random."""
    tts.generate("Hello.", temperature=0.0, seed=1, **SHORT)
    new, prompt = len(tts.last_tokens), tts.conds.prompt_token.shape[1]
    noise = mx.random.normal((1, 2 * (new + prompt), 80), key=mx.random.key(3))
    source = mx.random.normal((1, 960 * new), key=mx.random.key(4)) * 0.1
    given = {"noise": noise, "source": source, "temperature": 0.0, **SHORT}
    one, two = (tts.generate("Hello.", seed=seed, **given) for seed in (1, 2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, tts.generate("Hello.", temperature=0.0, seed=1, **SHORT))


def test_voice_argument_leaves_the_models_voice_alone(tts, recording):
    mine = tts.conds
    other = embed_voice(tts.networks, recording[::-1].copy(), tts.defaults, 0.3)
    tts.generate("Hello.", voice=other, seed=1, **SHORT)
    assert tts.conds is mine or tts.conds == mine


def test_exaggeration_is_what_the_call_says(tts):
    tts.generate("Hello.", exaggeration=0.9, seed=1, **SHORT)
    assert tts.conds.emotion == 0.9
    tts.generate("Hello.", seed=1, **SHORT)
    assert tts.conds.emotion == 0.5


def test_audio_prompt_becomes_the_voice_as_upstream(tts, recording_file):
    before = tts.conds
    tts.generate("Hello.", audio_prompt_path=recording_file, seed=1, **SHORT)
    assert tts.conds is not before


def test_progress_is_reported(tts):
    calls = []
    tts.generate("Hello.", seed=1, progress=lambda *call: calls.append(call), **SHORT)
    assert {what for what, _, _ in calls} == {"tokens", "flow"}
    assert calls[-1] == ("flow", 2, 2)


def test_saved_voice_speaks_the_same(tts, recording, tmp_path):
    path = tts.voice_of(recording, 0.5).save(tmp_path / "me.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["me.safetensors"]
    loaded = Voice.load(path)
    one = tts.generate("Hello.", voice=tts.voice_of(recording), seed=1, **SHORT)
    two = tts.generate("Hello.", voice=loaded, seed=1, **SHORT)
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", ["cpu", "mps", "cuda:0"])
def test_upstreams_device_names_are_understood(small_checkpoint, name):
    assert is_device(name)
    assert ChatterboxTTS.from_local(small_checkpoint, name).device == name


def test_a_device_that_is_not_a_name_is_refused():
    """`nano` is a positional argument after the device, as in upstream."""
    for flag in (True, False):
        with pytest.raises(SettingError, match=f"got {flag} .nano=True selects Nano"):
            ChatterboxTurboTTS.from_pretrained("turbo", flag)


def test_positional_arguments_are_upstreams(tts, recording_file):
    """upstream: generate(text, repetition_penalty, min_p, top_p, audio_prompt_path, ...)"""
    tts.generate("Hello.", 1.3, 0.1, 0.9, recording_file, 0.6, 0.4, 0.7, seed=1, **SHORT)
    assert tts.conds.emotion == 0.6


@pytest.mark.parametrize("text", ["", "   \n\t", "...", "?! -- ,", "😀 🎉"])
def test_nothing_to_speak(tts, text):
    with pytest.raises(TextError, match=r"(no|nothing) "):
        tts.generate(text, **SHORT)


def test_a_script_that_the_vocabulary_lacks(tts):
    with pytest.raises(TextError, match="knows none of the letters"):
        tts.generate("你好世界", **SHORT)


def test_more_text_than_positions(tts):
    with pytest.raises(TextError, match="split it"):
        tts.generate("word " * 200, **SHORT)


@pytest.mark.parametrize(
    "setting",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"min_p": 1.5},
        {"top_p": 0.0},
        {"repetition_penalty": 0.0},
        {"cfg_weight": -1.0},
        {"exaggeration": 3.0},
        {"max_new_tokens": 0},
        {"max_new_tokens": 10**6},
        {"n_cfm_timesteps": 0},
        {"seed": -1},
    ],
    ids=str,
)
def test_settings_out_of_range(tts, setting):
    with pytest.raises(SettingError, match=r"must be .*got"):
        tts.generate("Hello.", **{**SHORT, **setting})


def test_no_voice(small_checkpoint):
    with pytest.raises(SettingError, match="reference recording"):
        ChatterboxTTS.from_local(small_checkpoint).generate("Hello.", **SHORT)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(48000, np.float32), "silent"),
        (np.full(2000, 0.5, np.float32), "lasts 0.08 s"),
    ],
)
def test_references_that_cannot_serve(tts, samples, message):
    with pytest.raises(AudioError, match=message):
        tts.prepare_conditionals(samples)


def test_a_reference_that_is_missing(tts, tmp_path):
    with pytest.raises(AudioError, match="no file"):
        tts.prepare_conditionals(tmp_path / "none.wav")


def test_a_file_that_is_not_a_saved_voice(tts, tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(CheckpointError, match="does not exist"):
        tts.voice_of(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="not a saved voice"):
        tts.voice_of(path)
    mx.save_safetensors(str(path), {"a": mx.zeros((1,))})
    with pytest.raises(CheckpointError, match="lacks"):
        tts.voice_of(path)


def test_reference_is_cut_to_whole_tokens():
    # 101 mel frames: the last has no second half of its token
    assert len(whole_tokens(np.zeros(101 * 480 + 7))) == 50 * 960
    assert len(whole_tokens(np.zeros(100 * 480 + 7))) == 100 * 480 + 7


def test_every_length_of_reference_gives_whole_tokens(tts, recording):
    for samples in (24000, 24479, 24480, 24959, 24960, 25439):
        voice = embed_voice(tts.networks, recording[12000 : 12000 + samples], tts.defaults)
        assert voice.prompt_feat.shape[1] == 2 * voice.prompt_token.shape[1]


def test_audible_tokens():
    assert audible_tokens([1, 6561, 5, 7000, 6560], 6561, 6561) == [5, 6560]
    assert audible_tokens([1, 6563, 2], 6561, 6561) == [1, 2]
    assert audible_tokens([1, 6561, 2, 6561, 3], 6561, 6561) == [2, 3]


def test_tokens_that_have_no_sound_are_an_error(tts, monkeypatch):
    choose_tokens(monkeypatch, lambda number, request: [7000, 8000])
    with pytest.raises(TextError, match="none that has a sound"):
        tts.generate("Hello.", **SHORT)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_speaks(small_checkpoint, recording, dtype):
    tts = ChatterboxTTS.from_local(small_checkpoint, dtype=dtype)
    assert tts.networks.t3.dtype == getattr(mx, dtype)
    tts.prepare_conditionals(recording)
    waveform = tts.generate("Hello.", seed=1, **SHORT)
    assert waveform.dtype == np.float32
    assert np.isfinite(waveform).all()


def test_upstreams_files_load_as_they_are(small_upstream, small_config, tmp_path, monkeypatch):
    """Converted on the fly, once: the second load finds the converted copy."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("mlx_chatterbox.weights.variants.ModelConfig", lambda **_: small_config)
    first = load(small_upstream)
    assert first.folder.parent == tmp_path / "mlx-chatterbox" / "converted"
    stamps = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    second = load(small_upstream)
    assert {path: path.stat().st_mtime_ns for path in second.folder.iterdir()} == stamps


def test_a_tokenizer_of_another_checkpoint(tts, monkeypatch):
    monkeypatch.setattr(tts.tokenizer, "encode", lambda text: [5, 70000])
    with pytest.raises(TextError, match="70000 is outside the model's vocabulary of 704"):
        tts.generate("Hello.", **SHORT)


def test_a_recording_with_nans(tts, tmp_path):
    import soundfile

    samples = np.full(48000, 0.1, np.float32)
    samples[100] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 24000, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN"):
        tts.prepare_conditionals(tmp_path / "nan.wav")
    with pytest.raises(AudioError, match="NaN"):
        tts.prepare_conditionals(samples)
