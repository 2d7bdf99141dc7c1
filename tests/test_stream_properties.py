"""Properties of what a stream is joined from: windows of the flow, chunks of tokens, noise."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.models.s3gen.flow_windows import FlowWindows, extra_frames
from mlx_chatterbox.models.s3gen.s3gen import Reference, S3Gen
from tests.small import small_s3gen

FADE = 6


@pytest.fixture(scope="module")
def s3gen():
    return S3Gen(small_s3gen())


def reference_of(tokens: int, extra: int = 0) -> Reference:
    frames = mx.random.normal((1, 2 * tokens + extra, 80), key=mx.random.key(9))
    return Reference(mx.arange(tokens)[None], frames, mx.ones((1, 192)) / 14)


@pytest.fixture
def windows_of(s3gen, monkeypatch):
    """Windows over a flow whose every mel is the number of its call, and what each call was given.

    So a mel says which window each of its frames is from, and with which share.
    """

    def make(reference=None, seed=0, steps=3, fade=FADE):
        reference = reference_of(30) if reference is None else reference
        calls = []

        def inference(self, tokens, prompt_token, prompt_feat, embedding, noise, steps, on_step):
            frames = noise.shape[1] - prompt_feat.shape[1]
            calls.append((tokens, prompt_token, prompt_feat, noise, steps, on_step))
            return mx.full((1, frames, 80), len(calls) - 1.0)

        monkeypatch.setattr(type(s3gen.flow), "inference", inference)
        return FlowWindows(s3gen, reference, mx.random.key(seed), steps, fade), calls

    return make


def shares(mel: mx.array) -> np.ndarray:
    """The one value that all 80 bins of a frame have, (T,)."""
    mel = np.array(mel)
    assert mel.shape[0] == 1
    assert (mel == mel[..., :1]).all()
    return mel[0, :, 0]


def test_where_two_windows_meet_one_fades_into_the_other(windows_of):
    windows, _ = windows_of()
    tokens = mx.arange(40)
    first = shares(windows.mel(tokens[:20], 0, 24))
    second = shares(windows.mel(tokens[5:30], 5, 44))
    third = shares(windows.mel(tokens[15:40], 15, 80))
    np.testing.assert_array_equal(first, np.zeros(24))
    assert [len(one) for one in (second, third)] == [20, 36]
    for before, mel in enumerate((second, third)):
        fading = mel[:FADE] - before
        # All of the old at first, all of the new at last, evenly from one to the other.
        assert 0.0 < fading[0] < fading[-1] < 1.0
        np.testing.assert_allclose(np.diff(fading), 1 / FADE, rtol=1e-5)
        np.testing.assert_allclose(fading + fading[::-1], 1.0, rtol=1e-5)
        np.testing.assert_array_equal(mel[FADE:], before + 1.0)
    assert windows.emitted == 80


def test_an_end_shorter_than_a_cross_fade_is_faded_as_far_as_it_goes(windows_of):
    windows, _ = windows_of()
    windows.mel(mx.arange(20), 0, 30)
    rest = shares(windows.mel(mx.arange(10, 17), 10, 34))
    np.testing.assert_allclose(rest, (np.arange(4) + 0.5) / FADE, rtol=1e-5)


def test_frames_that_windows_share_start_from_the_same_noise(windows_of):
    windows, calls = windows_of()
    windows.mel(mx.arange(20), 0, 24)
    windows.mel(mx.arange(5, 25), 5, 44)
    noises = [np.array(call[3])[0] for call in calls]
    assert [len(noise) for noise in noises] == [60 + 40, 60 + 40]
    np.testing.assert_array_equal(noises[0][:60], noises[1][:60])  # the reference's
    np.testing.assert_array_equal(noises[0][60 + 10 :], noises[1][60 : 60 + 30])
    for noise in noises:
        assert abs(noise.mean()) < 0.05
        assert noise.std() == pytest.approx(1.0, abs=0.05)
        # Every frame has other numbers.
        assert len(np.unique(noise[:, 0])) == len(noise)


def test_a_windows_noise_follows_from_the_key(windows_of):
    noises = []
    for seed in (1, 2, 1):
        windows, calls = windows_of(seed=seed)
        windows.mel(mx.arange(20), 0, 40)
        noises.append(np.array(calls[0][3])[0])
    np.testing.assert_array_equal(noises[0], noises[2])
    assert (noises[0] != noises[1]).mean() > 0.99


@pytest.mark.parametrize("extra", [0, 1])
def test_a_window_may_look_at_the_end_of_the_reference_alone(windows_of, extra):
    reference = reference_of(30, extra)
    windows, calls = windows_of(reference)
    assert extra_frames(reference, 2) == windows.emitted == extra
    windows.mel(mx.arange(20), 0, 20, reference_tokens=12)
    windows.mel(mx.arange(20), 0, 30, reference_tokens=99)
    told = []
    windows.mel(mx.arange(20), 0, 40, on_step=told)
    tokens, frames, noises = ([np.array(call[i]) for call in calls] for i in (1, 2, 3))
    assert tokens[0].tolist() == [list(range(18, 30))]
    np.testing.assert_array_equal(frames[0], np.array(reference.prompt_feat)[:, 36:])
    np.testing.assert_array_equal(noises[0], noises[2][:, 36:])
    for i in (1, 2):
        assert tokens[i].tolist() == [list(range(30))]
        np.testing.assert_array_equal(frames[i], np.array(reference.prompt_feat))
        np.testing.assert_array_equal(noises[i], noises[2])
    assert [call[4] for call in calls] == [3, 3, 3]
    assert calls[2][5] is told


def test_an_odd_frame_of_the_reference_is_not_spoken(windows_of):
    """With it the mel is a frame shorter, and all frames keep their places."""
    windows, _ = windows_of(reference_of(30, 1))
    assert windows.mel(mx.arange(20), 0, 24).shape == (1, 23, 80)
    assert windows.mel(mx.arange(5, 25), 5, 50).shape == (1, 26, 80)
