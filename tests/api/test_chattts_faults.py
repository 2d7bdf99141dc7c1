"""What upstream's ChatTTS has wrong, and `Chat` has not."""

from __future__ import annotations

import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest

from mlx_chatterbox.chattts import Chat
from mlx_chatterbox.errors import SettingError, TextError
from mlx_chatterbox.models.chattts.windows import sample_count
from mlx_chatterbox.models.decoder.engine import DecodingEngine
from mlx_chatterbox.voices.chattts.strings import encode_speaker

from .small_chat import QUIET, RANDOM, TEXTS, codes, ending_chat, refining

pytestmark = pytest.mark.usefixtures("cut_off_is_expected")


def test_refining_has_a_repetition_penalty(chattts_folder):
    """Upstream raises an IndexError."""
    chat = Chat()
    chat.load("custom", custom_path=chattts_folder)
    # One of these two is always the likeliest by far.
    head = chat.gpt.head_text
    head.weight[5000] = 100 * head.weight[5000]
    head.weight[5001] = -head.weight[5000]
    params = {"max_new_token": 16, "temperature": 1e-4}
    plain, penalised = (
        chat.infer(
            "hello world",
            refine_text_only=True,
            params_refine_text=refining(repetition_penalty=penalty, **params),
        ).split()
        for penalty in (1.0, 1e6)
    )
    assert len(set(plain)) <= 2 < 16 == len(set(penalised))


def test_a_seed_does_not_make_every_step_the_same(chat):
    """Upstream seeds its generator again before every step."""
    tokens = chat.speak(
        "hello",
        params_infer_code=codes(max_new_token=40, temperature=1e6, top_P=None, top_K=None),
        **QUIET,
    ).tokens
    # At such a temperature all codes are alike, so only the noise decides.
    assert len(set(tokens)) > 20


def test_a_row_that_ends_at_once_leaves_the_others_alone(ending):
    """Upstream yields nothing at all."""
    how = {"split_text": False, "invariant": True, **QUIET}
    for seed in range(40):
        params = codes(manual_seed=seed, ensure_non_empty=False, max_new_token=30, **RANDOM)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            waveforms = ending.infer(TEXTS, params_infer_code=params, **how)
        lengths = [len(one) for one in waveforms]
        if 0 in lengths and any(lengths):
            break
    else:
        pytest.fail("no seed ended some rows at once and others later")
    assert len(waveforms) == 4
    messages = [str(one.message) for one in caught]
    assert sum("it is empty" in one for one in messages) == lengths.count(0)
    assert [bool(one.verdict) for one in ending.outcomes] == [n == 0 for n in lengths]
    params = replace(params, ensure_non_empty=True)
    again = ending.infer(TEXTS, params_infer_code=params, **how)
    assert all(map(len, again))
    for before, after in zip(waveforms, again, strict=True):
        if len(before):
            np.testing.assert_array_equal(before, after)
    empty = lengths.index(0)
    assert ending.outcomes[empty].tries > 1


def test_what_always_ends_at_once_may_not_at_last(chattts_folder):
    """Upstream tries again without end."""
    chat = ending_chat(chattts_folder, -1e4)
    params = codes(ensure_non_empty=False)
    with pytest.warns(UserWarning, match="ended the speech at once"):
        (waveform,) = chat.infer("hello", params_infer_code=params, **QUIET)
    assert waveform.size == 0
    result = chat.speak("hello", params_infer_code=codes(), **QUIET)
    assert len(result.tokens) >= 1
    assert result.outcomes[0].tries == 4


def test_each_row_has_the_length_of_its_own_codes(ending):
    """Upstream pads all rows to the longest, and decodes the padding as well."""
    params = codes(max_new_token=60, **RANDOM)
    result = ending.speak(TEXTS, params_infer_code=params, **QUIET)
    lengths = [len(one.tokens) for one in result.outcomes]
    assert len(set(lengths)) > 1
    assert [len(one) for one in result.waveforms] == [sample_count(n) for n in lengths]


def test_quiet_samples_are_kept(chattts_folder):
    """Upstream deletes each one under 1e-5."""
    chat = Chat()
    chat.load("custom", custom_path=chattts_folder)
    head = chat.vocos.head.out
    head.weight = head.weight * 0
    head.bias = head.bias * 0 - 20
    (waveform,) = chat.infer("hello", params_infer_code=codes(), **QUIET)
    assert 0 < np.abs(waveform).max() < 1e-5
    assert waveform.shape == (sample_count(6),)


@pytest.mark.parametrize("given_params", [True, False])
def test_a_callers_parameters_stay_as_they_are(chat, given_params):
    """Upstream writes the automatic audio prompt into them, even into the shared default."""
    params = codes(spk_emb=chat.sample_random_speaker(seed=1))
    before = replace(params)
    options = {"params_infer_code": params} if given_params else {"seed": 1}
    if given_params:
        chat.infer("hello world. chat.", **options, **QUIET)
        assert params == before
    assert Chat.InferCodeParams() == replace(Chat.InferCodeParams(), spk_smp=None, txt_smp=None)


def test_an_interruption_ends_all_batches(chat, monkeypatch):
    """Upstream's later batches still make a step each."""
    steps = []
    step = DecodingEngine.step

    def counted(engine):
        steps.append(1)
        if len(steps) == 5:
            chat.interrupt()
        return step(engine)

    monkeypatch.setattr(DecodingEngine, "step", counted)
    params = {"params_infer_code": codes(max_new_token=30), **QUIET}
    waveforms = chat.infer(TEXTS * 2, split_text=False, **params)
    assert len(steps) == 5
    assert [len(one) for one in waveforms] == [sample_count(5)] * 8
    assert not chat.stopped
    steps.clear()
    (joined,) = chat.infer(TEXTS * 2, max_split_batch=2, **params)
    assert len(steps) == 5
    assert len(joined) == sample_count(5)
    # The flag is cleared by the next call.
    steps += [1] * 10
    assert len(chat.infer("hello", params_infer_code=codes(), **QUIET)[0]) == sample_count(6)


def test_an_interrupted_text_is_as_long_as_it_became(chat, monkeypatch):
    steps = []
    step = DecodingEngine.step

    def counted(engine):
        steps.append(1)
        if len(steps) == 3:
            chat.interrupt()
        return step(engine)

    params = {"params_refine_text": refining(max_new_token=30), "refine_text_only": True}
    whole = chat.infer("hello world", **params)
    monkeypatch.setattr(DecodingEngine, "step", counted)
    part = chat.infer("hello world", **params)
    assert len(steps) == 3
    assert part
    assert whole.startswith(part)
    assert part != whole
    steps.clear()
    assert chat.speak("hello world", params_refine_text=refining(max_new_token=30)).tokens == []


def test_an_interruption_comes_from_another_thread(chat):
    started = threading.Event()
    params = codes(max_new_token=2000, **RANDOM)
    results = []

    def speak():
        results.append(
            chat.speak(
                "hello", params_infer_code=params, progress=lambda *_: started.set(), **QUIET
            )
        )

    thread = threading.Thread(target=speak)
    thread.start()
    assert started.wait(60)
    chat.interrupt()
    thread.join(60)
    assert 0 < len(results[0].tokens) < 2000


def test_the_checkpoints_coefficients_count(chattts_folder, chat):
    """`coef` never mattered: upstream's checkpoint overwrites it, but it reports another."""
    other = Chat()
    with pytest.warns(UserWarning, match="coef"):
        other.load("custom", custom_path=chattts_folder, coef="蘁淰")
    params = {"params_infer_code": codes(), **QUIET}
    np.testing.assert_array_equal(
        other.infer("hello", **params)[0], chat.infer("hello", **params)[0]
    )


def test_brackets_lines_and_sample_texts(chat):
    """Upstream loses all after an open bracket, and speaks empty lines and tokens of speakers."""
    params = {"params_infer_code": codes(), **QUIET}
    with pytest.warns(UserWarning, match=r"\["):
        result = chat.speak("hello [world", **params)
    assert "world" in result.outcomes[0].text
    result = chat.speak("hello\n\n\nchat\n", **params)
    assert [one.text for one in result.outcomes] == ["hello", "chat"]
    codes_of = np.zeros((4, 3), int)
    with_token, without = (
        chat.speak("hello", params_infer_code=codes(spk_smp=codes_of, txt_smp=text), **QUIET)
        for text in ("[spk_emb]chat", "chat")
    )
    assert with_token.tokens == without.tokens


def test_a_wave_may_have_two_dimensions(chat):
    wave = np.sin(np.arange(24000) / 20).astype(np.float32)
    assert chat.sample_audio_speaker(wave) == chat.sample_audio_speaker(wave[None])


def test_the_models_positions_are_the_limit(chat):
    """Nothing in upstream guards them."""
    long = np.zeros((4, 4070), int)
    params = codes(spk_smp=long, max_new_token=2048, temperature=1e-4)
    with pytest.warns(UserWarning, match=r"at most \d\d tokens .* instead of 2048"):
        result = chat.speak("hello", params_infer_code=params, **QUIET)
    assert len(result.tokens) < 26
    params = codes(spk_smp=np.zeros((4, 4095), int))
    with pytest.raises(TextError, match="4096 positions"):
        chat.speak("hello", params_infer_code=params, **QUIET)


def test_a_speaker_without_a_voice_is_refused(chat):
    params = codes(spk_emb=encode_speaker(np.zeros(768)))
    with pytest.raises(SettingError, match="length 0"):
        chat.infer("hello", params_infer_code=params, **QUIET)
