"""Streaming on small models: length and tokens of `generate`, exact where possible, bounded."""

from __future__ import annotations

import itertools
import weakref
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox import ChatterboxTTS, Chunks
from mlx_chatterbox.api.tts import open_model
from mlx_chatterbox.errors import SettingError, TextError
from mlx_chatterbox.models.s3gen.flow_windows import FadeIn
from mlx_chatterbox.models.s3gen.s3gen import trim_fade
from mlx_chatterbox.models.s3gen.token_stream import ChunkTokens, TokenStream, vocoder_delay
from mlx_chatterbox.synthesis.tokens import audible_tokens
from mlx_chatterbox.watermark import Marker
from mlx_chatterbox.watermark.marker import mark_stream
from tests.rounding import Rounding, pitched

TEXT = "Hello there."
LONG = {"guard": False, "max_new_tokens": 60, "n_cfm_timesteps": 1, "seed": 1}
SHORT = {"max_new_tokens": 12, "n_cfm_timesteps": 2, "seed": 1}
SMALL = Chunks(first=0.2, largest=0.4, context=0.4, lookahead=0.2)


@pytest.fixture(scope="module")
def tts(small_checkpoint, recording):
    tts = ChatterboxTTS.from_local(small_checkpoint)
    tts.prepare_conditionals(recording)
    return tts


def collect(chunks) -> np.ndarray:
    chunks = list(chunks)
    assert all(chunk.dtype == np.float32 and chunk.ndim == 1 and chunk.size for chunk in chunks)
    return np.concatenate(chunks)


@pytest.mark.numbers
@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("variant", ["english", "multilingual", "turbo", "nano", "flash"])
def test_tokens_and_length_are_those_of_generate(small_models, voices, variant, marked):
    tts = open_model(small_models(variant))
    tts.conds = tts.voice_of(np.concatenate(voices[:3]))
    settings = {**LONG, "watermark": marked}
    if variant == "multilingual":
        settings["language_id"] = "fr"
    whole = tts.generate(TEXT, **settings)
    tokens = tts.last_tokens
    chunks = list(tts.stream(TEXT, chunks=SMALL, **settings))
    assert len(chunks) >= 3
    assert tts.last_tokens == tokens
    assert sum(map(len, chunks)) == len(whole)
    assert np.isfinite(np.concatenate(chunks)).all()
    assert not tts.stopped


@pytest.mark.numbers
@pytest.mark.parametrize("marked", [False, True])
def test_what_fits_the_first_chunk_is_generates_waveform(tts, marked):
    whole = tts.generate(TEXT, watermark=marked, **SHORT)
    chunks = list(tts.stream(TEXT, watermark=marked, **SHORT))
    assert len(chunks) == 1
    np.testing.assert_array_equal(chunks[0], whole)


@pytest.mark.numbers
def test_a_seed_repeats_and_another_differs(tts):
    first, again = (collect(tts.stream(TEXT, chunks=SMALL, **LONG)) for _ in range(2))
    other = collect(tts.stream(TEXT, chunks=SMALL, **{**LONG, "seed": 2}))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_sound_comes_while_tokens_are_written(tts):
    written = []
    chunks = tts.stream(
        TEXT, chunks=SMALL, progress=lambda what, done, _: written.append((what, done)), **LONG
    )
    assert not written  # no work before the first chunk is requested
    next(chunks)
    assert {what for what, _ in written} == {"tokens"}
    at_first = len(written)
    list(chunks)
    assert at_first <= 40
    assert len(written) == 60


def test_chunks_grow_to_the_largest(tts):
    chunks = list(tts.stream(TEXT, chunks=SMALL, watermark=False, **LONG))
    lengths = [len(chunk) / tts.sr for chunk in chunks]
    assert 0.2 <= lengths[0] <= 0.26
    assert lengths[1:-1] == pytest.approx([0.4] * (len(lengths) - 2))


def test_work_for_a_chunk_is_bounded(tts, monkeypatch):
    windows = []
    flow = type(tts.networks.s3gen.flow)
    inference = flow.inference

    def watched(self, tokens, *arguments):
        windows.append(tokens.shape[1])
        return inference(self, tokens, *arguments)

    monkeypatch.setattr(flow, "inference", watched)
    list(tts.stream(TEXT, chunks=SMALL, **{**LONG, "max_new_tokens": 100}))
    assert len(windows) > 5
    assert max(windows[1:]) <= 10 + 10 + 5 + vocoder_delay(tts.networks.s3gen)
    # All of one size after the first ones, as suits compiled kernels.
    assert len(set(windows[3:-1])) == 1


def seen_locally(mel_of_tokens):
    """Replacement of the flow: a mel whose frames depend on their own token and noise alone."""

    def inference(flow, tokens, prompt_token, prompt_feat, embedding, noise, *rest):
        prompt = 2 * prompt_token.shape[1]
        return mx.repeat(mel_of_tokens[tokens], 2, axis=1) + 0.1 * noise[:, prompt:]

    return inference


SIZES = [(5, 20, 10, 5), (2, 3, 0, 3), (20, 60, 25, 10)]


@pytest.mark.numbers
def test_all_but_the_flow_is_exact_for_any_sizes(tts, monkeypatch):
    """Chunks would not show in the waveform if the flow saw no further than its window."""
    s3gen, reference = tts.networks.s3gen, tts.conds.reference
    tokens = np.random.default_rng(5).integers(0, 6561, 50).tolist()
    mel_of_tokens = mx.sin(mx.arange(6561)[:, None] * mx.arange(1, 81)) - 4.0

    def spoken(mel_of_tokens, sizes=SIZES[0]):
        monkeypatch.setattr(type(s3gen.flow), "inference", seen_locally(mel_of_tokens))
        stream = TokenStream(s3gen, reference, mx.random.key(3), ChunkTokens(*sizes))
        chunks = [stream.push(token) for token in tokens]
        chunks = [chunk for chunk in chunks if chunk is not None]
        assert chunks
        chunks.append(stream.finish())
        assert stream.samples == 960 * 50
        return mx.concatenate(chunks)

    for is_steady in (True, False):
        with pitched(s3gen.mel2wav, is_steady):
            rounding = Rounding(spoken, given=[mel_of_tokens])
            for sizes in SIZES[1:]:
                rounding.check(spoken(mel_of_tokens, sizes))


def test_frames_that_windows_share_start_from_the_same_noise(tts, monkeypatch):
    """Noise of another frame would sound good, and no bound on the waveform would show it."""
    s3gen, reference = tts.networks.s3gen, tts.conds.reference
    flow = type(s3gen.flow)
    inference, windows = flow.inference, []

    def watched(self, tokens, prompt_token, prompt_feat, embedding, noise, *rest):
        # Each token states its position.
        fresh = np.array(noise)[0, 2 * prompt_token.shape[1] :]
        windows.append(dict(enumerate(fresh, 2 * int(tokens[0, 0]))))
        return inference(self, tokens, prompt_token, prompt_feat, embedding, noise, *rest)

    monkeypatch.setattr(flow, "inference", watched)
    stream = TokenStream(s3gen, reference, mx.random.key(3), ChunkTokens(5, 10, 10, 5))
    for token in range(60):
        stream.push(token)
    stream.finish()
    shared = 0
    for before, after in itertools.pairwise(windows):
        for frame in before.keys() & after.keys():
            assert np.array_equal(before[frame], after[frame])
            shared += 1
    assert shared > 100
    first = windows[0]
    assert not any(np.array_equal(first[frame], first[frame + 1]) for frame in range(5))


@pytest.mark.numbers
def test_more_context_and_lookahead_are_nearer_to_the_whole(tts):
    """The only approximation converges to the result of a single window."""
    from benchmarks.streaming import compare, streamed, whole

    s3gen, reference, key = tts.networks.s3gen, tts.conds.reference, mx.random.key(4)
    tokens = np.random.default_rng(6).integers(0, 6561, 70).tolist()
    wanted = whole(s3gen, tokens, reference, key, 2)
    errors = []
    for sizes in (ChunkTokens(4, 8, 0, 3), ChunkTokens(20, 30, 60, 20)):
        waveform, _ = streamed(s3gen, tokens, reference, key, 2, sizes)
        assert waveform.shape == wanted.shape
        errors.append(compare(waveform, wanted)["mel_db"])
    assert errors[1] < errors[0]


@pytest.mark.numbers
def test_no_step_at_a_seam(tts):
    from benchmarks.streaming import step_at_seams, streamed, whole

    tokens = np.random.default_rng(7).integers(0, 6561, 80).tolist()
    given = tts.networks.s3gen, tokens, tts.conds.reference, mx.random.key(5), 2
    waveform, seams = streamed(*given, ChunkTokens(10, 20, 20, 8))
    assert len(seams) >= 4
    assert step_at_seams(waveform, seams, whole(*given), around=120) <= 1.0


def test_the_first_window_may_look_at_less_of_the_reference(tts, monkeypatch):
    seen = []
    flow = type(tts.networks.s3gen.flow)
    inference = flow.inference

    def watched(self, tokens, prompt_token, prompt_feat, embedding, noise, *rest):
        seen.append((prompt_token.shape[1], prompt_feat.shape[1]))
        assert noise.shape[1] == 2 * (prompt_token.shape[1] + tokens.shape[1])
        return inference(self, tokens, prompt_token, prompt_feat, embedding, noise, *rest)

    monkeypatch.setattr(flow, "inference", watched)
    sizes = replace(SMALL, first_reference=1.0)
    heard = collect(tts.stream(TEXT, chunks=sizes, watermark=False, **LONG))
    whole = tts.conds.prompt_token.shape[1]
    assert whole > 25
    assert len(heard) == 960 * len(tts.last_tokens)
    assert [tokens for tokens, _ in seen] == [25] + [whole] * (len(seen) - 1)
    assert all(frames - 2 * tokens in (0, 1) for tokens, frames in seen)


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 40])
def test_ends_as_the_pipeline_does(tts, count, extra):
    """Silence at the end, the last token dropped, a reference with an odd number of frames."""
    s3gen, reference, key = tts.networks.s3gen, tts.conds.reference, mx.random.key(6)
    if extra:
        frame = reference.prompt_feat[:, -1:]
        reference = replace(
            reference, prompt_feat=mx.concatenate([reference.prompt_feat, frame], axis=1)
        )
    tokens = np.random.default_rng(8).integers(0, 6561, count).tolist()
    for behind, drop in ((0, False), (3, False), (0, True), (3, True)):
        stream = TokenStream(s3gen, reference, key, ChunkTokens(2, 10, 5, 3), 1)
        heard = [chunk for token in tokens if (chunk := stream.push(token)) is not None]
        samples = sum(chunk.shape[0] for chunk in heard)
        samples += stream.finish(behind, 4299, drop).shape[0]
        wanted = s3gen(mx.array(tokens + [4299] * behind), reference, key=key, n_timesteps=1)
        wanted = wanted.shape[0]
        if drop:
            wanted = min(wanted, max(1, count - 1) * 960)
        assert samples == wanted == stream.samples


@pytest.mark.numbers
def test_fade_in_over_any_pieces():
    waveform = mx.random.normal((3000,), key=mx.random.key(0))
    whole = mx.concatenate([waveform[:960] * trim_fade(24000), waveform[960:]])
    fade_in, parts = FadeIn(24000), []
    for start, stop in itertools.pairwise([0, 0, 100, 500, 501, 2000, 3000]):
        parts.append(fade_in(waveform[start:stop]))
    assert mx.array_equal(mx.concatenate(parts), whole)


def written_tokens(monkeypatch, tokens):
    """Make T3 decode these tokens; returns a list that shows whether it was closed."""
    closed = []

    def decode(*_):
        try:
            yield from tokens
        finally:
            closed.append(True)

    monkeypatch.setattr("mlx_chatterbox.synthesis.streaming.decode", decode)
    return closed


@pytest.mark.parametrize(
    "tokens",
    [[7, 8, 6561, 1, 2, 3], [1, 2, 6563, 3], [6561, 5, 6561, 6], [6562, 4, 6561, 6561, 9]],
)
def test_tokens_without_sound(tts, monkeypatch, tokens):
    written_tokens(monkeypatch, tokens)
    heard = collect(tts.stream(TEXT, watermark=False, **SHORT))
    assert tts.last_tokens == audible_tokens(tokens, 6561, 6561)
    assert len(heard) == 960 * len(tts.last_tokens)
    assert tts.stopped


def test_a_start_token_after_the_first_chunk_leaves_played_audio(tts, monkeypatch):
    tokens = [*range(60), 6561, *range(100, 140)]
    written_tokens(monkeypatch, tokens)
    heard = collect(tts.stream(TEXT, chunks=SMALL, watermark=False, **LONG))
    assert tts.last_tokens == [*range(60), *range(100, 140)]
    assert len(heard) == 960 * 100


@pytest.mark.parametrize("tokens", [[], [6562, 6562], [5, 6, 6561]])
def test_no_token_has_a_sound(tts, monkeypatch, tokens):
    written_tokens(monkeypatch, tokens)
    with pytest.raises(TextError, match="another seed"):
        list(tts.stream(TEXT, **SHORT))


def test_closing_early_ends_everything(tts, monkeypatch):
    closed = written_tokens(monkeypatch, itertools.cycle(range(1000)))
    streams = weakref.WeakSet()

    class Watched(TokenStream):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            streams.add(self)

    monkeypatch.setattr("mlx_chatterbox.synthesis.streaming.TokenStream", Watched)
    chunks = tts.stream(TEXT, chunks=SMALL, **LONG)
    next(chunks)
    assert len(streams) == 1
    assert not closed
    chunks.close()
    assert closed
    assert len(streams) == 0
    # A generator that was never started has nothing to close, and can be closed.
    tts.stream(TEXT, **SHORT).close()


def test_the_callers_device_stays(small_checkpoint, tts):
    other = ChatterboxTTS.from_local(small_checkpoint, "cpu")
    other.conds = tts.conds
    before = mx.default_stream(mx.default_device())
    for _ in other.stream(TEXT, chunks=SMALL, **LONG):
        assert mx.default_stream(mx.default_device()) == before


def test_several_pieces_are_spoken_one_after_the_other(tts, monkeypatch):
    monkeypatch.setattr(tts.defaults, "longest_piece", 24)
    settings = {**LONG, "max_new_tokens": 50, "watermark": False}
    text = "Here is one sentence. And here another one. The last."
    whole = tts.generate(text, **settings)
    tokens = tts.last_tokens
    chunks = tts.stream(text, chunks=SMALL, **settings)
    heard = collect(chunks)
    assert tts.last_tokens == tokens
    assert len(heard) == len(whole)
    # Each piece begins with its own fade.
    assert np.abs(heard[:480]).max() == 0.0


def test_memory_does_not_grow_with_the_text(tts, monkeypatch):
    monkeypatch.setattr(tts.defaults, "longest_piece", 24)
    peaks = []
    for sentences in (3, 24):
        text = " ".join(["Here is one sentence."] * sentences)
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        for _ in tts.stream(text, chunks=SMALL, **{**LONG, "max_new_tokens": 45}):
            pass
        peaks.append(mx.get_peak_memory() - before)
    # Lengths are random, and differ by a quarter; the longer text's chunks alone would be more.
    assert peaks[1] <= 1.25 * peaks[0]


@pytest.mark.parametrize(
    ("text", "settings", "error"),
    [
        ("  ", {}, TextError),
        ("word " * 200, {"max_new_tokens": 12}, TextError),
        (TEXT, {"max_new_tokens": 0}, SettingError),
        (TEXT, {"n_cfm_timesteps": 0}, SettingError),
        (TEXT, {"temperature": -1.0}, SettingError),
        (TEXT, {"seed": -1}, SettingError),
        (TEXT, {"noise": mx.zeros((1, 2, 80))}, SettingError),
        (TEXT, {"source": mx.zeros((1, 960))}, SettingError),
    ],
)
def test_errors_come_at_once(tts, text, settings, error):
    with pytest.raises(error):
        tts.stream(text, **settings)


@pytest.mark.parametrize(
    "sizes",
    [
        {"first": 0.0},
        {"first": 2.0, "largest": 1.0},
        {"lookahead": 0.08},
        {"context": -1.0},
        {"largest": 100.0},
        {"first": float("nan")},
    ],
)
def test_invalid_chunk_sizes_are_refused(sizes):
    with pytest.raises(SettingError, match="chunks"):
        Chunks(**sizes)


def test_positional_arguments_are_generates(tts, recording_file):
    collect(tts.stream(TEXT, 1.3, 0.1, 0.9, recording_file, 0.6, 0.4, 0.7, **SHORT))
    assert tts.conds.emotion == 0.6
    tts.prepare_conditionals(recording_file)


@pytest.mark.numbers
def test_a_marked_stream_is_what_the_marker_gives(recording):
    marker = Marker(24000)
    wanted = np.concatenate([marker.push(recording), marker.finish()])
    parts = np.split(recording, [5000, 5001, 30000])
    marked = mark_stream(((part, i == 3) for i, part in enumerate(parts)), 24000)
    np.testing.assert_allclose(np.concatenate(list(marked)), wanted, atol=1e-5)


def test_what_a_guard_ended_is_never_called_well(tts, monkeypatch):
    """Plausible tokens do not change this; it holds for each piece by itself."""

    class Impatient:
        def __init__(self, bounds):
            self.count = 0

        def add(self, token):
            self.count += 1
            return self.count == 20

    monkeypatch.setattr(tts.defaults, "longest_piece", 24)
    text = "Here is one sentence. Here is one sentence."
    settings = {**LONG, "guard": True}
    collect(tts.stream(text, **LONG))
    assert [one.verdict for one in tts.outcomes] == ["", ""]
    monkeypatch.setattr("mlx_chatterbox.synthesis.streaming.TokenMonitor", Impatient)
    collect(tts.stream(text, **settings))
    assert len(tts.outcomes) == 2
    assert all(one.verdict for one in tts.outcomes)
    assert tts.stopped
