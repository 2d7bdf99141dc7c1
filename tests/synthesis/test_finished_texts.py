"""Texts of a batch are passed to the callback one by one, each as soon as it is final."""

from __future__ import annotations

from threading import Lock

import numpy as np
import pytest

from mlx_chatterbox import ChatterboxTTS
from mlx_chatterbox.errors import AudioError, SettingError, TextError
from mlx_chatterbox.synthesis.synthesizer import BatchSynthesizer

# The second is spoken in several pieces.
LONG = (
    "Open the window. Nobody knows where the books are, and the red hat is old. Good morning, my "
    "friend, and thank you for the letter of last week."
)
TEXTS = ["Good morning.", LONG, "Yes.", "Thank you.", "Open the window.", "No."]
FAST = {"n_cfm_timesteps": 1, "seed": 5, "invariant": True}


@pytest.fixture(scope="module")
def tts() -> ChatterboxTTS:
    return ChatterboxTTS.from_pretrained("pocket")


@pytest.fixture(scope="module")
def whole(tts) -> list[np.ndarray]:
    return tts.generate_batch(TEXTS, **FAST)


class Taken:
    """Waveforms and outcomes that the callback received, by number."""

    def __init__(self, sounded=()):
        self.waveforms, self.outcomes, self.begun = {}, {}, []
        self._sounded = sounded

    def __call__(self, number, waveform, outcomes):
        assert number not in self.waveforms
        self.begun.append(len(self._sounded))
        self.waveforms[number], self.outcomes[number] = waveform, outcomes


@pytest.mark.parametrize("settings", [{}, {"guard": False}, {"batch_size": 2}])
def test_each_is_handed_on_as_it_is_returned(tts, settings, sounded):
    taken = Taken(sounded)
    found = tts.generate_batch(TEXTS, finished=taken, **settings, **FAST)
    assert sorted(taken.waveforms) == list(range(len(TEXTS)))
    for number, waveform in enumerate(found):
        np.testing.assert_array_equal(taken.waveforms[number], waveform)
    outcomes = [one for number in range(len(TEXTS)) for one in taken.outcomes[number]]
    assert outcomes == tts.outcomes
    assert len(taken.outcomes[1]) > 1
    # Two at most are processed at a time, so the first was passed on before the last was begun.
    assert taken.begun[0] <= 3 < taken.begun[-1]


@pytest.mark.numbers
def test_a_text_by_itself_is_handed_on_too(tts, whole):
    """It has the samples that it has in company: to the bit."""
    taken = Taken()
    (found,) = tts.generate_batch([LONG], finished=taken, **{**FAST, "seed": 6})
    np.testing.assert_array_equal(taken.waveforms[0], found)
    np.testing.assert_array_equal(found, whole[1])


@pytest.mark.numbers
@pytest.mark.parametrize("decode_only", [{0, 3}, {1}, {0, 1, 2, 4, 5}, set(range(6))])
@pytest.mark.parametrize("batch_size", [3, None])
def test_texts_that_are_not_spoken_change_no_other(tts, whole, decode_only, batch_size, sounded):
    """They are neither decoded nor vocoded; nobody's samples depend on that."""
    settings = {**FAST, "batch_size": batch_size}
    sounded.clear()
    taken = Taken()
    found = tts.generate_batch(TEXTS, finished=taken, decode_only=decode_only, **settings)
    needed = set(range(len(TEXTS))) - decode_only
    assert set(taken.waveforms) == needed
    for number in range(len(TEXTS)):
        if number in needed:
            np.testing.assert_array_equal(found[number], whole[number])
            np.testing.assert_array_equal(taken.waveforms[number], whole[number])
        else:
            assert found[number].shape == (0,)
    pieces = sum(len(outcomes) for outcomes in taken.outcomes.values())
    assert len(sounded) >= pieces == len(tts.outcomes)
    assert bool(sounded) == bool(needed)


def test_a_number_to_decode_only_that_belongs_to_no_text(tts):
    for wrong in ({6}, {-1}):
        with pytest.raises(SettingError, match="decode_only: numbers from 0 to 5"):
            tts.generate_batch(TEXTS, decode_only=wrong, **FAST)


def test_texts_that_are_not_spoken_are_checked(tts, sounded):
    with pytest.raises(TextError, match="text 2: "):
        tts.generate_batch(["Yes.", "?"], decode_only=[1], **FAST)
    assert not sounded


@pytest.mark.parametrize("at", [1, 2, len(TEXTS)])
def test_an_error_in_the_callback_ends_the_call(tts, whole, at, sounded):
    taken, one_at_a_time = [], Lock()

    def full(number, waveform, outcomes):
        with one_at_a_time:
            taken.append(number)
            if len(taken) == at:
                raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        tts.generate_batch(TEXTS, finished=full, **FAST)
    # The other one of two may finish; no more is begun.
    assert at <= len(taken) <= at + 1
    for ours, expected in zip(tts.generate_batch(TEXTS, **FAST), whole, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_one_that_cannot_be_marked_leaves_the_others(tts, whole, monkeypatch):
    """Each order of vocoding: what is finished must not depend on it."""
    waveform = BatchSynthesizer._waveform
    wrong = len(whole[2])

    def with_no_number(self, attempt, key):
        found = waveform(self, attempt, key)
        return np.full_like(found, np.nan) if len(found) == wrong else found

    monkeypatch.setattr(BatchSynthesizer, "_waveform", with_no_number)
    taken = Taken()
    with pytest.raises(AudioError):
        tts.generate_batch(TEXTS, finished=taken, watermark=True, guard=False, **FAST)
    assert sorted(taken.waveforms) == [i for i, one in enumerate(whole) if len(one) != wrong]


def test_the_older_name_of_decode_only(tts):
    settings = {**FAST, "max_new_tokens": 8}
    older = tts.generate_batch(TEXTS[:1] + TEXTS[2:4], unneeded=[1], **settings)
    newer = tts.generate_batch(TEXTS[:1] + TEXTS[2:4], decode_only=[1], **settings)
    for one, other in zip(older, newer, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [len(one) > 0 for one in older] == [True, False, True]
