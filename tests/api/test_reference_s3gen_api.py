"""S3GenModel's and HiFTNetModel's own steps against upstream's methods of the same names.

What the networks compute is compared at full size by `python -m parity run`; here it is how they
are called: resampling from another rate, what a reference's tokens and mel are cut to, axes, and
where a cached source goes.
"""

from __future__ import annotations

from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from mlx_chatterbox import HiFTNetModel, S3GenModel
from mlx_chatterbox.models.s3gen.config import CAMPPlusConfig
from mlx_chatterbox.models.s3tokenizer.config import S3TokenizerConfig
from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice
from tests.small import small_s3gen

pytestmark = pytest.mark.reference

TOKENIZER = {"n_audio_state": 64, "n_audio_head": 1, "n_audio_layer": 1}


@pytest.fixture(scope="module", autouse=True)
def upstream_environment():
    from mlx_chatterbox.parity.torch.env import prepare

    prepare()


@pytest.fixture(scope="module")
def model():
    """A small model with seeded weights; upstream fixes the speaker encoder's sizes."""
    config = small_s3gen()
    config.speaker_encoder = CAMPPlusConfig()
    model = S3GenModel(config, S3TokenizerConfig(**TOKENIZER))
    rng = np.random.default_rng(2)
    drawn = []
    for key, value in tree_flatten(model.parameters()):
        if value.ndim > 1:
            values = rng.standard_normal(value.shape) / np.sqrt(np.prod(value.shape[1:]))
            drawn.append((key, mx.array(values.astype(np.float32))))
    model.update(tree_unflatten(drawn))
    return model


@pytest.fixture(scope="module")
def weights(model):
    """The same weights as in upstream's files."""
    import torch

    from mlx_chatterbox.weights.conversion.upstream import to_upstream

    files = to_upstream(dict(tree_flatten(model.parameters())))
    return {k: torch.from_numpy(np.array(v)) for k, v in files["s3gen.safetensors"].items()}


def part(weights: dict, prefix: str) -> dict:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


@pytest.fixture(scope="module")
def upstream(weights):
    """The parts of a model that `S3Token2Mel.embed_ref` uses."""
    import torch
    from chatterbox.models.s3gen.utils.mel import mel_spectrogram
    from chatterbox.models.s3gen.xvector import CAMPPlus
    from chatterbox.models.s3tokenizer.s3tokenizer import S3Tokenizer
    from s3tokenizer.model_v2 import ModelConfig, S3TokenizerV2

    tokenizer = S3Tokenizer.__new__(S3Tokenizer)  # its constructor knows one size
    S3TokenizerV2.__init__(tokenizer, "speech_tokenizer_v2_25hz", ModelConfig(**TOKENIZER))
    tokenizer.n_fft = 400
    stored = part(weights, "tokenizer.")
    tokenizer.register_buffer("window", stored["window"])
    tokenizer.register_buffer("_mel_filters", stored["_mel_filters"])
    speaker_encoder = CAMPPlus(memory_efficient=False)
    for module, values in (
        (tokenizer, stored),
        (speaker_encoder, part(weights, "speaker_encoder.")),
    ):
        assert not module.load_state_dict(values, strict=False).unexpected_keys
        module.eval()
    return SimpleNamespace(
        device=torch.device("cpu"),
        dtype=torch.float32,
        mel_extractor=mel_spectrogram,
        speaker_encoder=speaker_encoder,
        tokenizer=tokenizer,
    )


@pytest.mark.parametrize(("rate", "samples"), [(22050, 26000), (24000, 24480), (16000, 20000)])
def test_a_reference_is_upstreams(model, upstream, rate, samples):
    import torch
    from chatterbox.models.s3gen.s3gen import S3Token2Mel

    wave = synthetic_voice(2.5, seed=6)[7000:][:samples]
    with torch.no_grad():
        theirs = S3Token2Mel.embed_ref(upstream, torch.from_numpy(wave), rate)
    ours = model.embed_ref(wave, rate)
    np.testing.assert_array_equal(ours["prompt_token"], theirs["prompt_token"].numpy())
    assert len(np.unique(ours["prompt_token"])) > 10
    assert ours["prompt_token_len"].tolist() == theirs["prompt_token_len"].tolist()
    assert ours["prompt_feat_len"] is theirs["prompt_feat_len"] is None
    for name in ("prompt_feat", "embedding"):
        expected = theirs[name].numpy()
        error = np.sqrt(np.mean((ours[name] - expected) ** 2) / np.mean(expected**2))
        assert error < 1e-4, name


def test_the_vocoders_interface_is_upstreams(model, weights, rng):
    import torch
    from chatterbox.models.s3gen.f0_predictor import ConvRNNF0Predictor
    from chatterbox.models.s3gen.hifigan import HiFTGenerator

    config = model.config.hift
    theirs = HiFTGenerator(
        base_channels=config.base_channels,
        sampling_rate=config.sampling_rate,
        upsample_rates=config.upsample_rates,
        upsample_kernel_sizes=config.upsample_kernel_sizes,
        source_resblock_kernel_sizes=config.source_resblock_kernel_sizes,
        source_resblock_dilation_sizes=config.source_resblock_dilation_sizes,
        f0_predictor=ConvRNNF0Predictor(cond_channels=config.f0_predictor_cond_channels),
    ).eval()
    theirs.load_state_dict(part(weights, "mel2wav."))
    mel = rng.standard_normal((1, 80, 9)).astype(np.float32)
    cache = (rng.standard_normal((1, 1, 9 * 480)) * 0.05).astype(np.float32)
    expected, source = theirs.inference(torch.from_numpy(mel), torch.from_numpy(cache))
    ours: HiFTNetModel = model.mel2wav
    for kind in (lambda x: x, mx.array, torch.from_numpy):
        wave, used = ours.inference(kind(mel), cache_source=kind(cache))
        np.testing.assert_array_equal(used, source.numpy())
        error = np.sqrt(np.mean((np.array(wave) - expected.numpy()) ** 2))
        assert error < 1e-4 * np.sqrt(np.mean(expected.numpy() ** 2))
