"""Bounds on how well the pocket voice speaks: word errors, durations, pitch, similarity.

Slow: fifty sentences by two voices, transcribed by pocketsphinx. Run by .ci/run.
"""

from __future__ import annotations

import pytest

from mlx_chatterbox import ChatterboxTTS, ChatterboxVC
from mlx_chatterbox.recognition.held_out import HELD_OUT, OTHERS
from mlx_chatterbox.recognition.recogniser import Recogniser
from mlx_chatterbox.train.pocket.evaluation import evaluate_conversion, evaluate_speech

# Word error rate above flite's own audio of the same sentences, at most: over both voices, and of
# one of them. Measured when these were written, held out: 0.16 (slt), 0.07 (rms), 0.12 over both;
# the others 0.18 and 0.10. The aim is 0.15 for each.
MOST_ABOVE_FLITE = 0.15
MOST_ABOVE_FLITE_OF_ONE = {"slt": 0.20, "rms": 0.15}
MOST_ABOVE_FLITE_OTHERS = 0.25
PITCH_WITHIN = 0.10

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tts() -> ChatterboxTTS:
    return ChatterboxTTS.from_pretrained("pocket")


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser()


@pytest.fixture(scope="module")
def held_out(tts, recogniser) -> dict:
    return evaluate_speech(tts, HELD_OUT, ("slt", "rms"), recogniser)


@pytest.mark.parametrize("name", ["slt", "rms"])
def test_held_out_sentences(held_out, name):
    found = held_out[name]
    print({key: value for key, value in found.items() if key != "heard"})
    above = found["word_error_rate"] - found["word_error_rate_flite"]
    assert above <= MOST_ABOVE_FLITE_OF_ONE[name]
    assert found["longest"] <= 2.0
    assert found["shortest"] >= 0.6
    assert abs(found["median_f0"] / found["median_f0_reference"] - 1) <= PITCH_WITHIN
    assert found["told_apart"] == 1.0


def test_held_out_sentences_by_both(held_out):
    rates = [found["word_error_rate"] for found in held_out.values()]
    flite = [found["word_error_rate_flite"] for found in held_out.values()]
    assert sum(rates) / 2 <= sum(flite) / 2 + MOST_ABOVE_FLITE


@pytest.mark.parametrize("name", ["slt", "rms"])
def test_sentences_by_somebody_else(tts, recogniser, name):
    found = evaluate_speech(tts, OTHERS, (name,), recogniser)[name]
    print({key: value for key, value in found.items() if key != "heard"})
    assert found["word_error_rate"] <= found["word_error_rate_flite"] + MOST_ABOVE_FLITE_OTHERS
    assert found["longest"] <= 2.0
    assert found["shortest"] >= 0.6


def test_voice_conversion_keeps_the_words_and_takes_the_pitch(tts, recogniser):
    vc = ChatterboxVC(tts.checkpoint)
    report = evaluate_conversion(vc, HELD_OUT[:20], (("rms", "slt"), ("slt", "rms")), recogniser)
    print(report)
    for found in report.values():
        assert abs(found["median_f0"] / found["median_f0_target"] - 1) <= PITCH_WITHIN
        assert found["word_error_rate"] <= 0.35
