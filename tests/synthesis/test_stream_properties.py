"""Properties of the parts of a stream: windows of the flow, chunks of tokens, noise."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.models.s3gen.flow_windows import FadeIn, FlowWindows, extra_frames
from mlx_chatterbox.models.s3gen.hift import HiFTGenerator
from mlx_chatterbox.models.s3gen.hift_stream import HiFTStream, context_frames
from mlx_chatterbox.models.s3gen.long import (
    OVERLAP_TOKENS,
    PIECE_TOKENS,
    mel_pieces,
    plan_pieces,
    speak_in_pieces,
    waveform_length,
)
from mlx_chatterbox.models.s3gen.noise import FrameNoise
from mlx_chatterbox.models.s3gen.s3gen import S3Gen, S3GenConditionals, trim_fade
from mlx_chatterbox.models.s3gen.token_stream import ChunkTokens, TokenStream, vocoder_delay
from tests.small import small_s3gen

FADE = 6


@pytest.fixture(scope="module")
def s3gen():
    mx.random.seed(4)
    return S3Gen(small_s3gen())


def reference_of(tokens: int, extra: int = 0) -> S3GenConditionals:
    frames = mx.random.normal((1, 2 * tokens + extra, 80), key=mx.random.key(9))
    return S3GenConditionals(mx.arange(tokens)[None], frames, mx.ones((1, 192)) / 14)


@pytest.fixture
def calls(s3gen, monkeypatch):
    """Arguments of the flow's calls; in its place every mel is the number of its call.

    So a mel says which window each of its frames is from, and with which share.
    """
    calls = []

    def inference(self, tokens, prompt_token, prompt_feat, embedding, noise, steps, on_step):
        frames = noise.shape[1] - prompt_feat.shape[1]
        calls.append((tokens, prompt_token, prompt_feat, noise, steps, on_step))
        return mx.full((1, frames, 80), len(calls) - 1.0)

    monkeypatch.setattr(type(s3gen.flow), "inference", inference)
    return calls


@pytest.fixture
def windows_of(s3gen, calls):
    def make(reference=None, seed=0, steps=3, fade=FADE):
        calls.clear()
        reference = reference_of(30) if reference is None else reference
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
    """The mel is a frame shorter then, and all frames keep their places."""
    windows, _ = windows_of(reference_of(30, 1))
    assert windows.mel(mx.arange(20), 0, 24).shape == (1, 23, 80)
    assert windows.mel(mx.arange(5, 25), 5, 50).shape == (1, 26, 80)


# --- Tokens one by one -------------------------------------------------------------------------


def streamed(s3gen, sizes, count, reference=None, seed=0):
    """Samples of each chunk by the number of tokens that were known, and the stream."""
    reference = reference_of(30) if reference is None else reference
    stream = TokenStream(s3gen, reference, mx.random.key(seed), sizes, 2)
    chunks = {}
    for known in range(1, count + 1):
        assert stream.begun == bool(chunks)
        chunk = stream.push(known - 1)
        if chunk is not None:
            chunks[known] = chunk.shape[0]
            assert stream.samples == sum(chunks.values())
    return chunks, stream


@pytest.mark.parametrize(
    ("sizes", "after"),
    [
        (ChunkTokens(4, 10, 6, 3), [4, 8, 10, 10, 10]),
        (ChunkTokens(3, 100, 6, 5), [3, 6, 12, 24]),
        (ChunkTokens(6, 6, 0, 3, delay=7), [6, 6, 6, 6]),
        (ChunkTokens(1, 2, 4, 3, first_reference=5), [1, 2, 2, 2, 2, 2, 2]),
    ],
)
def test_chunks_double_up_to_the_largest_and_come_as_soon_as_they_can(s3gen, calls, sizes, after):
    assert ChunkTokens(4, 10, 6, 3) == ChunkTokens(4, 10, 6, 3, delay=0, first_reference=None)
    delay = vocoder_delay(s3gen)
    ends = np.cumsum(after)
    due = ends + sizes.delay + delay + sizes.lookahead
    chunks, _ = streamed(s3gen, sizes, int(due[-1]))
    assert list(chunks) == due.tolist()
    # A chunk less than a token long is held back for the vocoder, and the delay comes at once.
    assert 0 <= chunks[due[0]] - 960 * (after[0] + sizes.delay) < 960
    assert list(chunks.values())[1:] == [960 * count for count in after[1:]]
    assert [call[0].shape[0] for call in calls] == [1] * len(after)


def test_a_window_sees_so_much_before_and_after_its_chunk(s3gen, calls):
    sizes = ChunkTokens(4, 10, 6, 3, first_reference=12)
    chunks, stream = streamed(s3gen, sizes, 60)
    stream.finish(after=2, silence=4299)
    *windows, last = [call[0][0].tolist() for call in calls]
    given = [0] + [known - sizes.lookahead for known in chunks]
    for known, before, window in zip(chunks, given[:-1], windows, strict=True):
        assert window == list(range(max(0, before - sizes.context), known))
    assert last == [*range(given[-1] - sizes.context, 60), 4299, 4299]
    # The first uses only the end of the reference.
    assert [call[1].shape[1] for call in calls] == [12] + [30] * len(windows)
    assert {call[4] for call in calls} == {2}


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize(
    ("count", "behind", "drop"), [(60, 0, False), (60, 2, False), (60, 2, True)]
)
def test_all_chunks_together_are_as_long_as_the_tokens(s3gen, calls, count, behind, drop, extra):
    chunks, stream = streamed(s3gen, ChunkTokens(4, 10, 6, 3), count, reference_of(30, extra))
    rest = stream.finish(behind, 4299, drop).shape[0]
    wanted = 960 * (count + behind) - 480 * extra
    assert sum(chunks.values()) + rest == (960 * (count - 1) if drop else wanted)
    assert stream.samples == sum(chunks.values()) + rest


def test_what_is_dropped_is_as_if_it_had_not_come(s3gen, calls):
    sizes = ChunkTokens(4, 10, 6, 3)
    chunks, _ = streamed(s3gen, sizes, 40)
    stream = TokenStream(s3gen, reference_of(30), mx.random.key(0), sizes, 2)
    assert all(stream.push(5) is None for _ in range(min(chunks) - 1))
    stream.drop()
    assert [known for known in range(1, 41) if stream.push(known) is not None] == list(chunks)


def test_an_end_before_the_first_chunk_is_the_whole_at_once(s3gen, calls):
    stream = TokenStream(s3gen, reference_of(30), mx.random.key(3), ChunkTokens(9, 9, 6, 3), 2)
    for token in range(5):
        assert stream.push(token) is None
    rest = stream.finish(1, 77)
    assert stream.begun
    assert calls[-1][0][0].tolist() == [0, 1, 2, 3, 4, 77]
    whole = s3gen(mx.array([0, 1, 2, 3, 4, 77]), reference_of(30), mx.random.key(3), n_timesteps=2)
    assert rest.shape == whole.shape == (6 * 960,)
    assert stream.samples == 6 * 960
    assert calls[-1][4] == 2
    only = TokenStream(s3gen, reference_of(30), mx.random.key(3), ChunkTokens(9, 9, 6, 3))
    only.push(1)
    # The last token is left out only where there are others.
    assert only.finish(2, 77, drop_last=True).shape == (960,)
    assert calls[-1][4] == 10  # Euler steps by default


# --- The vocoder in pieces ---------------------------------------------------------------------


def test_the_vocoder_gives_what_it_can_know(s3gen):
    """A sample waits for its context, and the context for the frames that F0 depends on."""
    vocoder = s3gen.mel2wav
    behind = context_frames(vocoder.config) + 5
    assert vocoder_delay(s3gen) == (behind + 1) // 2
    mel = 0.5 * mx.random.normal((1, 90, 80), key=mx.random.key(1)) - 4.0
    stream, frames, known = HiFTStream(vocoder, mx.random.key(2)), 0, 0
    for more in (3, behind - 3, 1, 0, 30, 2):
        given = stream.push(mel[:, known : known + more])
        known += more
        frames += given.shape[0] / 480
        assert frames == max(0, known - behind)
    assert stream.push(mel[:, known:], last=True).shape[0] / 480 == 90 - frames


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"resblock_dilation_sizes": [[1, 3, 15]] * 3},
        {"source_resblock_dilation_sizes": [[1, 3, 45]] * 3},
        {"source_resblock_kernel_sizes": [7, 121, 11]},
        {"upsample_rates": [3, 5, 8], "upsample_kernel_sizes": [7, 11, 16]},
    ],
)
def test_the_context_is_as_far_as_the_vocoder_sees_and_hardly_further(changes, rng):
    """The layer that reaches furthest counts; frames that change at all are counted."""
    mx.random.seed(5)
    vocoder = HiFTGenerator(replace(small_s3gen().hift, **changes))
    hop, middle, frames = vocoder.samples_per_frame, 50, 101
    mel = rng.standard_normal((1, frames, 80)).astype(np.float32)
    source = 0.1 * rng.standard_normal((1, frames * hop)).astype(np.float32)
    other_mel, other_source = mel.copy(), source.copy()
    other_mel[:, middle] += 3.0
    other_source[:, middle * hop : (middle + 1) * hop] += 1.0
    one, two = (
        np.array(vocoder.decode(mx.array(m), mx.array(s)))[0]
        for m, s in ((mel, source), (other_mel, other_source))
    )
    changed = np.flatnonzero(one != two) / hop
    seen = max(middle - changed.min(), changed.max() - middle - 1)
    assert seen <= context_frames(vocoder.config) < seen + 3.5


def test_what_the_vocoder_keeps_does_not_grow(s3gen):
    """It keeps the mel that may be used again, and its source."""
    vocoder = s3gen.mel2wav
    context = context_frames(vocoder.config)
    stream, kept = HiFTStream(vocoder, mx.random.key(2)), []
    mel = mx.random.normal((1, 20, 80), key=mx.random.key(1)) - 4.0
    for _ in range(8):
        stream.push(mel)
        arrays = [value for value in vars(stream).values() if isinstance(value, mx.array)]
        kept.append(sum(array.nbytes for array in arrays))
    assert kept[3:] == [kept[3]] * 5
    needed = 4 * (80 * (2 * context + 5) + 480 * 2 * context)
    assert needed <= kept[-1] < needed + 200  # and the phase


# --- Long texts --------------------------------------------------------------------------------


def test_how_a_long_text_is_cut():
    assert plan_pieces(1) == [(0, 1)]
    assert plan_pieces(PIECE_TOKENS) == [(0, 750)]
    assert plan_pieces(751) == [(0, 750), (1, 751)]
    assert plan_pieces(1400) == [(0, 750), (650, 1400)]
    assert plan_pieces(1401) == [(0, 750), (325, 1075), (651, 1401)]
    for count in range(751, 4000, 97):
        starts = np.array(plan_pieces(count))[:, 0]
        steps = np.diff(starts)
        assert steps.max() - steps.min() <= 1
        assert steps.max() <= PIECE_TOKENS - OVERLAP_TOKENS
        # No more pieces than necessary.
        assert (len(steps) - 1) * (PIECE_TOKENS - OVERLAP_TOKENS) < count - PIECE_TOKENS


def test_pieces_cross_in_the_middle_of_what_they_share(s3gen, calls):
    told = []
    pieces = list(
        mel_pieces(
            s3gen,
            mx.arange(1401),
            reference_of(30),
            mx.random.key(0),
            4,
            lambda *what: told.append(what),
        )
    )
    assert [last for _, last in pieces] == [False, False, True]
    mel = np.concatenate([shares(mel) for mel, _ in pieces])
    assert len(mel) == 2802
    for before, middle in ((0, 750 + 325), (1, 1075 + 651)):
        np.testing.assert_allclose(
            mel[middle - 10 : middle + 10], before + (np.arange(20) + 0.5) / 20, rtol=1e-5
        )
    np.testing.assert_array_equal(np.unique(np.round(mel[::100])), [0, 1, 2])
    assert [call[0].tolist() for call in calls] == [
        [list(range(start, end))] for start, end in plan_pieces(1401)
    ]
    for call in calls:
        call[5](1, 4)
        call[5](4, 4)
    assert told == [(1, 12), (4, 12), (5, 12), (8, 12), (9, 12), (12, 12)]


@pytest.mark.parametrize(("count", "extra"), [(20, 0), (20, 1), (760, 1)])
def test_pieces_have_the_length_that_is_announced(s3gen, calls, count, extra):
    reference = reference_of(30, extra)
    pieces = list(speak_in_pieces(s3gen, mx.arange(count), reference, mx.random.key(1), 1))
    assert len(pieces) == (1 if count == 20 else 2)
    together = mx.concatenate(pieces)
    assert together.shape == (waveform_length(s3gen, count, reference),)
    assert together.shape == (960 * count - 480 * extra,)
    # Silent at first, and faded in once.
    assert not np.array(together[:480]).any()


def test_a_fade_goes_on_over_pieces():
    fade_in = FadeIn(24000)
    sizes = (100, 700, 160, 300)
    faded = np.concatenate([np.array(fade_in(mx.ones((n,), dtype=mx.float16))) for n in sizes])
    assert faded.dtype == np.float32
    np.testing.assert_array_equal(faded[:960], np.array(trim_fade(24000)))
    np.testing.assert_array_equal(faded[960:], np.ones(300))


def test_noise_comes_in_blocks_of_64_frames_from_keys_that_follow():
    """A seed thus means the same wherever speech is made."""
    key = mx.random.key(2**40 + 7)
    noise = FrameNoise(key, 3)
    for block in (0, 1, 5):
        of_block = mx.random.normal((1, 64, 3), key=key + mx.array([0, block], dtype=mx.uint32))
        given = noise.between(64 * block, 64 * block + 64)
        np.testing.assert_array_equal(np.array(given), np.array(of_block))
    whole = np.array(noise.between(0, 200))
    assert whole.shape == (1, 200, 3)
    for start, stop in ((0, 64), (63, 65), (64, 65), (10, 190), (128, 192)):
        np.testing.assert_array_equal(np.array(noise.between(start, stop)), whole[:, start:stop])
