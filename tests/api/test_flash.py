"""Chatterbox-Flash's class: upstream's arguments, voices, texts, and what upstream has wrong."""

from __future__ import annotations

import inspect
import warnings

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox import ChatterboxFlashTTS, Voice
from mlx_chatterbox.audio.files import save_audio
from mlx_chatterbox.errors import SettingError, TextError
from mlx_chatterbox.generate import main as generate
from mlx_chatterbox.models.flash.decoding import decode
from mlx_chatterbox.models.flash.requests import FlashRequest
from mlx_chatterbox.models.flash.schedule import table
from mlx_chatterbox.models.flash.settings import FlashSampling
from mlx_chatterbox.models.flash.writer import BlockWriter
from mlx_chatterbox.runtime.seeds import token_and_sound_keys
from mlx_chatterbox.text.flash.cleaner import en_us_cleaner
from mlx_chatterbox.watermark.detector import detect

TEXT = "It cost $5.50 on May 3rd."
SHORT = {"max_new_tokens": 40, "seed": 3, "guard": False, "watermark": False}
# Upstream's package 0.1.0; those that differ here and why: the class's module.
UPSTREAM = {
    "audio_prompt_path": None,
    "exaggeration": 0.5,
    "normalize_text": True,
    "num_steps": 10,
    "temperature": 0.6,
    "time_shift_tau": 0.1,
    "omnivoice_schedule_t_shift": 0.5,
    "cfg_scale": 1.0,
    "position_temperature": 5.0,
    "pmi_uncond_prior_precompute": True,
    "use_cuda_graph": True,
    "backend": "auto",
    "max_speech_tokens": None,
}
OURS = {"temperature": 0.2, "time_shift_tau": 0.5, "position_temperature": 1.0}


@pytest.fixture(scope="module")
def folder(small_models):
    return small_models("flash")


@pytest.fixture
def tts(folder, recording):
    tts = ChatterboxFlashTTS.from_local(folder)
    tts.prepare_conditionals(recording)
    return tts


def defaults_of(function) -> dict:
    parameters = inspect.signature(function).parameters
    return {name: one.default for name, one in parameters.items() if name in UPSTREAM}


# --- Upstream's surface --------------------------------------------------------------------------


def test_arguments_are_upstreams():
    expected = {**UPSTREAM, **OURS, "n_cfm_timesteps": None}
    parameters = inspect.signature(ChatterboxFlashTTS.generate).parameters
    named = [name for name in parameters if name not in ("self", "text")]
    assert named[: len(UPSTREAM)] == list(UPSTREAM)
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in named)
    assert {name: parameters[name].default for name in expected} == expected
    loading = inspect.signature(ChatterboxFlashTTS.from_pretrained).parameters
    assert list(loading)[:4] == ["repo_id", "device", "dtype", "drf_block_size"]
    local = inspect.signature(ChatterboxFlashTTS.from_local).parameters
    assert list(local) == ["ckpt_dir", "device", "dtype", "drf_block_size"]
    preparing = inspect.signature(ChatterboxFlashTTS.prepare_conditionals).parameters
    assert [(n, p.default) for n, p in preparing.items()][2:] == [("exaggeration", 0.5)]


def test_a_script_of_upstreams(folder, recording, tmp_path):
    """Devices, types and engines of PyTorch's are accepted; what has no effect is said."""
    tts = ChatterboxFlashTTS.from_pretrained(folder, "cuda", dtype="float32", drf_block_size=8)
    assert tts.sr == 24000
    conds = tts.prepare_conditionals(recording, exaggeration=0.7)
    conds.save(tmp_path / "conds.safetensors")
    loaded = Voice.load(tmp_path / "conds.safetensors")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        one = tts.generate("Hello.", backend="torch", use_cuda_graph=False, **SHORT)
    assert [("backend" in str(w.message), "use_cuda_graph" in str(w.message)) for w in said] == [
        (True, True)
    ]
    both = tts.generate_batch(["Hello.", "You."], conds_list=[loaded, None], **SHORT)
    assert one.ndim == 1
    assert both[0].shape == one.shape
    assert np.corrcoef(both[0], one)[0, 1] > 0.999
    path = tmp_path / "voice.wav"
    save_audio(path, recording, 24000)
    again = tts.generate_batch(["Hello.", "You."], audio_prompt_paths=[str(path), None], **SHORT)
    assert again[0].shape != one.shape or np.corrcoef(again[0], one)[0, 1] < 0.99  # its emotion
    assert np.array_equal(again[1], both[1])
    with pytest.raises(SettingError, match="backend must be one of"):
        tts.generate("Hello.", backend="jax")
    with pytest.raises(SettingError, match="conds_list, audio_prompt_paths"):
        tts.generate_batch(["A."], conds_list=[None], audio_prompt_paths=[None])


def test_a_recording_is_required(folder):
    with pytest.raises(SettingError, match="no voice: this checkpoint has none built in"):
        ChatterboxFlashTTS.from_local(folder).generate("Hello.")


# --- Tokens --------------------------------------------------------------------------------------


def tokens_of(tts, text, sampling, block_size=16, limit=40, seed=3) -> list[int]:
    """Decoded by the network itself, from text tokens as upstream makes them."""
    ids = mx.array(np.array([255, *tts.checkpoint.tokenizer.encode(text), 0], np.int32))
    voice, t3 = tts.conds, tts.networks.t3
    cond = t3.embed_conditioning(voice.speaker_embedding, voice.cond_prompt_tokens, voice.emotion)
    key = token_and_sound_keys(seed)[0]
    request = FlashRequest(ids, cond, sampling, limit, block_size, key=key)
    return [token for block in decode(t3, request) for token in block if token < 6561]


def test_settings_reach_the_network(tts):
    settings = {
        "num_steps": 4,
        "temperature": 0.9,
        "time_shift_tau": 0.2,
        "omnivoice_schedule_t_shift": 0.8,
        "cfg_scale": 0.3,
        "position_temperature": 2.0,
        "pmi_uncond_prior_precompute": False,
    }
    result = tts.speak("Hello there.", **settings, block_size=8, **SHORT)
    sampling = FlashSampling(4, 0.9, 0.2, 0.8, 0.3, 2.0, False)
    assert result.tokens == tokens_of(tts, "Hello there.", sampling, 8)
    usual = tts.speak("Hello there.", **SHORT)
    assert usual.tokens == tokens_of(tts, "Hello there.", FlashSampling())
    assert usual.tokens != result.tokens


def test_texts_as_upstream_reads_them(tts):
    """Its cleaner is an option; ours is the default, and right where it is wrong."""
    clean = en_us_cleaner(TEXT)
    assert "five dollars, five0 cents" in clean
    result = tts.speak(TEXT, normalize="upstream", **SHORT)
    assert result.tokens == tokens_of(tts, clean, FlashSampling())
    ours = "It cost five dollars and fifty cents on May third."
    assert tts.speak(TEXT, **SHORT).tokens == tokens_of(tts, ours, FlashSampling())
    plain = tts.speak("It cost", normalize_text=False, **SHORT)
    assert plain.tokens == tokens_of(tts, "It cost", FlashSampling())


def test_upstream_exact_is_its_text_and_its_arithmetic(tts):
    result = tts.speak(TEXT, upstream_exact=True, temperature=0.6, **SHORT)
    sampling = FlashSampling(temperature=0.6, upstream_exact=True)
    assert result.tokens == tokens_of(tts, en_us_cleaner(TEXT), sampling)
    # 0.1.0 takes any size of the noise for 1.
    louder = tts.speak(
        TEXT, upstream_exact=True, temperature=0.6, position_temperature=5.0, **SHORT
    )
    assert louder.tokens == result.tokens
    untouched = tts.speak(TEXT, upstream_exact=True, normalize_text=False, **SHORT)
    exact = FlashSampling(upstream_exact=True)
    assert untouched.tokens == tokens_of(tts, TEXT, exact)


def test_a_batch_is_each_by_itself(tts):
    texts = ["Hello.", "How are you today, my friend?", "Good."]
    settings = {key: value for key, value in SHORT.items() if key != "seed"}
    together = tts.generate_batch(texts, seeds=[5, 6, 7], **settings)
    for text, seed, waveform in zip(texts, (5, 6, 7), together, strict=True):
        alone = tts.generate(text, seed=seed, **settings)
        assert np.array_equal(alone, waveform) or np.corrcoef(alone, waveform)[0, 1] > 0.999


def test_limits(tts):
    free = {key: value for key, value in SHORT.items() if key != "max_new_tokens"}
    request = tts.request("Hello.", **free)
    (utterance,) = request.utterances()
    assert utterance.limit.tokens == 300
    assert tts.request("Hello.", max_speech_tokens=25, **free).utterances()[0].limit.tokens == 25
    result = tts.speak("Hello.", max_speech_tokens=25, **free)
    assert (result.limit, result.stopped) == (25, False)
    long = "word " * 45
    (utterance,) = tts.request(long, **free).utterances()
    assert utterance.limit.tokens == 6 * utterance.piece.ids.size
    for wrong in ({"max_speech_tokens": 0}, {"block_size": 0}, {"num_steps": 0}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            tts.generate("Hello.", **wrong, **free)
    with pytest.raises(SettingError, match="either max_speech_tokens or max_new_tokens"):
        tts.generate("Hello.", max_speech_tokens=25, **SHORT)
    with pytest.raises(TextError):
        tts.generate("", **SHORT)


# --- What upstream has wrong ---------------------------------------------------------------------


def test_exaggeration_counts_without_a_recording(tts):
    """Upstream ignores it unless a recording comes with it."""
    usual = tts.speak("Hello.", **SHORT).tokens
    assert tts.speak("Hello.", exaggeration=0.5, **SHORT).tokens == usual
    excited = tts.speak("Hello.", exaggeration=1.0, **SHORT).tokens
    assert excited != usual
    tts.conds = tts.conds.with_emotion(1.0)
    assert tts.speak("Hello.", **SHORT).tokens == excited


def test_speech_is_marked_unless_told_otherwise(tts):
    settings = {**SHORT, "watermark": None, "max_new_tokens": 150}
    marked = tts.generate("Hello.", **settings)
    plain = tts.generate("Hello.", **{**settings, "watermark": False})
    assert len(marked) == len(plain)
    assert not np.array_equal(marked, plain)
    assert detect(marked, 24000) > detect(plain, 24000)
    exact = tts.generate("Hello.", upstream_exact=True, **settings)
    assert detect(exact, 24000) > 0.5


def test_a_sentence_that_is_at_its_limit_keeps_no_other_going(tts):
    """Upstream's batch goes on for rows that are done; a text's tokens are those it has alone."""
    free = {key: value for key, value in SHORT.items() if key not in ("max_new_tokens", "seed")}
    settings = [{"max_new_tokens": 16}, {"max_new_tokens": 70}]
    both = tts.generate_batch(["Hi.", "Hello."], settings=settings, seeds=[1, 2], **free)
    alone = [
        tts.generate("Hi.", max_new_tokens=16, seed=1, **free),
        tts.generate("Hello.", max_new_tokens=70, seed=2, **free),
    ]
    assert [len(one) for one in both] == [len(one) for one in alone]
    assert len(both[0]) <= 16 * 960 < len(both[1])


# --- The command line ----------------------------------------------------------------------------


def test_the_command_line_is_what_python_speaks(folder, recording, tts, tmp_path, capsys):
    voice, output = tmp_path / "voice.wav", tmp_path / "a.wav"
    save_audio(voice, recording, 24000)
    words = [
        "--model", str(folder), "--text", "Hello there.", "--voice", str(voice), "--seed", "3",
        "--max-new-tokens", "40", "--no-guard", "--no-watermark", "--output", str(output),
        "--num-steps", "4", "--time-shift-tau", "0.2", "--position-temperature", "2",
        "--cfg-weight", "0.3", "--temperature", "0.9",
    ]  # fmt: skip
    assert generate(words) == 0
    from mlx_chatterbox.audio.files import load_audio

    tts.prepare_conditionals(str(voice))
    expected = tts.generate(
        "Hello there.", num_steps=4, time_shift_tau=0.2, position_temperature=2.0, cfg_scale=0.3,
        temperature=0.9, **SHORT,
    )  # fmt: skip
    spoken = load_audio(output, 24000)
    assert spoken.shape == expected.shape
    assert np.abs(spoken - expected).max() < 2e-4


def test_its_options_are_refused_for_others(small_checkpoint, tmp_path, capsys):
    words = ["--model", str(small_checkpoint), "--text", "Hi.", "--output", str(tmp_path / "a.wav")]
    for option in (["--num-steps", "4"], ["--upstream-exact"], ["--normalize", "upstream"]):
        assert generate([*words, *option]) in (1, 2)
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert option[0].strip("-").replace("-", "_") in error
        assert not (tmp_path / "a.wav").exists()


@pytest.mark.parametrize("size", [5, 16, 32])
def test_a_stream_begins_when_a_block_has_filled_its_first_window(tts, monkeypatch, size):
    """No pass is made for the first sound beyond those of the blocks whose tokens it needs."""
    passes, counts, run = [], [], BlockWriter.run
    monkeypatch.setattr(BlockWriter, "run", lambda *a: passes.append(1) or run(*a))
    chunks = tts.stream(
        "Hello there.",
        progress=lambda stage, done, total: counts.append(done),
        block_size=size,
        **{**SHORT, "max_new_tokens": 200},
    )
    assert len(next(iter(chunks)))
    # Tokens without a sound fill nothing.
    assert max(counts) < 60
    blocks, steps = -(-max(counts) // size), len(table(size, FlashSampling()))
    # One more for each block but the last.
    assert len(passes) == blocks * steps + blocks - 1
