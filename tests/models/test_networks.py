"""Properties that hold for the networks at any size."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from mlx_chatterbox.models.s3gen.encoder import _at_distances, relative_positions
from mlx_chatterbox.models.s3tokenizer.windows import merge_windows, split_windows
from mlx_chatterbox.models.voice_encoder.voice_encoder import (
    partial_starts,
    speaker_embedding,
    voice_similarity,
)
from mlx_chatterbox.weights.checkpoint import build

pytestmark = pytest.mark.numbers


@pytest.fixture(scope="module")
def networks(small_config):
    """Small networks with weights from a seed, so that failures can be repeated."""
    net = build(small_config)
    rng = np.random.default_rng(5)
    filled = [
        (key, mx.array((rng.standard_normal(value.shape) * 0.3).astype(np.float32)))
        for key, value in tree_flatten(net.parameters())
        if "running" not in key
    ]
    net.update(tree_unflatten(filled))
    return net


def normal(rng, *shape):
    return mx.array(rng.standard_normal(shape).astype(np.float32))


def test_padding_changes_nothing_in_the_estimator(networks, rng):
    estimator = networks.s3gen.flow.decoder.estimator
    x, mu, cond = (normal(rng, 1, 13, 80) for _ in range(3))
    t, spks = mx.array([0.3]), normal(rng, 1, 80)
    whole = estimator(x, mu, t, spks, cond)
    mask = mx.array([[1.0] * 13 + [0.0] * 6])
    pads = [mx.concatenate([a, normal(rng, 1, 6, 80)], axis=1) for a in (x, mu, cond)]
    padded = estimator(pads[0], pads[1], t, spks, pads[2], mask=mask)
    np.testing.assert_allclose(padded[:, :13], whole, atol=1e-4)
    assert float(mx.abs(padded[:, 13:]).max()) == 0.0


def test_padding_changes_nothing_in_the_encoder(networks, rng):
    flow = networks.s3gen.flow
    tokens = mx.array(rng.integers(0, 6561, (1, 9)))
    whole = flow.encode(tokens)
    more = mx.concatenate([tokens, mx.array([[7, 8, 9]])], axis=1)
    mask = mx.array([[1.0] * 9 + [0.0] * 3])
    # Relative positions depend on the length they are cut from, distances do not.
    np.testing.assert_allclose(flow.encode(more, mask)[:, :18], whole, atol=1e-4)


def test_a_batch_of_flows_equals_each_alone(networks, rng):
    flow = networks.s3gen.flow
    tokens = mx.array(rng.integers(0, 6561, (2, 5)))
    prompt, feat = mx.array(rng.integers(0, 6561, (1, 4))), normal(rng, 1, 8, 80)
    speaker, noise = normal(rng, 1, 192), normal(rng, 2, 18, 80)
    both = flow.inference(tokens, prompt, feat, speaker, noise, 3)
    for row in range(2):
        alone = flow.inference(tokens[row : row + 1], prompt, feat, speaker, noise[row][None], 3)
        np.testing.assert_allclose(both[row], alone[0], atol=1e-4)


def test_relative_scores_pick_the_distance():
    length = 5
    table = mx.broadcast_to(mx.arange(2 * length - 1), (1, 1, length, 2 * length - 1))
    picked = np.array(_at_distances(mx.array(table)))[0, 0]
    query, key = np.mgrid[:length, :length]
    np.testing.assert_array_equal(picked, length - 1 - query + key)
    middle = relative_positions(length, 8)[length - 1]
    np.testing.assert_allclose(middle, [0, 1] * 4, atol=1e-7)


def test_teacher_forcing_equals_decoding_with_the_cache(networks):
    from mlx_chatterbox.models.t3.decoding import decode
    from mlx_chatterbox.models.t3.sampling import SamplingSettings

    t3 = networks.t3
    cond = t3.embed_conditioning(mx.ones((1, 256)) / 16, mx.arange(20)[None], 0.5)
    text = mx.array([255, 9, 8, 7, 0])
    greedy = SamplingSettings(temperature=0.0, repetition_penalty=1.0, min_p=0.0)
    tokens = list(decode(t3, cond, text, greedy, cfg_weight=0.5, max_new_tokens=12))
    logits = t3.teacher_forced_logits(cond, text, mx.array(tokens))
    guided = logits[0] + 0.5 * (logits[0] - logits[1])
    again = mx.argmax(guided, axis=-1).tolist()[: len(tokens)]
    assert again == tokens


def test_without_guidance_one_row_is_enough(networks):
    from mlx_chatterbox.models.t3.decoding import decode
    from mlx_chatterbox.models.t3.sampling import SamplingSettings

    t3 = networks.t3
    cond = t3.embed_conditioning(mx.ones((1, 256)) / 16, None, 0.5)
    text = mx.array([255, 9, 8, 7, 0])
    greedy = SamplingSettings(temperature=0.0, repetition_penalty=1.0, min_p=0.0)
    tokens = list(decode(t3, cond, text, greedy, cfg_weight=0.0, max_new_tokens=6))
    logits = t3.teacher_forced_logits(cond, text, mx.array(tokens))[0]
    assert mx.argmax(logits, axis=-1).tolist()[: len(tokens)] == tokens


def test_lstm_equals_its_recurrence(networks, rng):
    lstm = networks.ve.lstm
    x = rng.standard_normal((2, 7, 40))
    expected = x
    for layer in range(3):
        w_in, w_hidden = (
            np.array(lstm[f"weight_{kind}_l{layer}"], dtype=np.float64) for kind in ("ih", "hh")
        )
        bias = np.array(lstm[f"bias_ih_l{layer}"] + lstm[f"bias_hh_l{layer}"], dtype=np.float64)
        hidden = cell = np.zeros((2, 16))
        outputs = []
        for step in range(7):
            gates = expected[:, step] @ w_in.T + hidden @ w_hidden.T + bias
            i, f, g, o = np.split(gates, 4, axis=-1)
            cell = cell / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            hidden = np.tanh(cell) / (1 + np.exp(-o))
            outputs.append(hidden)
        expected = np.stack(outputs, axis=1)
    np.testing.assert_allclose(lstm(mx.array(x.astype(np.float32))), expected, atol=1e-5)


def test_a_speaker_is_the_mean_of_recordings(rng):
    embeddings = rng.standard_normal((4, 256)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    speaker = speaker_embedding(mx.array(embeddings))
    mean = embeddings.mean(axis=0)
    np.testing.assert_allclose(speaker, mean / np.linalg.norm(mean), atol=1e-6)
    assert voice_similarity(speaker, speaker) == pytest.approx(1.0, abs=1e-6)
    expected = float(embeddings[0] @ embeddings[1])
    alike = voice_similarity(mx.array(embeddings[:1]), mx.array(embeddings[1:2]))
    assert alike == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("frames", "starts"),
    [(10, [0]), (160, [0]), (204, [0]), (205, [0, 77]), (237, [0, 77]), (282, [0, 77, 154])],
)
def test_partials_cover_the_utterance(frames, starts):
    """They begin every 77 frames; the last needs 80 % of its 160, 128 frames."""
    assert partial_starts(frames, 160) == starts


def test_segment_means_average_what_is_there(networks, rng):
    layer = networks.s3gen.speaker_encoder.xvector["block1"]["tdnnd1"].cam_layer
    x = rng.standard_normal((1, 230, 3)).astype(np.float32)
    means = np.array(layer._segment_means(mx.array(x)))
    expected = [x[0, a:b].mean(axis=0) for a, b in ((0, 100), (100, 200), (200, 230))]
    np.testing.assert_allclose(means[0], expected, atol=1e-6)


def test_short_recordings_are_one_window():
    assert split_windows(3000) == [(0, 3000)]
    assert split_windows(3001) == [(0, 3000), (2600, 3001)]


def test_merged_windows_drop_half_the_overlap():
    windows = split_windows(6000)
    codes = [mx.arange(start // 4, end // 4) for start, end in windows]
    merged = merge_windows(codes)
    np.testing.assert_array_equal(merged, np.arange(1500))


def test_quantiser_digits(networks):
    codebook = networks.s3_tokenizer.quantizer.codebook
    codes = np.array(codebook.encode(mx.zeros((1, 3, 32)) + mx.arange(3)[None, :, None]))
    weight, bias = (np.array(codebook.project_down[k]) for k in ("weight", "bias"))
    for position in range(3):
        hidden = weight @ np.full(32, position) + bias
        digits = np.round(np.tanh(hidden) * 0.999) + 1
        assert codes[0, position] == int(digits @ 3 ** np.arange(8))


def test_source_phase_is_exact_after_minutes(networks):
    """A constant pitch must not drift: after ten minutes the phase is where float32 F0 puts it."""
    source = networks.s3gen.mel2wav.m_source
    frames, f0 = 30000, 123.4
    cycles = source._cycles(mx.full((1, frames), f0), 480)[0, -480:]
    index = np.arange(frames * 480 - 480, frames * 480) + 1.0
    expected = index * float(np.float32(f0) / np.float32(24000)) % 1
    wrapped = np.abs((np.array(cycles) - expected + 0.5) % 1 - 0.5)
    assert wrapped.max() < 5e-3


def test_waveform_length_is_480_samples_a_frame(networks, rng):
    for frames in (1, 2, 7):
        waveform, source = networks.s3gen.mel2wav(normal(rng, 1, frames, 80))
        assert waveform.shape == source.shape == (1, 480 * frames)
