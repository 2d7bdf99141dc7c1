"""`Chat`: upstream's interface to ChatTTS, seeds, voices and company."""

from __future__ import annotations

import inspect
import logging
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import mlx_chatterbox.chattts as ChatTTS
from mlx_chatterbox.chattts import Chat
from mlx_chatterbox.errors import CheckpointError, SettingError, TextError
from mlx_chatterbox.models.chattts.windows import sample_count
from mlx_chatterbox.voices.chattts.strings import decode_codes, decode_speaker
from mlx_chatterbox.watermark.detector import detect
from mlx_chatterbox.weights.chattts_files import PUBLISHED
from tests.chattts_reference import text as reference_text
from tests.speaking_chattts import write_speaking_chattts
from tests.weights.hub_stand_in import hub_stand_in

from .small_chat import QUIET, RANDOM, TEXTS, codes, refining

pytestmark = pytest.mark.usefixtures("cut_off_is_expected")


# --- Upstream's interface --------------------------------------------------------------------


def test_methods_and_parameters_are_upstreams():
    def names(method):
        return [
            one.name
            for one in list(inspect.signature(method).parameters.values())[1:]
            if one.kind is one.POSITIONAL_OR_KEYWORD
        ]

    assert names(Chat.load) == [
        *("source", "force_redownload", "compile", "custom_path", "device", "coef"),
        *("use_flash_attn", "use_vllm", "enable_cache", "experimental"),
    ]
    assert names(Chat.infer) == [
        *("text", "stream", "lang", "skip_refine_text", "refine_text_only", "use_decoder"),
        *("do_text_normalization", "do_homophone_replacement", "split_text", "max_split_batch"),
        *("params_refine_text", "params_infer_code"),
    ]
    assert names(Chat.download_models) == ["source", "force_redownload", "custom_path"]
    refine = {one.name: one.default for one in fields(Chat.RefineTextParams)}
    assert refine == {
        "prompt": "",
        "top_P": 0.7,
        "top_K": 20,
        "temperature": 0.7,
        "repetition_penalty": 1.0,
        "max_new_token": 384,
        "min_new_token": 0,
        "show_tqdm": True,
        "ensure_non_empty": True,
        "manual_seed": None,
    }
    speech = {one.name: one.default for one in fields(Chat.InferCodeParams)}
    assert speech == {
        **refine,
        "prompt": "[speed_5]",
        "temperature": 0.3,
        "repetition_penalty": 1.05,
        "max_new_token": 2048,
        "spk_emb": None,
        "spk_smp": None,
        "txt_smp": None,
        "stream_batch": 24,
        "stream_speed": 12000,
        "pass_first_n_batches": 2,
    }
    assert list(refine) == [
        *("prompt", "top_P", "top_K", "temperature", "repetition_penalty", "max_new_token"),
        *("min_new_token", "show_tqdm", "ensure_non_empty", "manual_seed"),
    ]
    assert list(speech) == [
        *refine,
        *("spk_emb", "spk_smp", "txt_smp", "stream_batch", "stream_speed"),
        "pass_first_n_batches",
    ]


def test_a_script_as_in_upstreams_readme(tmp_path, monkeypatch):
    monkeypatch.setattr("mlx_chatterbox.weights.checkpoint.cache_folder", lambda: tmp_path)
    chattts_folder = write_speaking_chattts(tmp_path / "ChatTTS")
    chat = ChatTTS.Chat()
    assert not chat.has_loaded()
    assert chat.load(source="custom", custom_path=chattts_folder, compile=False)
    assert chat.has_loaded(use_decoder=True)
    with pytest.raises(SettingError, match=r"spk_stat\.pt"):
        chat.sample_random_speaker()
    chat.load(
        "custom",
        custom_path=chattts_folder,
        speaker_statistics=reference_text("speaker/stat_string"),
    )
    speaker = chat.sample_random_speaker()
    params_infer_code = ChatTTS.Chat.InferCodeParams(
        spk_emb=speaker, temperature=0.3, top_P=0.7, top_K=20, max_new_token=4
    )
    params_refine_text = ChatTTS.Chat.RefineTextParams(
        prompt="[oral_2][laugh_0][break_6]", max_new_token=4
    )
    texts = ["hello world", "good morning"]
    wavs = chat.infer(
        texts, params_refine_text=params_refine_text, params_infer_code=params_infer_code
    )
    assert [wav.dtype for wav in wavs] == [np.float32]
    assert wavs[0].shape == (2 * sample_count(4),)
    text = "what is [uv_break] your favorite english food?[laugh][lbreak]"
    wavs = chat.infer(text, skip_refine_text=True, params_infer_code=params_infer_code)
    assert wavs[0].shape == (sample_count(4),)
    refined = chat.infer(text, refine_text_only=True, params_refine_text=params_refine_text)
    assert isinstance(refined, str)
    assert refined
    chunks = list(chat.infer(texts, stream=True, params_infer_code=params_infer_code))
    assert sum(chunk.shape[1] for chunk in chunks) == sample_count(4)
    assert {chunk.shape[0] for chunk in chunks} == {2}
    chat.unload()
    assert not chat.has_loaded()
    assert chat.gpt is None
    with pytest.raises(CheckpointError, match="load"):
        chat.infer(texts)


def test_helpers_that_scripts_use(chat):
    speaker = chat.speaker.sample_random(seed=5)
    assert speaker == chat.sample_random_speaker(seed=5) != chat.sample_random_speaker(seed=6)
    assert chat.speaker.decorate_code_prompts(["a"], "[speed_5]", None, speaker) == [
        "[Stts][spk_emb][speed_5]a[Ptts]"
    ]
    assert chat.speaker.decorate_text_prompts(["a"], "[oral_2]") == ["[Sbreak]a[Pbreak][oral_2]"]
    matrix = np.arange(20).reshape(4, 5)
    string = chat.speaker.encode_prompt(matrix)
    np.testing.assert_array_equal(chat.speaker.decode_prompt(string), matrix)
    tokenizer = chat.tokenizer
    assert (tokenizer.len, tokenizer.spk_emb_ids) == (21178, 21143)
    assert (tokenizer.break_0_ids, tokenizer.eos_token) == (21147, 21136)
    ids, attention, is_text = tokenizer.encode(["hello world", "hello"], 4, matrix)
    assert ids.shape == (2, 7, 4)
    assert attention.tolist()[1] == [False] + [True] * 6
    assert is_text.tolist()[0] == [True, True] + [False] * 5
    assert tokenizer.decode([ids[0, :2, 0]]) == ["hello world"]


def test_results_have_upstreams_shapes(chat):
    params = {"params_infer_code": codes(), **QUIET}
    assert chat.infer([], **params) == chat.infer(" \n", **params) == []
    (joined,) = chat.infer(TEXTS, **params)
    assert joined.shape == (4 * sample_count(6),)
    apart = chat.infer(TEXTS, split_text=False, **params)
    assert [one.shape for one in apart] == [(sample_count(6),)] * 4
    (split,) = chat.infer("hello world. good morning.", **params)
    assert split.shape == (2 * sample_count(6),)
    whole = chat.infer("hello world. good morning.", split_text=False, **params)
    assert [one.shape for one in whole] == [(sample_count(6),)]
    only = {"refine_text_only": True, "params_refine_text": refining()}
    assert chat.infer(["hello", "chat"], **only).count("\n") == 1
    assert len(chat.infer(["hello", "chat"], split_text=False, **only)) == 2


def test_text_is_written_out_and_what_is_left_out_is_reported(chat):
    result = chat.speak("chat 12?", params_infer_code=codes(), **QUIET)
    assert result.outcomes[0].text == "chat twelve."
    with pytest.warns(UserWarning, match="not read in .*ქ"):
        result = chat.speak("chat ქ", params_infer_code=codes(), **QUIET)
    assert result.outcomes[0].unread == ("ქ",)
    with pytest.warns(UserWarning, match="not read in .*12"):
        chat.infer("chat 12", do_text_normalization=False, params_infer_code=codes(), **QUIET)
    with pytest.raises(TextError, match="nothing to speak"):
        chat.infer("ქ", params_infer_code=codes(), **QUIET)


def test_a_normaliser_can_be_registered(chat):
    assert chat.normalizer.register("en", lambda text: text.replace("cat", "chat"))
    assert not chat.normalizer.register("en", str)
    try:
        result = chat.speak("cat", params_infer_code=codes(), **QUIET)
    finally:
        chat.normalizer.unregister("en")
    assert result.outcomes[0].text == "chat"
    assert not chat.normalizer.register("en", lambda text: 3)


def test_refined_text_is_what_is_spoken(chat):
    params = {"params_refine_text": refining(), "params_infer_code": codes()}
    refined = chat.infer("hello world", refine_text_only=True, **params)
    result = chat.speak("hello world", **params)
    assert result.outcomes[0].text == refined != "hello world"
    direct = chat.speak(refined, skip_refine_text=True, params_infer_code=codes())
    assert direct.tokens == result.tokens


def test_a_folders_model_is_found(chattts_folder, monkeypatch):
    monkeypatch.chdir(chattts_folder)
    assert Chat().load()
    assert Chat().download_models() == str(chattts_folder)
    assert Chat().download_models(custom_path=".") == "."


FIND = """
from mlx_chatterbox.chattts import Chat
print(Chat().download_models())
print(Chat().download_models("huggingface", custom_path="cache"))
print(Chat().download_models("somebody/smaller"))
"""


def test_the_hubs_model_is_downloaded_once(tmp_path):
    # A voice makes no model of the working chattts_folder.
    (tmp_path / "anna.safetensors").write_bytes(b"")
    with hub_stand_in() as hub:
        for name in (PUBLISHED.repo, "somebody/smaller"):
            hub.add(name, dict.fromkeys(PUBLISHED.required, b"{}"))
        environment = {**os.environ, **hub.environment(), "HF_HOME": str(tmp_path / "home")}

        def find() -> subprocess.CompletedProcess:
            settings = {"env": environment, "cwd": tmp_path, "capture_output": True, "text": True}
            return subprocess.run([sys.executable, "-c", FIND], check=True, **settings)

        runs = [find()]
        asked = [path for _, path in hub.requests if "2Noise" in path]
        runs.append(find())
        assert [path for _, path in hub.requests if "2Noise" in path] == asked != []
    first, again, other = (Path(one) for one in runs[0].stdout.splitlines())
    assert "models--somebody--smaller" in other.parts
    assert tmp_path / "home" in first.parents
    assert "cache" in again.parts
    assert all((tmp_path / again / name).is_file() for name in PUBLISHED.required)
    assert "CC BY-NC 4.0" in runs[0].stderr
    assert runs[1].stdout == runs[0].stdout
    assert "CC BY-NC" not in runs[1].stderr


def test_options_without_effect_are_named(chattts_folder):
    chat = Chat()
    with pytest.warns(UserWarning, match="compile, use_flash_attn have no effect"):
        chat.load("custom", compile=True, custom_path=chattts_folder, use_flash_attn=True)
    with pytest.raises(SettingError, match="source"):
        chat.load("elsewhere")
    with pytest.raises(CheckpointError, match="there is no folder"):
        chat.load("custom", custom_path=chattts_folder / "elsewhere")
    assert chat.has_loaded()


def test_a_logger_takes_the_warnings(chattts_folder, caplog):
    chat = Chat(logger=logging.getLogger("mine"))
    with caplog.at_level(logging.WARNING, "mine"):
        chat.load("custom", custom_path=chattts_folder, experimental=True)
    assert "experimental" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"params_infer_code": {"temperature": 1}}, "InferCodeParams"),
        ({"params_infer_code": codes(temperature=[0.3, 0.2])}, "temperature"),
        ({"params_infer_code": codes(max_new_token=0)}, "max_new_token"),
        ({"params_infer_code": codes(prompt="[speed_12]")}, "speed_12"),
        ({"params_infer_code": codes(spk_emb="蘁淰")}, "speaker string"),
        ({"params_infer_code": codes(spk_emb=np.ones(3))}, "768"),
        ({"params_infer_code": codes(spk_smp=np.full((4, 2), 625))}, "625"),
        ({"params_infer_code": codes(manual_seed=-1)}, "seed"),
        ({"params_refine_text": refining(temperature=[0.3] * 4)}, "temperature"),
        ({"max_split_batch": 0}, "max_split_batch"),
        ({"stream": True, "lookahead": -1}, "lookahead"),
        ({"stream": True, "params_infer_code": codes(stream_batch=0)}, "stream_batch"),
        ({"use_decoder": "yes"}, "use_decoder"),
    ],
)
def test_wrong_parameters_are_refused(chat, wrong, words):
    with pytest.raises(SettingError, match=words):
        chat.infer("hello", **wrong)


def test_an_unknown_argument_is_refused(chat):
    with pytest.raises(TypeError, match="sead"):
        chat.infer("hello", sead=1)


# --- Seeds, voices and company ---------------------------------------------------------------


def test_a_row_is_what_it_is_alone(chat):
    params = {"params_infer_code": codes(max_new_token=20, **RANDOM), **QUIET, "invariant": True}
    together = chat.speak(TEXTS, **params)
    for i, text in enumerate(TEXTS):
        alone = chat.speak(
            text,
            **{**params, "params_infer_code": codes(**RANDOM, max_new_token=20, manual_seed=1 + i)},
        )
        assert alone.outcomes[0].tokens == together.outcomes[i].tokens
        np.testing.assert_array_equal(alone.waveform, together.waveforms[i])
    one_by_one = chat.speak(TEXTS[:2], max_split_batch=1, **params)
    assert one_by_one.outcomes == together.outcomes[:2]


def test_one_seed_for_speech_and_text(chat):
    settings = {
        "params_infer_code": codes(manual_seed=None, **RANDOM),
        "params_refine_text": refining(manual_seed=None, **RANDOM),
        "watermark": False,
    }
    first, again, other = (chat.speak("hello", seed=seed, **settings) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.waveform, again.waveform)
    assert first.outcomes == again.outcomes
    assert first.tokens != other.tokens
    assert chat.speak("hello", **settings).tokens != chat.speak("hello", **settings).tokens


def test_speaker_and_audio_prompt_change_the_speech(chat):
    speaker = chat.sample_random_speaker(seed=5)
    plain = chat.speak("hello", params_infer_code=codes(), **QUIET)
    spoken = chat.speak("hello", params_infer_code=codes(spk_emb=speaker), **QUIET)
    vector = decode_speaker(speaker)
    by_vector = chat.speak("hello", params_infer_code=codes(spk_emb=vector), **QUIET)
    assert plain.tokens != spoken.tokens
    np.testing.assert_array_equal(spoken.waveform, by_vector.waveform)
    sample = chat.sample_audio_speaker(spoken.waveform)
    assert decode_codes(sample).shape == (4, 6)
    prompted = chat.speak("hello", params_infer_code=codes(spk_smp=sample), **QUIET)
    with_text = codes(spk_smp=sample, txt_smp="hello world")
    assert prompted.tokens != plain.tokens
    assert chat.speak("hello", params_infer_code=with_text, **QUIET).tokens != prompted.tokens


def test_codes_make_sound_as_well(chat):
    hidden = chat.speak("hello", params_infer_code=codes(), **QUIET)
    by_codes = chat.speak("hello", use_decoder=False, params_infer_code=codes(), **QUIET)
    assert by_codes.tokens == hidden.tokens
    assert by_codes.waveform.shape == hidden.waveform.shape
    assert np.abs(by_codes.waveform - hidden.waveform).max() > 1e-4


def test_pieces_of_a_text_follow_its_first(chat):
    """The first is spoken alone first, and is the audio prompt of all, itself included."""
    text = "hello world. good morning. chat"
    result = chat.speak(text, params_infer_code=codes(), **QUIET)
    assert [one.text for one in result.outcomes] == ["hello world.", "good morning.", "chat"]
    seeds = [one.seed for one in result.outcomes]
    alone = chat.speak("hello world.", params_infer_code=codes(manual_seed=seeds[0]), **QUIET)
    sample = chat.sample_audio_speaker(alone.waveform)
    for one, seed in zip(result.outcomes, seeds, strict=True):
        params = codes(manual_seed=seed, spk_smp=sample, txt_smp="hello world.")
        assert chat.speak(one.text, params_infer_code=params, **QUIET).tokens == list(one.tokens)
    # Another text beside it has a prompt of its own.
    both = chat.speak(["chat", text], params_infer_code=codes(manual_seed=0), **QUIET)
    assert both.tokens[6:] == result.tokens


def test_speech_is_marked_unless_it_is_not_to_be(chat):
    params = codes(max_new_token=60, manual_seed=2)
    marked = chat.infer("hello", skip_refine_text=True, params_infer_code=params)[0]
    plain = chat.infer("hello", params_infer_code=params, **QUIET)[0]
    assert marked.shape == plain.shape
    assert not np.array_equal(marked, plain)
    assert detect(marked, 24000) != detect(plain, 24000)


def test_the_latest_result_is_kept(chat):
    result = chat.speak(TEXTS, params_infer_code=codes(), speed=1.5, **QUIET)
    assert chat.outcomes == result.outcomes
    assert chat.last_tokens == result.tokens
    assert chat.limit == 6
    assert not chat.stopped
    assert len(chat.spans) == 4
    assert len(result.waveforms[0]) == round(sample_count(6) / 1.5)


def test_progress_is_reported(chat):
    calls = []
    chat.speak(
        "hello",
        params_infer_code=codes(),
        params_refine_text=refining(),
        progress=lambda *call: calls.append(call),
    )
    assert [stage for stage, *_ in calls] == ["refine"] * 5 + ["tokens"] * 6
    assert calls[-1] == ("tokens", 6, 6)
