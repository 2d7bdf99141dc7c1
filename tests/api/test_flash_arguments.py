"""Arguments of Chatterbox-Flash's class: what reaches the decoder, and what is refused.

Upstream's signatures and its faults: `test_flash.py`.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox import ChatterboxFlashTTS, ChatterboxTTS, ChatterboxTurboTTS, Voice
from mlx_chatterbox.api.tts import open_model
from mlx_chatterbox.errors import CheckpointError, SettingError
from mlx_chatterbox.longform.speaking import checked_settings
from mlx_chatterbox.models.flash.settings import FlashSampling
from mlx_chatterbox.synthesis.decoding import BlockDecoding

TEXT = "Hello there."
SHORT = {"guard": False, "watermark": False, "seed": 1, "max_new_tokens": 40}


@pytest.fixture(scope="module")
def folder(small_models):
    return small_models("flash")


@pytest.fixture(scope="module")
def tts(folder, recording):
    tts = ChatterboxFlashTTS.from_local(folder)
    tts.prepare_conditionals(recording)
    return tts


@pytest.fixture
def own(folder, recording):
    """A model whose voice a test may change."""
    tts = ChatterboxFlashTTS.from_local(folder)
    tts.prepare_conditionals(recording)
    return tts


def decoding_of(tts, **settings) -> BlockDecoding:
    return tts.request(TEXT, **settings).settings[0].decoding


def test_settings_left_out_are_the_checkpoints(tts):
    assert decoding_of(tts) == BlockDecoding(FlashSampling(), 16)
    assert FlashSampling() == FlashSampling(10, 0.2, 0.5, 0.5, 1.0, 1.0, True, False)
    other = ChatterboxFlashTTS(tts.checkpoint)
    blocks = other.checkpoint.config.blocks
    before = vars(blocks).copy()
    try:
        vars(blocks).update(size=8, num_steps=6, time_shift_tau=0.0)
        other = ChatterboxFlashTTS(tts.checkpoint)
        other.conds = tts.conds
        assert decoding_of(other) == BlockDecoding(
            FlashSampling(num_steps=6, time_shift_tau=0.0), 8
        )
    finally:
        vars(blocks).update(before)


def test_each_setting_reaches_its_own_name(tts):
    settings = {
        "num_steps": 7,
        "temperature": 0.3,
        "time_shift_tau": 0.75,
        "omnivoice_schedule_t_shift": 0.6,
        "cfg_scale": 0.25,
        "position_temperature": 2.0,
        "pmi_uncond_prior_precompute": False,
        "upstream_exact": True,
    }
    decoding = decoding_of(tts, **settings, block_size=32, max_speech_tokens=90)
    assert decoding == BlockDecoding(FlashSampling(*settings.values()), 32, 90)


def test_the_size_of_blocks_is_the_constructors(folder, tts):
    with_eight = ChatterboxFlashTTS.from_local(folder, "cpu", drf_block_size=8)
    with_eight.conds = tts.conds
    assert decoding_of(with_eight).block_size == 8
    assert decoding_of(with_eight, block_size=4).block_size == 4
    for wrong, message in ((0, "1 or more"), (2.5, "a whole number")):
        with pytest.raises(SettingError, match=f"drf_block_size must be {message}"):
            ChatterboxFlashTTS.from_local(folder, drf_block_size=wrong)


def test_a_type_of_pytorchs_is_understood(folder):
    class Bfloat16:
        def __str__(self):
            return "torch.bfloat16"

    assert ChatterboxFlashTTS.from_local(folder, dtype=Bfloat16()).networks.t3.dtype == mx.bfloat16


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "tensorrt"}, "backend must be one of auto, flashinfer, torch, mlx"),
        ({"backend": None}, "backend must be one of"),
        ({"use_cuda_graph": "yes"}, "use_cuda_graph must be True or False"),
        ({"normalize_text": "no"}, "normalize_text must be True or False"),
        ({"upstream_exact": 2}, "upstream_exact must be True or False"),
        ({"pmi_uncond_prior_precompute": "off"}, "pmi_uncond_prior_precompute must be True or"),
        ({"num_steps": 0}, "num_steps must be a whole number from 1"),
        ({"num_steps": 1.5}, "num_steps must be a whole number"),
        ({"temperature": -1}, "temperature must be 0"),
        ({"temperature": float("nan")}, "temperature must be 0"),
        ({"cfg_scale": "much"}, "cfg_scale must be from 0"),
        ({"block_size": 0}, "block_size must be 1 or more"),
        ({"block_size": 10**6}, "block_size must be from 1 to"),
        ({"max_speech_tokens": 0}, "max_speech_tokens must be 1 or more"),
        ({"max_speech_tokens": 9, "max_new_tokens": 9}, "either max_speech_tokens or"),
        ({"max_new_tokens": 10**9}, "max_new_tokens must be from 1 to"),
        ({"exaggeration": "sad"}, "exaggeration must be a number"),
        ({"normalize": "upstreams"}, "normalize must be True or False"),
    ],
)
def test_settings_that_are_refused(tts, settings, message):
    with pytest.raises(SettingError, match=message):
        tts.request(TEXT, **settings)


@pytest.mark.parametrize("name", ["repetition_penalty", "min_p", "top_p", "top_k", "cfg_weight"])
def test_settings_of_other_models_are_unknown(tts, name):
    with pytest.raises(TypeError, match=name):
        tts.generate(TEXT, **{name: 0.5})


def test_what_does_nothing_is_said_once(tts):
    with pytest.warns(UserWarning, match="MLX") as said:
        tts.request([TEXT] * 3, use_cuda_graph=False, backend="flashinfer")
    (line,) = [str(one.message) for one in said]
    assert line == "MLX computes all of Flash, which ignores use_cuda_graph, backend."


def test_each_class_refuses_the_others_models(folder, small_checkpoint):
    assert isinstance(open_model(folder), ChatterboxFlashTTS)
    for kind in (ChatterboxTTS, ChatterboxTurboTTS):
        with pytest.raises(CheckpointError, match=f"flash model, which {kind.__name__}"):
            kind.from_local(folder)
    with pytest.raises(CheckpointError, match="english model, which ChatterboxFlashTTS"):
        ChatterboxFlashTTS.from_local(small_checkpoint)


def test_the_voice_is_returned_as_upstreams(own, recording, tmp_path):
    voice = own.prepare_conditionals(recording, exaggeration=0.8)
    assert isinstance(voice, Voice)
    assert own.conds is voice
    voice.save(tmp_path / "me.safetensors")
    waveform = own.generate(TEXT, **SHORT)
    again = ChatterboxFlashTTS(own.checkpoint)
    saved = again.generate(TEXT, audio_prompt_path=tmp_path / "me.safetensors", **SHORT)
    np.testing.assert_array_equal(saved, waveform)


def test_emotion_that_is_left_out_is_the_voices(own, recording, recording_file):
    own.prepare_conditionals(recording, exaggeration=0.8)
    assert own.request(TEXT).voices[0].emotion == 0.8
    assert own.request(TEXT, voice=own.conds.with_emotion(0.1)).voices[0].emotion == 0.1
    assert own.request(TEXT, audio_prompt_path=recording_file).voices[0].emotion == 0.5
    requested = own.batch_request(
        [TEXT] * 3,
        settings=[None, {"exaggeration": 0.9}, {"audio_prompt_path": recording_file}],
        exaggeration=0.7,
    )
    assert [one.emotion for one in requested.voices] == [0.7, 0.9, 0.7]


def test_a_batch_takes_a_recording_or_a_voice_for_each_text(own, voices):
    recordings = [np.concatenate(voices[i : i + 3]) for i in (0, 3)]
    each = [own.voice_of(one) for one in recordings]
    texts = [TEXT, "Another one."]
    alone = [own.speak(t, voice=v, **SHORT).tokens for t, v in zip(texts, each, strict=True)]
    alone[1] = own.speak(texts[1], voice=each[1], **{**SHORT, "seed": 2}).tokens
    own.generate_batch(texts, audio_prompt_paths=iter(recordings), **SHORT)
    assert [list(one.tokens) for one in own.outcomes] == alone
    own.generate_batch(iter(texts), conds_list=iter(each), **SHORT)
    assert [list(one.tokens) for one in own.outcomes] == alone
    assert len(own.generate_batch(texts, audio_prompt_paths=[None, None], **SHORT)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"audio_prompt_paths": ["a.wav"]}, "one for each of the 2 texts; got 1"),
        ({"audio_prompt_paths": "a.wav"}, "must be a list, one for each text"),
        ({"conds_list": [None]}, "one for each of the 2 texts; got 1"),
        ({"conds_list": ["a", "b"]}, "voice of text 1 must be a Voice"),
        ({"conds_list": [None] * 2, "audio_prompt_paths": ["a"] * 2}, "give one of conds_list"),
        ({"conds_list": [None] * 2, "voices": [None] * 2}, "give one of conds_list"),
        ({"audio_prompt_paths": ["a"] * 2, "settings": [{}]}, "one for each of the 2 texts; got 1"),
    ],
)
def test_voices_of_a_batch_that_are_refused(tts, arguments, message):
    with pytest.raises(SettingError, match=message):
        tts.generate_batch([TEXT, TEXT], **arguments)


@pytest.mark.filterwarnings("ignore:digits")
def test_texts_are_written_out_as_asked(tts):
    text = "It cost $5.50"
    read = {
        name: tts.request(text, **settings).texts[0][0].read
        for name, settings in {
            "ours": {},
            "exact": {"upstream_exact": True},
            "upstream": {"normalize": "upstream"},
            "both": {"normalize": "upstream", "normalize_text": False},
            "as it is": {"upstream_exact": True, "normalize_text": False},
            "unchanged": {"normalize": "unchanged"},
            "exact, ours": {"upstream_exact": True, "normalize": True},
        }.items()
    }
    assert read["ours"] == read["exact, ours"] == "It cost five dollars and fifty cents"
    assert read["exact"] == read["upstream"] == read["both"] == "It cost five dollars, five0 cents"
    assert read["as it is"] == read["unchanged"] == text


@pytest.mark.filterwarnings("ignore:digits")
def test_marks_are_those_of_training_unless_they_are_to_stay(tts):
    def ids(text: str) -> list[int]:
        return [255, *tts.checkpoint.tokenizer.encode(text), 0]

    odd = "It cost $5 or so - yes"
    (as_written,) = tts.request(odd, normalize_text=False).texts[0]
    (unchanged,) = tts.request(odd, normalize="unchanged").texts[0]
    assert as_written.ids.tolist() == ids("It cost $5 or so, yes")
    assert unchanged.ids.tolist() == ids(odd)


def test_reading_unchanged_is_flashs(small_checkpoint):
    tts = ChatterboxTTS.from_local(small_checkpoint)
    with pytest.raises(SettingError, match="for Chatterbox-Flash 'upstream', its own cleaner"):
        tts.request(TEXT, normalize="unchanged")


@pytest.mark.parametrize("name", ["upstream_exact", "normalize_text"])
def test_jobs_do_not_compare(tts, name):
    with pytest.raises(SettingError, match=f"a job has no {name}"):
        checked_settings(tts, {name: True}, None)
    assert checked_settings(tts, {"num_steps": 8}, "en") == {"num_steps": 8}
