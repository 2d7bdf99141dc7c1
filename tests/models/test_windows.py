"""The S3 tokenizer on long recordings: windows, and what is lost between them (nothing)."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.audio.mel import s3_tokenizer_log_mel
from mlx_chatterbox.models.s3tokenizer.windows import (
    merge_windows,
    split_windows,
    window_log_mels,
)
from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice
from mlx_chatterbox.weights.checkpoint import build

pytestmark = pytest.mark.numbers

# Up to 30 s, every kind of remainder after a multiple of 26 s, and parts of a token.
FRAMES = [1, 5, 2999, 3000, 3001, 3100, 5200, 5201, 5300, 5399, 5400, 5403, 5500, 5599, 5600, 9500]


# Stand-ins for tokens: the number of their window, and their place in the recording.
_WINDOW = 100_000


def _tokens_of(start: int, end: int, per_token: int = 4) -> list[int]:
    first = start // 2600 * _WINDOW
    return list(range(first + start // per_token, first - (-end // per_token)))


def upstream_merge(n_frames: int, per_token: int = 4) -> list[int]:
    """Tokens by upstream's rule: half the overlap is cut off next to another window."""
    if n_frames <= 3000:
        return _tokens_of(0, n_frames, per_token)
    starts = range(0, n_frames, 2600)
    segments = [_tokens_of(start, min(start + 3000, n_frames), per_token) for start in starts]
    half = 200 // per_token
    merged = []
    for index, segment in enumerate(segments):
        left = 0 if index == 0 else half
        right = len(segment) if index == len(segments) - 1 else -half
        merged += segment[left:right]
    return merged


def places(tokens: list[int]) -> list[int]:
    """Positions of the tokens in the recording."""
    return [token % _WINDOW for token in tokens]


def ours(n_frames: int) -> list[int]:
    return merge_windows([mx.array(_tokens_of(*span)) for span in split_windows(n_frames)]).tolist()


@pytest.mark.parametrize("n_frames", FRAMES)
def test_every_token_once(n_frames):
    assert places(ours(n_frames)) == list(range(-(-n_frames // 4)))


@pytest.mark.parametrize("n_frames", FRAMES)
def test_upstreams_tokens_and_those_that_it_loses(n_frames):
    theirs, mine = upstream_merge(n_frames), ours(n_frames)
    lost = [token for token in mine if token not in set(theirs)]
    assert [token for token in mine if token not in set(lost)] == theirs
    beyond = n_frames % 2600 if n_frames > 3000 else 0
    assert len(lost) == (min(50, (400 - beyond) // 4) if 0 < beyond < 400 else 0)


def test_53_seconds_stay_53():
    assert len(upstream_merge(5300)) == 51 * 25
    assert len(ours(5300)) == 53 * 25


@pytest.mark.parametrize("seconds", [31, 53, 60.013])
def test_log_mels_of_windows_are_cut_from_the_whole(seconds):
    """The loudest part is in one window and sets the floor of all."""
    wave = synthetic_voice(seconds, seed=1)[: round(seconds * 16000)]
    wave[:16000] *= 2.0
    wave[400000:] *= 1e-4
    whole = np.array(s3_tokenizer_log_mel(mx.array(wave)))
    assert whole[:, 2700:].min() == whole.min()
    windows = split_windows(whole.shape[1])
    for (start, end), mel in zip(windows, window_log_mels(wave), strict=True):
        np.testing.assert_allclose(mel, whole[:, start:end], atol=1e-5)


@pytest.mark.parametrize("place", [0, 31 * 16000 - 240])
def test_the_loudest_place_counts_wherever_it_is(rng, place):
    """Values far below it are clipped, in all windows."""
    waveform = 1e-5 * rng.standard_normal(31 * 16000).astype(np.float32)
    waveform[place : place + 40] += np.sin(np.arange(40)).astype(np.float32)
    whole = np.array(s3_tokenizer_log_mel(mx.array(waveform)))
    windows = [np.array(mel) for mel in window_log_mels(waveform)]
    for (start, end), mel in zip(split_windows(3100), windows, strict=True):
        np.testing.assert_allclose(mel, whole[:, start:end], atol=1e-4)
    assert len(np.unique(whole[:, 1000:2000])) == 1


def test_a_long_recording_gives_the_tokens_of_its_log_mel(small_config):
    mx.random.seed(0)
    tokenizer = build(small_config).s3_tokenizer
    wave = synthetic_voice(54.0, seed=2)[: 53 * 16000]
    told = []
    tokens = tokenizer(wave, on_window=lambda *call: told.append(call))
    assert tokens.shape == (53 * 25,)
    assert told == [(1, 2), (2, 2)]
    again = tokenizer.encode_mel(s3_tokenizer_log_mel(mx.array(wave)))
    assert (np.array(tokens) == np.array(again)).mean() > 0.999


@pytest.mark.reference
@pytest.mark.parametrize("seconds", [31, 35, 53, 55, 60, 95])
def test_tokens_equal_upstreams_windows(seconds):
    """Upstream's own long-audio code on a small network; the stretch it loses left out."""
    from mlx_chatterbox.parity.torch.env import prepare

    prepare()
    import torch
    from mlx.utils import tree_flatten, tree_unflatten
    from s3tokenizer.model_v2 import ModelConfig, S3TokenizerV2

    from mlx_chatterbox.models.s3tokenizer import s3tokenizer
    from mlx_chatterbox.models.s3tokenizer.config import S3TokenizerConfig

    torch.manual_seed(1)
    sizes = {"n_audio_state": 64, "n_audio_head": 1, "n_audio_layer": 1}
    theirs = S3TokenizerV2("speech_tokenizer_v2_25hz", ModelConfig(**sizes)).eval()
    network = s3tokenizer.S3TokenizerV2(S3TokenizerConfig(**sizes))
    weights = {}
    for key, value in theirs.state_dict().items():
        value = value.numpy()
        value = value.transpose(0, 2, 1) if value.ndim == 3 else value
        weights[key.replace("_codebook", "codebook")] = mx.array(np.ascontiguousarray(value))
    names = {key for key, _ in tree_flatten(network.parameters())}
    assert names == weights.keys() & names
    network.update(tree_unflatten([(key, weights[key]) for key in names]))

    mel = s3_tokenizer_log_mel(mx.array(synthetic_voice(100.0, seed=4)[: seconds * 16000]))
    codes, lengths = theirs.quantize(
        torch.from_numpy(np.array(mel))[None], torch.tensor([mel.shape[1]])
    )
    upstream = codes[0, : lengths[0]].numpy()
    mine = np.array(network.encode_mel(mel))
    assert len(mine) == seconds * 25
    assert len(np.unique(mine)) > 20
    kept = places(upstream_merge(seconds * 100))
    assert len(upstream) == len(kept)
    # A number at the border of two levels may round either way.
    assert (mine[kept] == upstream).mean() > 0.999
