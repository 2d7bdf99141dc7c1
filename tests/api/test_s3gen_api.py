"""S3GenModel and HiFTNetModel: every snippet of transformers' page on S3Gen, and batches.

The page's `torch` calls are MLX's and NumPy's here; its model is a small one with seeded weights.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
import soundfile
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from mlx_chatterbox import HiFTNetModel, S3GenConfig, S3GenModel
from mlx_chatterbox.errors import AudioError, SettingError
from mlx_chatterbox.models.s3gen.s3gen import S3GenConditionals
from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice

pytestmark = pytest.mark.numbers

CLOSE = {"atol": 2e-4, "rtol": 2e-3}


@pytest.fixture(scope="module")
def model(small_config):
    model = S3GenModel(small_config.s3gen, small_config.s3_tokenizer)
    rng = np.random.default_rng(7)
    for key, value in tree_flatten(model.parameters()):
        if value.ndim > 1:
            # Weights that keep the size of signals, or waveforms would be all clipped.
            drawn = rng.standard_normal(value.shape) / np.sqrt(np.prod(value.shape[1:]))
            model.update(tree_unflatten([(key, mx.array(drawn.astype(np.float32)))]))
    model.n_cfm_timesteps = 2
    return model


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A recording at 22.05 kHz, a rate that the model does not use."""
    path = tmp_path_factory.mktemp("reference") / "reference.wav"
    soundfile.write(path, synthetic_voice(1.5, seed=5)[8000:][:22050], 22050)
    return path


def tokens(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 6561, count)


# --- The page's snippets --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.array, mx.array])
def test_basic_usage(model, reference, tmp_path, kind):
    model.eval()
    ref_wav, ref_sr = soundfile.read(reference, dtype="float32", always_2d=True)
    speech_tokens = kind(tokens(9)[None])
    waveform, _ = model.inference(
        speech_tokens=speech_tokens, ref_wav=kind(ref_wav.T), ref_sr=ref_sr, finalize=True
    )
    assert isinstance(waveform, mx.array if kind is mx.array else np.ndarray)
    assert waveform.shape == (1, 9 * 960)
    soundfile.write(tmp_path / "output.wav", np.array(waveform).T, 24000)
    assert soundfile.info(tmp_path / "output.wav").frames == 9 * 960


@pytest.mark.parametrize("kind", [np.array, mx.array])
def test_two_stage_generation(model, reference, kind):
    ref_wav, ref_sr = soundfile.read(reference, dtype="float32")
    mel_spectrograms = model(
        speech_tokens=kind(tokens(7)[None]), ref_wav=kind(ref_wav), ref_sr=ref_sr, finalize=True
    )
    assert isinstance(mel_spectrograms, mx.array if kind is mx.array else np.ndarray)
    assert mel_spectrograms.shape == (1, 80, 14)
    hiftnet = model.mel2wav
    assert isinstance(hiftnet, HiFTNetModel)
    cache_source = kind(np.zeros((1, 1, 0), dtype=np.float32))
    waveform, source = hiftnet.inference(speech_feat=mel_spectrograms, cache_source=cache_source)
    assert waveform.shape == (1, 14 * 480)
    assert source.shape == (1, 1, 14 * 480)
    assert isinstance(waveform, type(mel_spectrograms))


def test_pre_computed_reference_embeddings(model, reference):
    ref_wav, ref_sr = soundfile.read(reference, dtype="float32")
    ref_dict = model.embed_ref(ref_wav, ref_sr)
    assert ref_dict["prompt_feat_len"] is None
    assert ref_dict["prompt_token"].shape == (1, int(ref_dict["prompt_token_len"][0]))
    assert ref_dict["embedding"].shape == (1, 192)
    tokens1, tokens2 = tokens(5)[None], tokens(8, seed=1)[None]
    mel1 = model(tokens1, ref_dict=ref_dict, finalize=True)
    mel2 = model(tokens2, ref_dict=ref_dict, finalize=True)
    assert (mel1.shape, mel2.shape) == ((1, 80, 10), (1, 80, 16))
    again = model(tokens1, ref_wav=ref_wav, ref_sr=ref_sr, finalize=True, seed=4)
    np.testing.assert_array_equal(again, model(tokens1, ref_dict=ref_dict, finalize=True, seed=4))


def test_configuration():
    config = S3GenConfig(
        vocab_size=6561,
        encoder_num_blocks=6,
        decoder_num_mid_blocks=12,
        sampling_rate=24000,
        mel_bins=80,
    )
    assert config == S3GenConfig()


def test_arrays_of_other_libraries(model, reference):
    class Tensor:
        """The methods of a PyTorch tensor that the library calls."""

        def __init__(self, values):
            self._values = values

        detach = cpu = lambda self: self

        def numpy(self):
            return self._values

    ref_wav, ref_sr = soundfile.read(reference)  # float64
    ref_dict = model.embed_ref(ref_wav.tolist(), ref_sr)
    mel = model(Tensor(tokens(4)[None]), ref_dict=ref_dict, seed=1, finalize=True)
    assert isinstance(mel, np.ndarray)
    np.testing.assert_array_equal(
        mel, model(tokens(4)[None].tolist(), ref_dict=ref_dict, seed=1, finalize=True)
    )


# --- What it is ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ref_dict(model, reference):
    ref_wav, ref_sr = soundfile.read(reference, dtype="float32")
    return model.embed_ref(ref_wav, ref_sr)


def test_the_waveform_is_that_of_s3gen(model, ref_dict):
    known = S3GenConditionals(
        *(mx.array(ref_dict[k]) for k in ("prompt_token", "prompt_feat", "embedding"))
    )
    expected = model.s3gen(mx.array(tokens(6)), known, key=mx.random.key(3), n_timesteps=2)
    waveform = model.generate(tokens(6)[None], ref_dict=ref_dict, seed=3)
    np.testing.assert_allclose(waveform[0], expected, **CLOSE)


def test_an_unfinished_call_holds_back_three_tokens(model, ref_dict):
    noise = np.random.default_rng(1).standard_normal((1, 80, 24)).astype(np.float32)
    whole = model(tokens(12)[None], ref_dict=ref_dict, finalize=True, noised_mels=noise, seed=1)
    begun = model(tokens(12)[None], ref_dict=ref_dict, noised_mels=noise[..., :18], seed=1)
    assert begun.shape == (1, 80, 18)
    assert model.mel_lengths([12], ref_dict, finalize=False) == [18]
    # The frames cut off are not attended to either, so only the shape is that of the whole.
    assert np.abs(begun - whole[..., :18]).max() > 0
    nothing = model.generate(tokens(3)[None], ref_dict=ref_dict, finalize=False)
    assert nothing.shape == (1, 0)


def test_the_source_goes_on_where_the_cache_ends(model, ref_dict):
    mel = model(tokens(6)[None], ref_dict=ref_dict, finalize=True, seed=1)
    _, source = model.mel2wav.inference(mel, seed=1)
    wave, other = model.mel2wav.inference(mel, source[..., :1000], seed=2)
    np.testing.assert_array_equal(other[..., :1000], source[..., :1000])
    assert np.abs(other[..., 1000:] - source[..., 1000:]).max() > 0
    np.testing.assert_allclose(model.mel2wav.decode(mel, other), wave, atol=1e-6)


def test_steps_and_noise_are_the_callers(model, ref_dict):
    told = []
    model(
        tokens(4)[None],
        ref_dict=ref_dict,
        n_cfm_timesteps=3,
        on_step=lambda *call: told.append(call),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    first, second = (model(tokens(4)[None], ref_dict=ref_dict) for _ in range(2))
    assert np.abs(first - second).max() > 0


def test_the_loss_goes_down_along_its_gradient(model, rng):
    other = S3GenModel(model.config, model.tokenizer_config)
    other.update(model.parameters())
    other.train()
    batch = {
        "speech_token": rng.integers(0, 6561, (2, 8)),
        "speech_token_len": [8, 5],
        "speech_feat": rng.standard_normal((2, 80, 16)).astype(np.float32),
        "embedding": rng.standard_normal((2, 192)).astype(np.float32),
    }
    loss, gradients = nn.value_and_grad(other, lambda net: net.compute_loss(batch, seed=3))(other)
    descended = tree_map(lambda w, g: w - 1e-3 * g, other.trainable_parameters(), gradients)
    other.update(descended)
    assert other.compute_loss(batch, seed=3).item() < loss.item()
    unheard = dict(batch, speech_feat=batch["speech_feat"].copy())
    unheard["speech_feat"][1, :, 10:] = 9.0  # after the second row's tokens
    np.testing.assert_allclose(model.compute_loss(unheard), model.compute_loss(batch), rtol=1e-5)


# --- Batches -------------------------------------------------------------------------------------

LENGTHS = [9, 4, 6]


@pytest.fixture(scope="module")
def batch():
    """Three rows of tokens, padded with tokens that must not be vocoded."""
    rows = [tokens(count, seed=count) for count in LENGTHS]
    padded = np.full((3, 9), 4299)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return rows, padded


def test_a_padded_batch_gives_each_row_what_it_gives_alone(model, ref_dict, batch):
    rows, padded = batch
    together, sources = model.inference(
        padded, ref_dict=ref_dict, speech_token_lens=LENGTHS, seed=5
    )
    assert together.shape == (3, 9 * 960)
    for row, values in enumerate(rows):
        alone, source = model.inference(values[None], ref_dict=ref_dict, seed=5)
        length = len(values) * 960
        np.testing.assert_allclose(together[row, :length], alone[0], **CLOSE)
        np.testing.assert_allclose(sources[row, :, :length], source[0], **CLOSE)
        assert not together[row, length:].any()


def test_each_row_has_its_own_voice_and_seed(model, batch):
    rows, padded = batch
    voices = [synthetic_voice(1.5, seed=i)[8000:][:n] for i, n in enumerate((12000, 19900, 15840))]
    ref_wav = np.zeros((3, max(map(len, voices))), dtype=np.float32)
    for row, voice in zip(ref_wav, voices, strict=True):
        row[: len(voice)] = voice
    lens = [len(voice) for voice in voices]
    known = model.embed_ref(ref_wav, 24000, ref_wav_lens=lens)
    assert known["prompt_feat_len"].tolist() == [length // 480 for length in lens]
    mels = model(padded, ref_dict=known, speech_token_lens=LENGTHS, seed=[1, 2, 3], finalize=True)
    frames = model.mel_lengths(LENGTHS, known)
    for row, (values, voice) in enumerate(zip(rows, voices, strict=True)):
        one = model.embed_ref(voice, 24000)
        for name in ("prompt_token", "prompt_feat"):
            count = one[name].shape[1]
            np.testing.assert_array_equal(known[name][row, :count], one[name][0])
        np.testing.assert_array_equal(known["embedding"][row], one["embedding"][0])
        alone = model(values, ref_dict=one, seed=row + 1, finalize=True)
        assert alone.shape[2] == frames[row]
        np.testing.assert_allclose(mels[row, :, : frames[row]], alone[0], **CLOSE)
        np.testing.assert_allclose(mels[row, :, frames[row] :], np.log(1e-5), rtol=1e-6)


def test_a_list_of_rows_is_a_batch(model, ref_dict, batch):
    rows, padded = batch
    listed = model(rows, ref_dict=ref_dict, seed=1, finalize=True)
    stacked = model(padded, ref_dict=ref_dict, speech_token_lens=LENGTHS, seed=1, finalize=True)
    np.testing.assert_array_equal(listed, stacked)


def test_the_vocoder_takes_rows_of_all_lengths(model, rng):
    mels = rng.standard_normal((3, 80, 12)).astype(np.float32)
    waves, _ = model.mel2wav.inference(mels, speech_feat_lens=[12, 5, 12], seed=[1, 2, 3])
    for row, length in enumerate((12, 5, 12)):
        alone, _ = model.mel2wav.inference(mels[row : row + 1, :, :length], seed=row + 1)
        np.testing.assert_allclose(waves[row, : length * 480], alone[0], **CLOSE)


def test_noise_for_a_batch_is_cut_to_its_rows(model, ref_dict, batch, rng):
    rows, padded = batch
    noise = rng.standard_normal((3, 80, 18)).astype(np.float32)
    mels = model(
        padded,
        ref_dict=ref_dict,
        speech_token_lens=LENGTHS,
        noised_mels=noise,
        seed=1,
        finalize=True,
    )
    for row, values in enumerate(rows):
        frames = 2 * len(values)
        alone = model(
            values,
            ref_dict=ref_dict,
            noised_mels=noise[row : row + 1, :, :frames],
            seed=1,
            finalize=True,
        )
        np.testing.assert_allclose(mels[row, :, :frames], alone[0], **CLOSE)


# --- What cannot be done -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "exactly one of"),
        ({"ref_wav": np.ones(9000), "ref_dict": {}}, "exactly one of"),
        ({"ref_wav": np.ones(9000)}, "ref_sr"),
        ({"ref_wav": np.ones((2, 9000)), "ref_sr": 24000}, r"2 for 1 row"),
        ({"ref_dict": {"prompt_token": 1}}, "lacks prompt_feat, embedding"),
        ({"speech_tokens": [[6561]]}, "0 to 6560; got 6561"),
        ({"speech_tokens": [[-1]]}, "0 to 6560"),
        ({"speech_tokens": np.zeros((1, 0), dtype=int)}, "without tokens"),
        ({"speech_tokens": np.zeros((1, 2, 3), dtype=int)}, "rows of 3 axes"),
        ({"speech_token_lens": [1, 2]}, "2 entries for 1"),
        ({"speech_token_lens": [7]}, "7 for a row of length 2"),
        ({"seed": [1, 2]}, "2 seeds for 1"),
        ({"n_cfm_timesteps": 0}, "1 or more"),
        ({"noised_mels": np.zeros((1, 80, 999))}, "999 frames"),
        ({"noised_mels": np.zeros((80, 4))}, "noised_mels has shape"),
    ],
)
def test_errors_of_wrong_calls_name_the_fault(model, ref_dict, given, message):
    call = {"speech_tokens": [[1, 2]], "finalize": True, **given}
    if not any(name.startswith("ref") for name in given) and given:
        call["ref_dict"] = ref_dict
    with pytest.raises(SettingError, match=message):
        model(**call)


def test_references_that_cannot_be_used(model):
    with pytest.raises(AudioError, match="too short"):
        model.embed_ref(np.ones(500), 24000)
    with pytest.raises(AudioError, match="NaN"):
        model.embed_ref(np.full(9000, np.nan), 24000)
    with pytest.warns(UserWarning, match="at most 10"):
        model.embed_ref(synthetic_voice(10.5, seed=1), 24000)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"speech_feat": np.zeros((1, 40, 3))}, "40 mel bins"),
        ({"cache_source": np.zeros((1, 4))}, r"not \(B, 1, k\)"),
        ({"cache_source": np.zeros((2, 1, 4))}, "cache_source: 2 for 1"),
    ],
)
def test_wrong_calls_of_the_vocoder(model, given, message):
    with pytest.raises(SettingError, match=message):
        model.mel2wav.inference(**{"speech_feat": np.zeros((1, 80, 3)), **given})
    with pytest.raises(SettingError, match=r"need \(1, 1, 1440\)"):
        model.mel2wav.decode(np.zeros((1, 80, 3)), np.zeros((1, 1, 9)))
