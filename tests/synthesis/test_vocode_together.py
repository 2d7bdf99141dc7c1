"""Sentences that S3Gen vocodes in one call: each as it is by itself, up to rounding."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox import ChatterboxTTS, Voice
from mlx_chatterbox.api.tts import open_model
from mlx_chatterbox.errors import SettingError
from mlx_chatterbox.models.s3gen.batch import speech_of
from mlx_chatterbox.models.s3gen.s3gen import S3Gen, S3GenConditionals
from mlx_chatterbox.runtime import device
from mlx_chatterbox.synthesis import retries, synthesizer
from mlx_chatterbox.synthesis.monitor import Finding
from mlx_chatterbox.synthesis.synthesizer import BUCKET_TOKENS, vocoding_groups
from mlx_chatterbox.weights.checkpoint import load_converted
from tests.chosen_tokens import choose_tokens, key_of
from tests.rounding import Rounding, pitched

TEXTS = ["Good morning.", "Yes.", "Thank you.", "Open the window.", "No.", "The red hat is old."]
FAST = {"n_cfm_timesteps": 1, "watermark": False, "seed": 5, "max_new_tokens": 40}


@pytest.fixture(scope="module")
def tts(small_checkpoint, voices) -> ChatterboxTTS:
    tts = ChatterboxTTS.from_local(small_checkpoint)
    tts.conds = tts.voice_of(np.concatenate(voices[:3]))
    return tts


@pytest.fixture(scope="module")
def cast(tts, voices) -> list[Voice | None]:
    """A voice for each of `TEXTS`; the model's own, None, too."""
    first, second, third = (
        tts.voice_of(np.concatenate(voices[i : i + 3])[: 24000 * (4 + i)]) for i in (1, 2, 3)
    )
    return [None, first, second, third, first, None]


@pytest.fixture
def steady_voice(tts):
    """A steady pitch, so that the waveform accumulates less rounding."""
    with pitched(tts.networks.s3gen.mel2wav):
        yield


@pytest.fixture(params=["cpu", "gpu"])
def kind(request):
    with device.pretend(request.param):
        yield request.param


class Calls:
    """Counts calls of S3Gen.

    Attributes:
        alone: tokens of each sentence that was vocoded by itself.
        together: of those that were vocoded in one call, call by call.
    """

    def __init__(self, monkeypatch):
        self.alone, self.together, self._lock = [], [], Lock()
        call = S3Gen.__call__

        def counted(network, tokens, *what, **more):
            with self._lock:
                self.alone.append(tokens.shape[0])
            return call(network, tokens, *what, **more)

        def counted_together(network, tokens, *what, **more):
            with self._lock:
                self.together.append([row.shape[0] for row in tokens])
            return speech_of(network, tokens, *what, **more)

        monkeypatch.setattr(S3Gen, "__call__", counted)
        monkeypatch.setattr(synthesizer, "speech_of", counted_together)


@pytest.fixture
def chosen(monkeypatch) -> None:
    """Each sentence has tokens that its seed decides, 8 to 17 of them; T3 computes nothing."""

    def tokens_of(number, request):
        draw = np.random.default_rng(key_of(request))
        return draw.integers(0, 6561, draw.integers(8, 18)).tolist()

    choose_tokens(monkeypatch, tokens_of)


@pytest.fixture
def calls(monkeypatch) -> Calls:
    return Calls(monkeypatch)


# --- The function --------------------------------------------------------------------------------


def references(config) -> list[S3GenConditionals]:
    """Three voices: prompts of different lengths, the last one's mel with an odd frame."""
    draw = np.random.default_rng(4)
    made = []
    for tokens, frames in ((5, 10), (9, 18), (6, 13)):
        made.append(
            S3GenConditionals(
                mx.array(draw.integers(0, config.vocab_size, (1, tokens)), dtype=mx.int32),
                mx.array(draw.standard_normal((1, frames, 80), dtype=np.float32)),
                mx.array(draw.standard_normal((1, config.speaker_embed_dim), dtype=np.float32)),
            )
        )
    return made


@pytest.mark.numbers
@pytest.mark.parametrize("variant", ["english", "turbo"])
@pytest.mark.parametrize("lengths", [(7, 4, 12), (6, 6, 6)])
def test_each_row_is_what_it_is_alone(small_models, kind, variant, lengths):
    s3gen = load_converted(small_models(variant)).networks.s3gen
    draw = np.random.default_rng(5)
    tokens = [mx.array(draw.integers(0, s3gen.config.vocab_size, (n,))) for n in lengths]
    voices = references(s3gen.config)[: len(lengths)]
    keys = [mx.random.key(7 + i) for i in range(len(lengths))]

    def alone() -> list[mx.array]:
        rows = zip(tokens, voices, keys, strict=True)
        return [s3gen(row, voice, key=key, n_timesteps=3) for row, voice, key in rows]

    steps = []
    with pitched(s3gen.mel2wav):
        expected = Rounding(alone, [s3gen])
        found = speech_of(s3gen, tokens, voices, keys, 3, lambda *step: steps.append(step))
        expected.check(found)
    assert [one.dtype for one in found] == [mx.float32] * len(lengths)
    assert steps == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(SettingError, match="n_cfm_timesteps"):
        speech_of(s3gen, tokens, voices, keys, 0)


# --- Batches -------------------------------------------------------------------------------------


@pytest.mark.numbers
def test_a_batch_in_several_voices_is_what_it_is_one_by_one(
    tts, cast, steady_voice, chosen, kind, calls
):
    settings = {"voices": cast, "guard": False, **FAST}
    expected = Rounding(
        lambda: tts.generate_batch(TEXTS, vocode_together=1, **settings), [tts.networks.s3gen]
    )
    outcomes = tts.outcomes
    assert (len(calls.alone), calls.together) == (5 * len(TEXTS), [])
    found = tts.generate_batch(TEXTS, vocode_together=4, **settings)
    expected.check(found)
    assert tts.outcomes == outcomes
    assert len({len(one) for one in found}) > 3
    assert calls.together


@pytest.mark.parametrize("variant", ["multilingual", "turbo"])
def test_each_variant_ends_as_it_does_alone(small_models, voices, monkeypatch, chosen, variant):
    """The multilingual model's last token is dropped, and Turbo gets silence after it."""
    calls = Calls(monkeypatch)
    monkeypatch.setattr(synthesizer, "BUCKET_TOKENS", 1000)
    tts = open_model(small_models(variant))
    tts.conds = tts.voice_of(np.concatenate(voices[:3]))
    settings = {"guard": False, **FAST}
    if variant == "multilingual":
        settings["language_id"] = "fr"
    alone = tts.generate_batch(TEXTS[:4], **settings)
    lengths = sorted(calls.alone)
    found = tts.generate_batch(TEXTS[:4], vocode_together=4, **settings)
    assert sorted(length for one in calls.together for length in one) == lengths
    assert [len(one) for one in found] == [len(one) for one in alone]
    assert len({len(one) for one in alone}) > 1


def test_one_call_for_a_bucket(tts, cast, monkeypatch, chosen, calls):
    monkeypatch.setattr(synthesizer, "BUCKET_TOKENS", 1000)
    taken = {}

    def finished(number, waveform, outcomes):
        taken[number] = waveform

    def spoken(**more) -> tuple[list[int], list[list[int]]]:
        calls.alone, calls.together = [], []
        found = tts.generate_batch(
            TEXTS, voices=cast, finished=finished, guard=False, **{**FAST, **more}
        )
        for number, waveform in enumerate(found):
            np.testing.assert_array_equal(taken.pop(number), waveform)
        return calls.alone, calls.together

    with monkeypatch.context() as one_loop:
        # All in one loop of attempts, not a half for each core.
        one_loop.setattr(synthesizer, "can_run_two", lambda: False)
        alone, together = spoken()
        lengths = sorted(alone)
        assert len(lengths) == 6
        assert not together
        alone, together = spoken(vocode_together=16)
        assert (alone, len(together)) == ([], 1)
        assert sorted(together[0]) == lengths
        alone, together = spoken(vocode_together=4)
        assert (alone, sorted(map(len, together))) == ([], [2, 4])
        alone, together = spoken(vocode_together=5)
        assert (len(alone), list(map(len, together))) == (1, [5])
        own = [{"n_cfm_timesteps": 2 if i % 2 else 1} for i in range(6)]
        alone, together = spoken(vocode_together=4, settings=own)
        assert (alone, list(map(len, together))) == ([], [3, 3])
        # No more wait for one another than are decoded together.
        alone, together = spoken(vocode_together=16, batch_size=2)
        assert sum(map(len, together)) + len(alone) == 6
        assert max(map(len, together)) == 2
    # As this machine does it, perhaps with a loop for each of two cores.
    alone, together = spoken(vocode_together=16)
    assert alone == []
    assert sorted(length for one in together for length in one) == lengths


def test_pieces_of_a_long_text_are_vocoded_together(tts, monkeypatch, chosen, calls):
    monkeypatch.setattr(synthesizer, "BUCKET_TOKENS", 1000)
    told = []
    settings = {**FAST, "n_cfm_timesteps": 2, "guard": False}
    text = "Open the window. [pause 0.1s] Nobody knows. [pause 0.1s] Yes."
    expected = tts.generate(text, **settings)
    pieces = len(tts.outcomes)
    assert pieces == 3
    calls.alone = []
    found = tts.generate(
        text, vocode_together=3, progress=lambda *what: told.append(what), **settings
    )
    assert (calls.alone, list(map(len, calls.together))) == ([], [3])
    assert found.shape == expected.shape
    assert [what for what in told if what[0] == "flow"] == [("flow", 1, 2), ("flow", 2, 2)]


def test_a_repeated_sentence_is_vocoded_again_and_the_others_are_not(
    tts, monkeypatch, chosen, calls
):
    """A guard judges each of those that are vocoded together by itself."""
    monkeypatch.setattr(synthesizer, "BUCKET_TOKENS", 1000)
    monkeypatch.setattr(synthesizer, "can_run_two", lambda: False)
    judged = []

    def silent(waveform, rate):
        judged.append(len(waveform))
        return Finding("planted", 1.0) if len(judged) == 2 else None

    monkeypatch.setattr(retries, "judge_decoded", lambda *_: None)
    monkeypatch.setattr(retries, "judge_audio", silent)
    tts.generate_batch(TEXTS[:4], vocode_together=4, **FAST)
    assert sorted(one.tries for one in tts.outcomes) == [1, 1, 1, 2]
    assert [len(one) for one in calls.together] == [4]
    assert len(calls.alone) == 1
    assert len(judged) == 5


# --- Groups --------------------------------------------------------------------------------------


def attempts_of(*kinds: tuple) -> list:
    """Attempts, each of (tokens of the prompt, tokens, steps of the flow, is vocoded)."""
    return [
        SimpleNamespace(
            waveform=np.zeros(1) if is_vocoded else None,
            decoded=SimpleNamespace(audible=[0] * count),
            utterance=SimpleNamespace(
                voice=SimpleNamespace(
                    reference=SimpleNamespace(prompt_token=np.zeros((1, prompt)))
                ),
                settings=SimpleNamespace(cfm_steps=steps),
            ),
        )
        for prompt, count, steps, is_vocoded in kinds
    ]


def test_groups_have_about_one_length_and_as_many_steps():
    bucket = BUCKET_TOKENS
    attempts = attempts_of(
        (bucket, 0, 10, False),
        (0, bucket, 10, False),
        (0, bucket, 2, False),
        (bucket, bucket - 1, 10, False),
        (bucket, bucket, 10, False),
        (0, bucket, 10, True),
        (0, bucket + 1, 10, False),
        (bucket, bucket, 2, False),
        (0, bucket + 2, 2, False),
    )
    assert vocoding_groups(attempts, 16) == [[0, 1, 3, 6], [2, 8], [4], [5], [7]]
    assert vocoding_groups(attempts, 3) == [[0, 1, 3], [2, 8], [4], [5], [6], [7]]
    assert vocoding_groups(attempts, 2) == [[0, 1], [2, 8], [3, 6], [4], [5], [7]]
    assert vocoding_groups(attempts, 1) == [[i] for i in range(9)]
    assert vocoding_groups([], 4) == []


# --- What excludes it ----------------------------------------------------------------------------


def test_what_cannot_be_vocoded_together_says_so(tts, calls):
    texts = TEXTS[:2]
    with pytest.raises(SettingError, match=r"^invariant=True needs vocode_together=1"):
        tts.generate_batch(texts, invariant=True, vocode_together=2, **FAST)
    for name in ("noise", "source"):
        with pytest.raises(SettingError, match=r"^noise and source need vocode_together=1"):
            tts.generate("Yes.", vocode_together=2, **{name: mx.zeros((1, 2, 80))}, **FAST)
    with pytest.raises(SettingError, match=r"^a stream needs vocode_together=1"):
        tts.stream("Yes.", vocode_together=2, **FAST)
    with pytest.raises(SettingError, match=r"^vocode_together must be 1 or more; got 0"):
        tts.generate_batch(texts, vocode_together=0, **FAST)
    with pytest.raises(SettingError, match=r"^settings of text 2 cannot have vocode_together"):
        tts.generate_batch(texts, settings=[{}, {"vocode_together": 2}], **FAST)
    request = tts.batch_request(texts, vocode_together=2, **FAST)
    with pytest.raises(SettingError, match=r"^invariant=True needs"):
        replace(request, invariant=True)
    assert not calls.alone
    assert tts.batch_request(texts, invariant=True, vocode_together=1, **FAST).invariant
    assert tts.batch_request(texts, vocode_together=None, **FAST).vocode_together == 1
    assert tts.batch_request(texts, **FAST).vocode_together == 1
