"""The S3 tokenizer's first version: its computation, and the sources of its weights."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_chatterbox.audio.mel import s3_tokenizer_log_mel
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.s3tokenizer.config import TOKEN_RATES_V1, S3TokenizerV1Config
from mlx_chatterbox.models.s3tokenizer.v1 import EuclideanCodebook, S3TokenizerV1, sinusoids
from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice
from mlx_chatterbox.weights.formats.torch_zip import write_state_dict
from mlx_chatterbox.weights.speech_tokenizer_v1 import (
    load_speech_tokenizer_v1,
    save_speech_tokenizer_v1,
)
from tests.weights.onnx_stand_in import field, speech_tokenizer_v1

pytestmark = pytest.mark.numbers

SIZES = {"n_audio_state": 64, "n_audio_head": 2, "n_audio_layer": 2, "n_codebook_size": 128}
NAMES = {rate: name for name, rate in TOKEN_RATES_V1.items()}


def config(rate: int) -> S3TokenizerV1Config:
    return S3TokenizerV1Config(token_rate=rate, **SIZES)


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    """Seeded, under upstream's names and in PyTorch's layout; the codebook near the encodings."""
    rng = np.random.default_rng(11)
    model = S3TokenizerV1(config(50))
    drawn = {}
    for key, value in tree_flatten(model.parameters()):
        fan_in = np.prod(value.shape[1:]) if value.ndim > 1 else 100.0
        values = rng.standard_normal(value.shape) / np.sqrt(fan_in)
        values = values + 1.0 if "ln.weight" in key else values
        values = np.array(value) if "positional" in key else values
        drawn[key] = values.astype(np.float32)
    model.load_weights([(key, mx.array(value)) for key, value in drawn.items()])
    mel = s3_tokenizer_log_mel(mx.array(synthetic_voice(12.0, seed=9)[: 8 * 16000]))
    hidden = np.array(model.encoder(mel.T[None]))[0]
    hidden = hidden / np.linalg.norm(hidden, axis=-1, keepdims=True)
    drawn["quantizer.codebook.embed"] = hidden[rng.choice(len(hidden), 128, replace=False)]
    return {
        key.replace(".codebook.", "._codebook."): np.ascontiguousarray(
            value.transpose(0, 2, 1) if value.ndim == 3 else value
        )
        for key, value in drawn.items()
    }


@pytest.fixture(scope="module")
def onnx_files(tmp_path_factory, weights):
    folder = tmp_path_factory.mktemp("onnx")
    return {rate: speech_tokenizer_v1(folder / f"{rate}.onnx", weights, rate) for rate in (50, 25)}


@pytest.mark.parametrize("rate", [50, 25])
def test_the_number_of_tokens_follows_from_the_rate(onnx_files, rate):
    tokenizer = load_speech_tokenizer_v1(onnx_files[rate], config=config(25))
    assert tokenizer.config == config(rate)  # the file knows
    wave = synthetic_voice(3.0, seed=1)[:40000]  # 2.5 s
    tokens = tokenizer(wave)
    assert tokens.shape == (np.ceil(250 * rate / 100),)
    assert tokens.dtype == mx.int32
    assert len(np.unique(tokens)) > 10
    assert tokenizer(wave, max_tokens=10).shape == (10,)


def test_a_code_is_the_nearest_vectors_number(rng):
    codebook = EuclideanCodebook(20, 8)
    codebook.embed = mx.array(rng.standard_normal((20, 8)).astype(np.float32))
    x = rng.standard_normal((2, 30, 8)).astype(np.float32)
    distances = np.linalg.norm(x[:, :, None] - np.array(codebook.embed), axis=-1)
    codes = codebook.encode(mx.array(x))
    np.testing.assert_array_equal(codes, distances.argmin(axis=-1))
    np.testing.assert_array_equal(codebook.encode(codebook.decode(codes)), codes)


def test_positions_are_whispers():
    found = np.array(sinusoids(6, 8))
    rates = np.exp(-np.log(10000.0) / 3 * np.arange(4))
    angles = np.arange(6)[:, None] * rates
    np.testing.assert_allclose(
        found, np.concatenate([np.sin(angles), np.cos(angles)], 1), atol=1e-6
    )


@pytest.mark.parametrize("rate", [50, 25])
def test_long_recordings_lose_nothing(onnx_files, rate):
    tokenizer = load_speech_tokenizer_v1(onnx_files[rate], config=config(rate))
    mel = s3_tokenizer_log_mel(mx.array(synthetic_voice(37.0, seed=2)[: 36 * 16000]))
    tokens = np.array(tokenizer.encode_mel(mel))
    assert len(tokens) == 36 * rate
    alone = np.array(tokenizer.encode_mel(mel[:, :3000]))
    np.testing.assert_array_equal(tokens[: 28 * rate], alone[: 28 * rate])


def test_every_source_gives_the_same_weights(onnx_files, weights, tmp_path):
    expected = dict(
        tree_flatten(load_speech_tokenizer_v1(onnx_files[25], config=config(25)).parameters())
    )
    layout = {key: (value.shape, "float32") for key, value in weights.items()}
    list(write_state_dict(tmp_path / "speech_tokenizer_v1_25hz.pt", layout, weights.values()))
    tensors = {key: mx.array(value) for key, value in weights.items()}
    mx.save_safetensors(str(tmp_path / "other.safetensors"), tensors)
    models = [
        load_speech_tokenizer_v1(tmp_path / "speech_tokenizer_v1_25hz.pt", config=config(50)),
        load_speech_tokenizer_v1(
            tmp_path / "other.safetensors", "speech_tokenizer_v1_25hz", config(50)
        ),
    ]
    models.append(load_speech_tokenizer_v1(save_speech_tokenizer_v1(models[0], tmp_path / "own")))
    constants = speech_tokenizer_v1(tmp_path / "c.onnx", weights, 25, constants=True)
    models.append(load_speech_tokenizer_v1(constants, config=config(50)))
    for model in models:
        assert model.config == config(25)
        found = dict(tree_flatten(model.parameters()))
        assert found.keys() == expected.keys()
        assert all(mx.array_equal(found[key], expected[key]) for key in expected)


def test_what_cannot_be_read(onnx_files, weights, tmp_path):
    def refuses(name: str, data: bytes, message: str):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CheckpointError, match=message):
            load_speech_tokenizer_v1(tmp_path / name, config=config(50))

    whole = onnx_files[50].read_bytes()
    refuses("cut.onnx", whole[: len(whole) // 2], "cut short")
    refuses("text.onnx", b"This is not a model at all.", "no ONNX file|cut short")
    refuses("empty.onnx", b"", "cannot be read")
    refuses("other.onnx", field(7, field(1, field(4, "Add"))), "0 convolutions instead of 2")
    refuses("unnamed.pt", b"", "does not state its tokens per second")
    external = whole.replace(b"exported", b"elsewher", 1)  # an operation whose weight is gone
    refuses("lacking.onnx", external, "1 missing")
    with pytest.raises(CheckpointError, match="no S3 tokenizer"):
        load_speech_tokenizer_v1(tmp_path)
    with pytest.raises(CheckpointError, match="50 or 25"):
        S3TokenizerV1Config(token_rate=75)


# --- Against the s3tokenizer package --------------------------------------------------------------


@pytest.fixture(scope="module")
def package():
    from mlx_chatterbox.parity.torch.env import prepare

    prepare()
    import s3tokenizer.model

    return s3tokenizer


@pytest.mark.reference
@pytest.mark.parametrize("rate", [50, 25])
def test_weights_are_those_that_the_package_reads(package, onnx_files, weights, rate):
    theirs = package.onnx2torch(str(onnx_files[rate]))
    assert theirs.keys() == weights.keys()
    for key, value in weights.items():
        np.testing.assert_array_equal(theirs[key].numpy(), value, err_msg=key)


@pytest.mark.reference
@pytest.mark.parametrize("rate", [50, 25])
@pytest.mark.parametrize("seconds", [2.53, 31, 53, 60])
def test_tokens_are_the_packages(package, onnx_files, rate, seconds):
    """Equal for long recordings too, except for the stretch that the package loses."""
    import torch

    from tests.models.test_windows import places, upstream_merge

    theirs = package.model.S3Tokenizer(NAMES[rate], package.model.ModelConfig(**SIZES)).eval()
    theirs.init_from_onnx(str(onnx_files[rate]))
    ours = load_speech_tokenizer_v1(onnx_files[rate], config=config(rate))
    wave = synthetic_voice(70.0, seed=4)[: int(seconds * 16000)]
    mel = s3_tokenizer_log_mel(mx.array(wave))
    given = torch.from_numpy(np.array(mel))[None], torch.tensor([mel.shape[1]])
    codes, lengths = theirs.quantize(*given)
    upstream = codes[0, : lengths[0]].numpy()
    mine = np.array(ours.encode_mel(mel))
    assert len(mine) == -(-mel.shape[1] * rate // 100)
    assert len(np.unique(mine)) > 20
    if seconds > 30:
        mine = mine[places(upstream_merge(mel.shape[1], 100 // rate))]
    # A vector half-way between two entries may be assigned to either.
    assert len(mine) == len(upstream)
    assert (mine == upstream).mean() > 0.999
    if seconds < 30:
        with torch.no_grad():
            expected = theirs.encoder(*given)[0].numpy()
        found = np.array(ours.encoder(mel.T[None]))
        error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
        assert error < 1e-5
