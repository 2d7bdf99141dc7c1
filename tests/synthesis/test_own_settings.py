"""Texts of one batch, each in its own voice and with its own settings: each as it is alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mlx_chatterbox
from mlx_chatterbox import ChatterboxTTS, Voice
from mlx_chatterbox.synthesis.engine import ROWS_TOGETHER
from mlx_chatterbox.voices.voice import embed_voice
from tests.rounding import Rounding, pitched

VOICES = Path(mlx_chatterbox.__file__).parent / "pocket" / "voices"
FAST = {"n_cfm_timesteps": 1, "watermark": False}
# Text, its voice, and its settings; those of all are `FAST`.
CASES = [
    ("Good morning.", None, {}),
    ("Open the window.", "slt", {"temperature": 0.6}),
    ("Yes.", "awb", {"cfg_weight": 0.5, "max_new_tokens": 30}),
    ("It costs 12 kopeks.", None, {"normalize": True, "lexicon": {"kopeks": "copecks"}}),
    ("Thank you.", "slt", {"n_cfm_timesteps": 2, "exaggeration": 0.9, "min_p": 0.1}),
    ("No. [pause 0.1s] Nobody knows.", "rms", {"top_p": 0.9, "guard": False}),
    ("The red hat is old.", "awb", {"speed": 1.25, "watermark": True, "guard": True}),
]
TEXTS = [text for text, _, _ in CASES]
SETTINGS = [settings for _, _, settings in CASES]
SEEDS = [5, 2**63, 0, 7, 5, 11, 12]


@pytest.fixture(scope="module")
def tts() -> ChatterboxTTS:
    return ChatterboxTTS.from_pretrained("pocket")


@pytest.fixture(scope="module")
def known() -> dict:
    """Saved voices by name; the model's own, None, too."""
    names = ("awb", "rms", "slt")
    return {None: None} | {name: Voice.load(VOICES / f"{name}.safetensors") for name in names}


@pytest.fixture(scope="module")
def voices(known) -> list:
    return [known[name] for _, name, _ in CASES]


@pytest.fixture
def steady_voice(tts):
    """A steady pitch, so that the waveform accumulates less rounding."""
    with pitched(tts.networks.s3gen.mel2wav):
        yield


def together(tts, voices, **more) -> list[np.ndarray]:
    settings = {"voices": voices, "settings": SETTINGS, "seeds": SEEDS, "invariant": True}
    return tts.generate_batch(TEXTS, **settings, **FAST, **more)


@pytest.mark.numbers
@pytest.mark.parametrize("batch_size", [None, 3])
def test_each_text_is_as_in_a_batch_of_its_own_to_the_bit(tts, voices, batch_size):
    found = together(tts, voices, batch_size=batch_size)
    outcomes = iter(tts.outcomes)
    for text, voice, settings, seed, waveform in zip(
        TEXTS, voices, SETTINGS, SEEDS, found, strict=True
    ):
        how = {**FAST, **settings, "voice": voice}
        (alone,) = tts.generate_batch([text], seeds=[seed], invariant=True, **how)
        np.testing.assert_array_equal(waveform, alone)
        for expected in tts.outcomes:
            assert next(outcomes) == expected
    assert next(outcomes, None) is None


@pytest.mark.numbers
def test_each_text_is_generates_with_its_voice_settings_and_seed(tts, voices, steady_voice):
    chosen = [0, 1, 2, 3, 4]

    def alone() -> list[np.ndarray]:
        return [
            tts.generate(TEXTS[i], voice=voices[i], seed=SEEDS[i], **{**FAST, **SETTINGS[i]})
            for i in chosen
        ]

    expected = Rounding(alone, [tts.networks.s3gen], t3=tts.networks.t3)
    found = tts.generate_batch(
        [TEXTS[i] for i in chosen],
        voices=[voices[i] for i in chosen],
        settings=[SETTINGS[i] for i in chosen],
        seeds=[SEEDS[i] for i in chosen],
        **FAST,
    )
    expected.check(found)


@pytest.mark.numbers
def test_any_order_of_the_texts_gives_each_the_same(tts, voices):
    found = together(tts, voices)
    order = [3, 6, 0, 5, 1, 4, 2]
    again = tts.generate_batch(
        [TEXTS[i] for i in order],
        voices=[voices[i] for i in order],
        settings=[SETTINGS[i] for i in order],
        seeds=[SEEDS[i] for i in order],
        invariant=True,
        **FAST,
    )
    for number, waveform in zip(order, again, strict=True):
        np.testing.assert_array_equal(waveform, found[number])


def test_every_utterance_has_all_that_its_speech_depends_on(tts, known, voices):
    request = tts.batch_request(
        TEXTS, voices=voices, settings=SETTINGS, seeds=SEEDS, invariant=True, **FAST
    )
    assert (request.is_shared, request.invariant) == (False, True)
    for number, (text, voice, settings) in enumerate(zip(TEXTS, voices, SETTINGS, strict=True)):
        own = [one for one in request.utterances() if one.text == number]
        alone = tts.request(text, voice=voice, seed=SEEDS[number], **{**FAST, **settings})
        for one, expected in zip(own, alone.utterances(), strict=True):
            assert one.settings == expected.settings
            assert one.seed == expected.seed
            assert one.piece.ids.tolist() == expected.piece.ids.tolist()
            for name, value in vars(expected.voice).items():
                assert np.array_equal(getattr(one.voice, name), value), name
    # One voice at one emotion is one object, so that those who share it are found.
    names = [name for _, name, _ in CASES]
    assert request.voices[0] is request.voices[3]
    assert request.voices[2] is request.voices[6]
    assert request.voices[1] is not request.voices[4]
    assert len({id(one) for one in request.voices}) == len(set(names)) + 1
    # Texts without settings of their own share those of all.
    assert [one.limit.tokens for one in request.settings][2] == 30


def test_settings_of_the_call_may_be_positional_and_are_replaced(tts):
    texts = ["One.", "Two.", "Three."]
    own = [{}, {"repetition_penalty": 1.0, "top_p": 0.5}, None]
    request = tts.batch_request(texts, 1.3, 0.1, settings=own, seed=3, speed=1.1)
    assert [one.sampling.repetition_penalty for one in request.settings] == [1.3, 1.0, 1.3]
    assert [one.sampling.min_p for one in request.settings] == [0.1] * 3
    assert [one.sampling.top_p for one in request.settings] == [
        tts.defaults.top_p,
        0.5,
        tts.defaults.top_p,
    ]
    assert [one.speed for one in request.settings] == [1.1] * 3
    assert request.seeds == (3, 4, 5)


def test_one_guided_text_halves_the_rows_together(tts):
    texts, off, on = ["One.", "Two."], {"cfg_weight": 0.0}, {"cfg_weight": 0.5}
    sizes = [
        tts.batch_request(texts, settings=settings).batch_size
        for settings in ([off, off], [off, on], [on, on])
    ]
    assert sizes == [ROWS_TOGETHER, ROWS_TOGETHER // 2, ROWS_TOGETHER // 2]


def test_one_text_shares_the_cores_and_a_list_does_not(tts):
    assert tts.request("Yes.").is_shared
    assert not tts.request(["Yes."]).is_shared
    assert not tts.batch_request(["Yes."]).is_shared
    assert not tts.request("Yes.").invariant


def test_the_limit_of_each_text_is_its_own(tts):
    own = [{"max_new_tokens": 6}, {"max_new_tokens": 200}]
    tts.generate_batch(["Good morning.", "Yes."], settings=own, seed=5, **FAST)
    assert [one.stopped for one in tts.outcomes] == [False, True]
    assert len(tts.outcomes[0].tokens) == 6
    assert (tts.limit, tts.stopped) == (200, False)
    tts.generate_batch(["Good morning.", "Yes."], settings=own[::-1], seed=5, **FAST)
    assert [one.stopped for one in tts.outcomes] == [True, False]


def test_the_callers_limit_is_no_finding_and_guards_are_each_texts_own(tts, monkeypatch):
    own = [{"max_new_tokens": 6}, {"guard": False}, {}]
    request = tts.batch_request(["Good morning."] * 3, settings=own, seed=5)
    assert [one.limit.is_callers for one in request.settings] == [True, False, False]
    assert [one.guard for one in request.settings] == [True, False, True]


def test_a_request_of_several_voices_is_spoken_again_and_by_another_thread(tts, voices):
    request = tts.batch_request(
        TEXTS[:3], voices=voices[:3], settings=SETTINGS[:3], seeds=SEEDS[:3], **FAST
    )
    first = tts.engine.speak(request)
    with ThreadPoolExecutor(1) as other:
        again = other.submit(tts.engine.speak, request).result()
    assert again.tokens == first.tokens
    for one, expected in zip(again.waveforms, first.waveforms, strict=True):
        np.testing.assert_array_equal(one, expected)


def test_a_stream_has_the_voice_and_settings_of_its_text(tts, known):
    own = {"cfg_weight": 0.5, "speed": 1.2, "watermark": True, "n_cfm_timesteps": 2}
    text, voice = "Open the window. [pause 0.1s] Nobody knows.", known["slt"]
    request = tts.batch_request([text], voices=[voice], settings=[own], seeds=[9], **FAST)
    stream = tts.engine.stream(request)
    expected = tts.stream(text, voice=voice, seed=9, **own)
    np.testing.assert_array_equal(np.concatenate(list(stream)), np.concatenate(list(expected)))
    assert stream.result.outcomes == expected.result.outcomes
    plain = tts.stream(text, seed=9, **FAST)
    assert len(np.concatenate(list(plain))) > 0
    assert stream.result.tokens != plain.result.tokens


# --- Voices -------------------------------------------------------------------------------------

# The recording is faint in parts.
reads_a_recording = pytest.mark.filterwarnings("ignore:the reference")


@pytest.fixture
def read(tts, monkeypatch) -> list:
    """Recordings that were read, in order."""
    seen, voice_of = [], tts.engine.voice_of
    monkeypatch.setattr(
        tts.engine, "voice_of", lambda *what: seen.append(what[0]) or voice_of(*what)
    )
    return seen


@reads_a_recording
def test_a_recording_is_read_once_and_is_the_voice_of_its_texts_alone(tts, read, recording_file):
    before = tts.conds
    own = [{"audio_prompt_path": recording_file}, {}, {"audio_prompt_path": str(recording_file)}]
    own += [{"audio_prompt_path": recording_file, "exaggeration": 0.9}]
    request = tts.batch_request(["One.", "Two.", "Three.", "Four."], settings=own)
    assert [str(one) for one in read] == [str(recording_file)]
    assert request.voices[0] is request.voices[2]
    assert [one.emotion for one in request.voices] == [0.5, 0.5, 0.5, 0.9]
    expected = embed_voice(tts.networks, recording_file, tts.defaults, 0.9)
    assert np.array_equal(request.voices[3].prompt_token, expected.prompt_token)
    assert np.array_equal(request.voices[1].prompt_token, before.prompt_token)
    assert np.array_equal(tts.conds.prompt_token, before.prompt_token)


@reads_a_recording
def test_a_recording_of_a_text_goes_before_the_voice_of_the_call(tts, known, recording_file):
    own = [{"audio_prompt_path": recording_file}, {}]
    request = tts.batch_request(["One.", "Two."], voice=known["slt"], settings=own)
    assert np.array_equal(request.voices[1].prompt_token, known["slt"].prompt_token)
    assert not np.array_equal(request.voices[0].prompt_token, known["slt"].prompt_token)


@reads_a_recording
def test_the_recording_of_the_call_becomes_the_models_voice_if_a_text_has_it(
    small_checkpoint, known, recording_file
):
    tts = ChatterboxTTS.from_local(small_checkpoint)
    own = tts.voice_of(recording_file)
    # No text needs the model's voice, which is missing.
    common = {"audio_prompt_path": recording_file, "exaggeration": 0.8, "max_new_tokens": 9}
    tts.batch_request(["One.", "Two."], voices=[own, own], max_new_tokens=9)
    assert tts.conds is None
    request = tts.batch_request(["One.", "Two."], voices=[own, None], **common)
    assert tts.conds is request.voices[1]
    assert [one.emotion for one in request.voices] == [0.8, 0.8]


def test_a_voice_keeps_the_emotion_of_the_call_or_of_its_text(tts, known):
    voices, own = [known["slt"], None, known["slt"]], [{}, {"exaggeration": 0.2}, {}]
    request = tts.batch_request(
        ["One.", "Two.", "Three."], voices=voices, settings=own, exaggeration=0.7
    )
    assert [one.emotion for one in request.voices] == [0.7, 0.2, 0.7]
    assert request.voices[0] is request.voices[2]
    assert replace(known["slt"], emotion=0.7).prompt_token is request.voices[0].prompt_token
