"""Numbers that become an index, a shape or a length are checked before MLX gets them."""

import gzip
import json
import os
import zlib

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox import ChatterboxTTS, ChatterboxVC, S3GenModel, Voice
from mlx_chatterbox.checks.json_file import MAX_DEPTH, read_json
from mlx_chatterbox.checks.safetensors_header import load_safetensors, read_header
from mlx_chatterbox.checks.tensors import check_finite, check_shape, check_tokens
from mlx_chatterbox.errors import CheckpointError, DataError, SettingError
from mlx_chatterbox.text.lexicon import read_lexicon
from mlx_chatterbox.text.tokenizer import EnglishTokenizer
from mlx_chatterbox.weights.conversion.voice import convert_voice
from mlx_chatterbox.weights.hub import POCKET_FOLDER
from tests.fuzz_damage import safetensors_of, tensors_of

SLT = POCKET_FOLDER / "voices" / "slt.safetensors"
PROMPT, MEL = "gen.prompt_token", "gen.prompt_feat"


@pytest.fixture(scope="module")
def tts():
    return ChatterboxTTS.from_pretrained("pocket")


@pytest.fixture
def spoilt(tmp_path):
    """Function that writes pocket's voice with other tensors; None leaves one out."""

    def write(**changed):
        tensors, metadata = tensors_of(SLT.read_bytes())
        for name, value in changed.items():
            key = name.replace("__", ".")
            tensors[key] = value(tensors.get(key)) if callable(value) else value
        tensors = {key: value for key, value in tensors.items() if value is not None}
        path = tmp_path / "evil.safetensors"
        path.write_bytes(safetensors_of(tensors, metadata))
        return path

    return write


def put(number):
    """A copy of the tokens with one changed."""

    def changed(tokens):
        tokens = tokens.astype(np.int64)
        tokens[0, len(tokens[0]) // 2] = number
        return tokens if abs(number) >= 2**31 else tokens.astype(np.int32)

    return changed


# --- Voices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [729, 7000, 10**6, 2**31 - 1, 2**32 + 1, -1, -(2**31)])
def test_a_token_outside_the_table_is_not_looked_up(spoilt, tts, token):
    path = spoilt(gen__prompt_token=put(token))
    with pytest.raises(CheckpointError, match="must be from 0 to"):
        tts.generate("Yes.", voice=Voice.load(path), max_new_tokens=2)
    with pytest.raises(CheckpointError, match="must be from 0 to"):
        tts.stream("Yes.", voice=Voice.load(path), max_new_tokens=2)
    with pytest.raises(CheckpointError, match="must be from 0 to"):
        tts.generate("Yes.", audio_prompt_path=path, max_new_tokens=2)
    with pytest.raises(CheckpointError, match="must be from 0 to"):
        ChatterboxVC(tts.checkpoint).set_target_voice(path)


@pytest.mark.parametrize(
    "changed",
    [
        {"gen__prompt_token": lambda t: t[0]},
        {"gen__prompt_token": lambda t: t[:, :0]},
        {"gen__prompt_token": lambda t: t.astype(np.float32)},
        {"gen__prompt_token": lambda t: np.concatenate([t, t])},
        {"gen__prompt_token": np.array(3, np.int32)},
        {"gen__prompt_token_len": np.array([10**6], np.int32)},
        {"gen__prompt_token_len": np.array([0], np.int32)},
        {"gen__prompt_token_len": np.array([-1], np.int32)},
        {"gen__prompt_token_len": np.array([], np.int32)},
        {"gen__prompt_token_len": np.array([2.5], np.float32)},
        {"gen__prompt_feat": lambda m: m[0]},
        {"gen__prompt_feat": lambda m: m[:, :0]},
        {"gen__prompt_feat": lambda m: m.swapaxes(1, 2)},
        {"gen__prompt_feat": lambda m: m * np.float32("nan")},
        {"gen__prompt_feat": lambda m: m.astype(np.int32)},
        {"gen__prompt_feat": lambda m: m[:, : m.shape[1] // 2]},
        {"gen__prompt_feat": lambda m: np.concatenate([m, m], axis=1)},
        {"gen__embedding": np.zeros((1, 0), np.float32)},
        {"gen__embedding": np.zeros((1, 63), np.float32)},
        {"gen__embedding": np.zeros((64,), np.float32)},
        {"gen__embedding": np.full((1, 64), np.inf, np.float32)},
        {"t3__speaker_emb": np.zeros((1, 256), np.float32)},
        {"t3__speaker_emb": np.zeros((2, 64), np.float32)},
        {"t3__emotion_adv": np.zeros((0,), np.float32)},
        {"t3__emotion_adv": np.full((1, 1, 1), np.nan, np.float32)},
        {"t3__cond_prompt_speech_tokens": np.array([[731]], np.int32)},
        {"t3__cond_prompt_speech_tokens": np.array([[-1]], np.int32)},
        {"t3__cond_prompt_speech_tokens": np.zeros((1, 605), np.int32)},
        {"t3__cond_prompt_speech_tokens": np.zeros((0, 5), np.int32)},
        {"t3__cond_prompt_speech_tokens": np.zeros((1, 5), np.float32)},
        {"gen__embedding": None},
    ],
)
def test_tensors_that_no_voice_of_the_model_has(spoilt, tts, changed):
    with pytest.raises(CheckpointError) as caught:
        tts.generate("Yes.", voice=Voice.load(spoilt(**changed)), max_new_tokens=2)
    assert "\n" not in str(caught.value)


def test_a_voice_of_a_larger_model_is_refused_by_name(tts, tmp_path):
    voice = Voice(
        speaker_embedding=mx.zeros((1, 64)),
        cond_prompt_tokens=mx.zeros((1, 0), dtype=mx.int32),
        emotion=0.5,
        prompt_token=mx.array([[6560] * 50]),
        prompt_feat=mx.zeros((1, 100, 80)),
        embedding=mx.zeros((1, 64)),
    )
    with pytest.raises(CheckpointError, match="another model's"):
        tts.generate("Yes.", voice=Voice.load(voice.save(tmp_path / "full.safetensors")))
    with pytest.raises(CheckpointError, match="another model's"):
        ChatterboxVC(tts.checkpoint).generate(np.ones(4800, np.float32), voice=voice)


def test_a_built_in_voice_is_checked_when_the_model_is_loaded(spoilt, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in POCKET_FOLDER.iterdir():
        if file.is_file() and file.name != "conds.safetensors":
            os.symlink(file, folder / file.name)
    os.replace(spoilt(gen__prompt_token=put(10**6)), folder / "conds.safetensors")
    with pytest.raises(CheckpointError, match=r"conds\.safetensors is another model's"):
        ChatterboxTTS.from_local(folder)


@pytest.mark.parametrize("token", [-1, 2**31, 2**40, 2.5])
def test_conds_with_invalid_tokens_are_not_converted(spoilt, tmp_path, token):
    path = spoilt(gen__prompt_token=lambda t: np.where(np.arange(t.size) == 3, np.array(token), t))
    with pytest.raises(CheckpointError, match=r"gen\.prompt_token must be"):
        convert_voice(path, tmp_path)


def test_codes_from_non_finite_weights_are_not_looked_up(tts, recording):
    from mlx_chatterbox.weights.checkpoint import load

    networks = load("pocket").networks
    down = networks.s3_tokenizer.quantizer.codebook.project_down
    down.weight = down.weight * float("nan")
    with pytest.raises(CheckpointError, match="output of the speech tokenizer"):
        networks.s3_tokenizer(mx.array(recording[::3] * 2.0)[:16000])


# --- S3Gen's interface ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    from mlx_chatterbox.models.s3tokenizer.config import S3TokenizerConfig
    from tests.small import small_s3gen

    tokenizer = S3TokenizerConfig(n_audio_state=32, n_audio_head=2, n_audio_layer=1)
    return S3GenModel(small_s3gen(), tokenizer)


def reference(**changed):
    values = {
        "prompt_token": np.zeros((1, 5), np.int32),
        "prompt_feat": np.zeros((1, 10, 80), np.float32),
        "embedding": np.ones((1, 192), np.float32),
    }
    return {**values, **changed}


@pytest.mark.parametrize(
    ("tokens", "more", "ref"),
    [
        ([[6561]], {}, {}),
        ([[-1]], {}, {}),
        ([[2**32]], {}, {}),
        ([[2**70]], {}, {}),
        ([[float("nan")]], {}, {}),
        ([[1.5]], {}, {}),
        ([["x"]], {}, {}),
        ([[None]], {}, {}),
        (None, {}, {}),
        ([[1], [1, 2]], {"speech_token_lens": [1, 3]}, {}),
        ([[1, 2]], {"speech_token_lens": [float("nan")]}, {}),
        ([[1, 2]], {"speech_token_lens": [2**70]}, {}),
        ([[1, 2]], {"speech_token_lens": [-1]}, {}),
        ([[1, 2]], {"speech_token_lens": ["2"]}, {}),
        ([[1, 2]], {"n_cfm_timesteps": 10**9}, {}),
        ([[1, 2]], {"n_cfm_timesteps": 1.5}, {}),
        ([[1, 2]], {"n_cfm_timesteps": True}, {}),
        ([[1, 2]], {"seed": 1.5}, {}),
        ([[1, 2]], {"seed": -1}, {}),
        ([[1, 2]], {"noised_mels": np.full((1, 80, 4), np.nan, np.float32)}, {}),
        ([[1, 2]], {}, {"prompt_token": np.full((1, 5), 6561)}),
        ([[1, 2]], {}, {"prompt_token": np.full((1, 5), 2**40)}),
        ([[1, 2]], {}, {"prompt_token": np.zeros((1, 5), np.float32)}),
        ([[1, 2]], {}, {"prompt_token_len": [6]}),
        ([[1, 2]], {}, {"prompt_feat": np.zeros((1, 10, 79), np.float32)}),
        ([[1, 2]], {}, {"prompt_feat": np.zeros((1, 40, 80), np.float32)}),
        ([[1, 2]], {}, {"prompt_feat_len": [10.5]}),
        ([[1, 2]], {}, {"embedding": np.ones((1, 191), np.float32)}),
        ([[1, 2]], {}, {"embedding": np.ones(192, np.float32)}),
        ([[1, 2]], {}, {"embedding": np.full((1, 192), np.nan, np.float32)}),
        ([[1, 2]], {}, {"embedding": "a voice"}),
    ],
)
def test_s3gen_refuses_what_is_out_of_range(model, tokens, more, ref):
    with pytest.raises(SettingError):
        model.inference(tokens, ref_dict=reference(**ref), **{"n_cfm_timesteps": 1, **more})


@pytest.mark.parametrize("rate", [0, -1, 1, 10**9, float("nan"), "24000", None, 24000.5])
def test_a_sample_rate_that_no_recording_has(model, rate):
    with pytest.raises(SettingError):
        model.embed_ref(np.ones(24000, np.float32), rate)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("speech_token", [[6561, 1]]),
        ("speech_token", [[-1, 1]]),
        ("speech_token_len", [3]),
        ("speech_feat", np.zeros((1, 79, 4), np.float32)),
        ("speech_feat", np.zeros((80, 4), np.float32)),
        ("embedding", np.zeros((1, 3), np.float32)),
        ("embedding", None),
    ],
)
def test_a_training_batch_out_of_range(model, name, value):
    batch = {
        "speech_token": [[1, 2]],
        "speech_feat": np.zeros((1, 80, 4), np.float32),
        "embedding": np.ones((1, 192), np.float32),
    }
    batch[name] = value
    if value is None:
        del batch[name]
    with pytest.raises((SettingError, DataError)):
        model.compute_loss(batch)


# --- Files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2**31], "data_offsets": [0, 2**33]}},
        {"a": {"dtype": "F32", "shape": [0, 2**70], "data_offsets": [0, 0]}},
        {"a": {"dtype": "F32", "shape": [1] * 1000, "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}},
        {"a": {"dtype": "\x1b[2J", "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "x": 1}},
        {"__metadata__": {"a": [[]]}},
        {"__metadata__": []},
        {"a": 1},
        [],
        None,
    ],
)
def test_a_header_that_lies(tmp_path, header):
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    for read in (read_header, load_safetensors):
        with pytest.raises(CheckpointError) as caught:
            read(path)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":' + b"9" * 10_000 + b"}",
        b"[]",
        b"\xff",
        b"",
    ],
)
def test_json_that_is_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_bytes(text)
    with pytest.raises(DataError, match=r"x\.json cannot be read"):
        read_json(path, error=DataError)


def test_json_that_is_not_a_file_or_too_long(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_json(path)
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_json(path)
    path.unlink()
    path.write_text('{"a": "xxxxxxxx"}')
    assert read_json(path, max_bytes=17) == {"a": "xxxxxxxx"}
    with pytest.raises(CheckpointError, match="more than 16 bytes"):
        read_json(path, max_bytes=16)


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"\0" * (65 * 2**20), 1),
        gzip.compress("cat\tkæt\ndog\t\n".encode()),
        gzip.compress(b"cat"),
        gzip.compress(b"\xff\tx"),
        b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\xff" * 40,
        zlib.compress(b"cat\tkat"),
        gzip.compress(b"cat\tkat")[:-9],
        b"",
    ],
    ids=range(8),
)
def test_an_invalid_lexicon(tmp_path, content):
    path = tmp_path / "lexicon.txt.gz"
    path.write_bytes(content)
    if not content:
        assert read_lexicon(path) == {}
        return
    with pytest.raises(CheckpointError, match="is not a lexicon"):
        read_lexicon(path)


def replacing(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


@pytest.mark.parametrize(
    "changed",
    [
        {"padding": {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_id": 0}},
        {"padding": {"strategy": "BatchLongest", "pad_to_multiple_of": 10**9}},
        {"truncation": {"max_length": 5, "stride": 5, "strategy": "LongestFirst"}},
        {"added_tokens": [{"id": 4 * 10**9, "content": "x", "special": False}]},
        {"added_tokens": [{"id": 5, "content": "", "special": False}]},
        {"added_tokens": {}},
        {"normalizer": replacing({"String": "a"}, "a" * 1000)},
        {"normalizer": {"type": "Sequence", "normalizers": [replacing({"String": ""}, "aa")] * 9}},
        {"normalizer": {"type": "Sequence", "normalizers": [replacing({"String": "a"}, "aa")] * 7}},
        {"normalizer": replacing({"Regex": "(x+x+)+y"}, "")},
        {"normalizer": replacing({"Regex": "x" * 10**6}, "")},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a|a)*b"}}},
        {"model": {"type": "BPE", "vocab": {"a": 2**32}, "merges": []}},
        {"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}},
        {"model": None},
    ],
)
def test_a_tokenizer_that_would_end_the_process(tmp_path, changed):
    values = json.loads((POCKET_FOLDER / "tokenizer.json").read_text())
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({**values, **changed}))
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not a tokenizer"):
        EnglishTokenizer(path)


# --- The rule ------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [mx.array([[0, 4]]), np.array([4, 0], np.uint64), mx.zeros(0)])
def test_indices_within_a_table(values):
    values = values if values.size else values.astype(mx.int32)
    check_tokens(values, 5, "x")
    if values.size:
        with pytest.raises(DataError, match="x must be from 0 to 3; got 0 to 4"):
            check_tokens(values, 4, "x", DataError)


def test_shapes_and_numbers():
    check_shape(mx.zeros((2, 3)), (2, None), "x")
    for shape in ((2,), (None, 4), (None, None, None)):
        with pytest.raises(CheckpointError, match="x has shape"):
            check_shape(mx.zeros((2, 3)), shape, "x")
    with pytest.raises(CheckpointError, match="x has shape"):
        check_shape(mx.zeros((2, 0)), (2, None), "x")
    check_finite(mx.array([1.0], dtype=mx.bfloat16), "x")
    for values in (mx.array([1]), mx.array([float("inf")], dtype=mx.bfloat16), np.array(["x"])):
        with pytest.raises(CheckpointError):
            check_finite(values, "x")
