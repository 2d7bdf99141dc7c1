"""Additions of small networks to upstream's: a vocoder that filters its source, a flow from little
noise, and options of their training."""

import dataclasses

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.audio.stft import hann_window, istft, stft
from mlx_chatterbox.models.s3gen.config import HiFTNetConfig
from mlx_chatterbox.models.s3gen.hift import HiFTGenerator
from mlx_chatterbox.models.s3gen.hift_stream import HiFTStream, context_frames
from mlx_chatterbox.models.s3gen.noise import FrameNoise
from mlx_chatterbox.train.distributed import Group
from mlx_chatterbox.train.optimizer import OptimizerSettings
from mlx_chatterbox.train.tasks import vocoder as vocoder_task
from mlx_chatterbox.train.tasks.flow import FlowTask
from mlx_chatterbox.train.tasks.speaker import SpeakerTask
from mlx_chatterbox.train.tasks.vocoder import VocoderTask, spectral_losses
from mlx_chatterbox.train.trained import TrainedTask

from .small_networks import gradients, sample, small_networks
from .stub import StubNetworks, StubTask, clip
from .test_scratch import recorded

pytestmark = pytest.mark.numbers


def filtering(**other) -> HiFTNetConfig:
    """A vocoder with one step of upsampling and frames of 20 ms."""
    fields = {
        "base_channels": 32,
        "nb_harmonics": 12,
        "sampling_rate": 24000,
        "upsample_rates": [4],
        "upsample_kernel_sizes": [8],
        "istft_n_fft": 480,
        "istft_hop_len": 120,
        "resblock_kernel_sizes": [3, 7],
        "resblock_dilation_sizes": [[1, 3], [1]],
        "source_resblock_kernel_sizes": [3],
        "source_resblock_dilation_sizes": [[1, 3]],
        "f0_predictor_cond_channels": 24,
        "filter_source": True,
    }
    return HiFTNetConfig(**(fields | other))


@pytest.fixture
def vocoder():
    mx.random.seed(3)
    made = HiFTGenerator(filtering())
    mx.eval(made.parameters())
    return made


@pytest.fixture
def mel(rng):
    return mx.array(rng.standard_normal((1, 80, 80)).astype(np.float32) - 5)


def silent_layer(vocoder: HiFTGenerator) -> None:
    """A last layer that gives magnitude 1 and phase 0 everywhere."""
    vocoder.conv_post.weight = mx.zeros_like(vocoder.conv_post.weight)


def test_a_filter_of_ones_passes_the_source(vocoder, mel, rng):
    source = mx.array(0.1 * rng.standard_normal((1, 80 * 480)).astype(np.float32))
    silent_layer(vocoder)
    through = istft(*stft(source, 480, 120, hann_window(480)), 480, 120, hann_window(480))
    assert np.allclose(vocoder.decode(mel, source), through, atol=1e-5)
    assert np.allclose(through, source, atol=1e-5)


def test_without_the_field_the_spectrum_is_the_speech(vocoder, mel, rng):
    """Upstream's behaviour: a silent source does not give silence."""
    nothing = mx.zeros((1, 80 * 480))
    assert float(mx.abs(vocoder.decode(mel, nothing)).max()) < 1e-6
    plain = HiFTGenerator(filtering(filter_source=False))
    plain.update(vocoder.parameters())
    assert float(mx.abs(plain.decode(mel, nothing)).max()) > 1e-3


def test_the_filter_streams(vocoder, mel):
    """Pieces equal the whole, up to rounding."""
    key = mx.random.key(2)
    stream, pieces = HiFTStream(vocoder, key), []
    for start, end in ((0, 1), (1, 33), (33, 34), (34, 80)):
        pieces.append(stream.push(mel[:, start:end], last=end == 80))
    phase_key, noise_key = mx.random.split(key)
    noise = FrameNoise(noise_key, 480).between(0, 80).reshape(1, 80 * 480)
    source, _ = vocoder.m_source.excite(
        vocoder.f0_predictor(mel), 480, vocoder.m_source.draw_phases(1, phase_key), noise
    )
    whole = np.array(vocoder.decode(mel, source)[0])
    distance = np.array(mx.concatenate(pieces)) - whole
    assert np.abs(distance).max() < 1e-3 * np.abs(whole).max()


def test_the_context_of_the_filter_suffices(vocoder, mel, rng):
    reach = context_frames(vocoder.config)
    assert reach < 30
    source = mx.array(0.1 * rng.standard_normal((1, 80 * 480)).astype(np.float32))
    other = mx.concatenate([mel[:, :-1], mel[:, -1:] + 3], axis=1)
    difference = np.abs(np.array(vocoder.decode(mel, source) - vocoder.decode(other, source)))[0]
    before = (79 - reach) * 480
    assert difference[:before].max() < 1e-7
    assert difference[before:].max() > 1e-6


def test_spectra_by_products_are_those_by_transforms(rng, monkeypatch):
    made, true = (mx.array(rng.standard_normal((2, 7680)).astype(np.float32)) for _ in range(2))

    def loss(x):
        return sum(spectral_losses(x, true, 24000).values())

    by_products = mx.value_and_grad(loss)(made)
    monkeypatch.setattr(vocoder_task, "_LARGEST_PRODUCT", 0)
    by_transforms = mx.value_and_grad(loss)(made)
    assert by_products[0].item() == pytest.approx(by_transforms[0].item(), rel=1e-5)
    # Where two magnitudes are nearly the same, rounding turns a gradient's sign.
    difference = np.linalg.norm(np.array(by_products[1] - by_transforms[1]))
    assert difference < 5e-3 * np.linalg.norm(np.array(by_transforms[1]))


def test_a_given_source_is_what_would_be_made():
    config = filtering()
    networks = small_networks()
    networks.s3gen.mel2wav = HiFTGenerator(config)
    one = recorded(0)
    made = VocoderTask(config, frames=len(one["mel"]))
    batch = made.collate([one])
    source, _ = networks.s3gen.mel2wav.m_source.excite(
        batch["f0"], 480, batch["phases"], batch["noise"]
    )
    given = VocoderTask(config, frames=len(one["mel"]), given_source=True)
    assert given.features == made.features | {"source"}
    value, found = gradients(made, networks, [one])
    same, others = gradients(given, networks, [{**one, "source": np.array(source[0])}])
    assert same == pytest.approx(value, rel=1e-5)
    # The layer that merges the harmonics is not trained then.
    assert not np.any(others["m_source.l_linear.weight"])
    assert np.any(found["m_source.l_linear.weight"])


def test_the_flow_may_begin_at_its_start():
    config = dataclasses.replace(small_networks().s3gen.config, cfm_noise_scale=0.1)
    task = FlowTask(config, start_share=0.5)
    batch = task.collate([{**sample(0), "key": np.array([7, i], np.uint32)} for i in range(60)])
    times = np.array(batch["time"])
    assert 15 < (times == 0).sum() < 45
    assert 0.08 < np.array(batch["noise"])[0, :28].std() < 0.12
    usual = FlowTask(task.config).collate([sample(0)])
    assert np.array(usual["time"])[0] > 0


def test_the_flow_learns_phones_by_a_head_of_its_own():
    networks = small_networks()
    task = FlowTask(networks.s3gen.config, phones=5)
    labelled = [{**sample(i), "phones": np.arange(2 * (14 + 5 * i)) % 5} for i in range(2)]
    assert "phones" in task.features
    batch = task.collate(labelled)
    assert batch["phones"].shape == batch["mel_mask"].shape
    totals = task.counts(batch)
    loss, parts = task.loss(networks, batch, totals)
    without = FlowTask(networks.s3gen.config).loss(networks, batch, totals)[0]
    assert loss.item() == pytest.approx(without.item() + 0.2 * parts["phones"].item(), rel=1e-5)
    assert task.extra_module(networks) is task.extra_module(networks)


def test_a_flow_without_guidance_takes_half_the_work(monkeypatch):
    """The result is that of guidance at a rate of 0."""
    networks = small_networks()
    flow = networks.s3gen.flow
    tokens = mx.arange(12)[None]
    prompt = mx.zeros((1, 0), mx.int32), mx.zeros((1, 0, 80)), mx.ones((1, 192))
    noise = mx.random.normal((1, 24, 80), key=mx.random.key(1))
    seen = []
    inner = flow.decoder.estimator.velocity

    def counted(x, *rest):
        seen.append(x.shape[0])
        return inner(x, *rest)

    monkeypatch.setattr(flow.decoder.estimator, "velocity", counted)
    flow.decoder._cfg_rate = 0.0
    unguided = flow.inference(tokens, *prompt, noise, 2)
    assert seen == [1, 1]
    flow.decoder._cfg_rate = 1e-7
    guided = flow.inference(tokens, *prompt, noise, 2)
    assert len(seen) > 2
    assert np.allclose(unguided, guided, atol=1e-4)


def test_the_flows_noise_is_scaled():
    config = dataclasses.replace(small_networks().s3gen.config, cfm_noise_scale=0.25)
    networks = small_networks()
    flow = networks.s3gen.flow
    tokens = mx.arange(12)[None]
    prompt = mx.zeros((1, 0), mx.int32), mx.zeros((1, 0, 80)), mx.ones((1, 192))
    noise = mx.random.normal((1, 24, 80), key=mx.random.key(1))
    smaller = flow.inference(tokens, *prompt, 0.25 * noise, 2)
    flow.decoder._noise_scale = config.cfm_noise_scale
    assert np.allclose(flow.inference(tokens, *prompt, noise, 2), smaller, atol=1e-5)


def losses_of(task, networks, made, compiled: bool) -> list[float]:
    """Losses of three steps from different numbers of samples of different lengths."""
    settings = OptimizerSettings(learning_rate=1e-3, compile=compiled)
    trained = TrainedTask(task, networks, settings, adapters=False)
    trained.train()
    losses = []
    for samples in ([made(0)], [made(0), made(1)], [made(1)]):
        batches, totals = trained.batches([samples], True)
        losses.append(trained.step(batches, totals, True, 1e-3, Group())["loss"])
    return losses


@pytest.mark.slow
def test_compiled_steps_are_the_same_steps():
    """Totals and lengths differ between the steps, and must not be compiled in."""

    def made(index):
        key = np.array([1, index], np.uint32)
        return {**clip(index, key), "key": key}

    plain, fused = (
        losses_of(StubTask(), StubNetworks(), made, compiled) for compiled in (False, True)
    )
    assert len(set(plain)) == 3
    assert fused == pytest.approx(plain, rel=1e-5)


@pytest.mark.slow
def test_compiled_steps_of_the_flow():
    config = small_networks().s3gen.config
    plain, fused = (
        losses_of(FlowTask(config, weights={"mu": 0.5}), small_networks(), sample, compiled)
        for compiled in (False, True)
    )
    assert fused == pytest.approx(plain, rel=1e-4)


def test_running_statistics_are_not_compiled_in():
    networks = small_networks()
    task = SpeakerTask("speaker_encoder", ["speaker0", "speaker1"], width=192, frames=40)
    trained = TrainedTask(task, networks, OptimizerSettings(compile=True), adapters=False)
    before = np.array(networks.s3gen.speaker_encoder.head.bn1.running_mean)
    trained.train()
    batches, totals = trained.batches([[recorded(0), recorded(1)]], True)
    trained.step(batches, totals, True, 1e-3, Group())
    assert np.abs(np.array(networks.s3gen.speaker_encoder.head.bn1.running_mean) - before).max() > 0
