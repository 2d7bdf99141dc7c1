"""Speech fits its slot at its own pitch, and all pieces have one loudness."""

import numpy as np
import pytest

from mlx_chatterbox.audio.silence import trim_silence
from mlx_chatterbox.audio.stretch import stretch
from mlx_chatterbox.longform.fit import FASTEST, fit, prepared, slots, trimmed
from mlx_chatterbox.longform.level import MOST_DB, common_level, gain_to, levelled, loudness_of
from mlx_chatterbox.longform.plan import Piece

RATE = 24_000


def voice(seconds=2.0, hz=120.0, level=0.3):
    """A vowel-like sound: harmonics of a wavering pitch, in syllables, no silence at its ends."""
    time = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * (hz * time + 0.4 * np.sin(2 * np.pi * 3 * time))
    wave = sum(np.sin(k * phase) / k for k in range(1, 12))
    return (level * wave * (0.7 + 0.3 * np.cos(2 * np.pi * 4 * time))).astype(np.float32)


def pitch(waveform):
    """Median over frames of the strongest autocorrelation from 60 to 400 Hz."""
    found = []
    for start in range(0, len(waveform) - 2400, 2400):
        power = np.abs(np.fft.rfft(waveform[start : start + 2400], 4800)) ** 2
        alike = np.fft.irfft(power)
        found.append(RATE / (60 + alike[60:400].argmax()))
    return float(np.median(found))


@pytest.mark.numbers
@pytest.mark.parametrize("speed", [0.6, 0.85, 1.1, 1.3, 1.8])
@pytest.mark.parametrize("hz", [95.0, 210.0])
def test_stretching_changes_the_length_and_not_the_pitch(speed, hz):
    wave = voice(hz=hz)
    found = stretch(wave, RATE, speed)
    assert found.dtype == np.float32
    assert len(found) == round(len(wave) / speed)
    assert pitch(found) == pytest.approx(pitch(wave), rel=0.02)
    assert np.std(found) == pytest.approx(np.std(wave), rel=0.1)
    # No click: no larger step than in the voice itself.
    assert np.abs(np.diff(found)).max() <= 1.2 * np.abs(np.diff(wave)).max()


def test_stretching_keeps_where_things_are():
    """A burst at 60 % of the time stays at 60 %."""
    wave = 0.01 * voice(3.0)
    wave[43000:45000] += voice(1.0)[:2000]
    for speed in (0.7, 1.4):
        found = stretch(wave, RATE, speed)
        assert np.abs(found).argmax() / len(found) == pytest.approx(44000 / 72000, abs=0.02)


def test_both_ends_of_a_stretched_voice_are_at_full_strength():
    wave = voice()
    found = stretch(wave, RATE, 1.2)
    np.testing.assert_allclose(found[:300], wave[:300], atol=1e-6)
    assert np.std(found[-300:]) > 0.3 * np.std(wave[-1200:])


def test_a_speed_of_one_and_silence_stay():
    np.testing.assert_array_equal(stretch(voice(), RATE, 1.0), voice())
    assert not stretch(np.zeros(RATE, np.float32), RATE, 1.25).any()
    assert stretch(np.ones(10, np.float32), RATE, 2.0).shape == (5,)
    with pytest.raises(ValueError, match="outside"):
        stretch(voice(), RATE, 3.0)


def silence(seconds):
    return np.zeros(int(seconds * RATE), np.float32)


def padded(wave, before=0.5, behind=0.7):
    return np.concatenate([silence(before), wave, silence(behind)])


def test_silence_at_both_ends_goes_but_for_a_margin():
    found = trimmed(padded(voice(1.0)), RATE)
    assert 1.0 <= len(found) / RATE <= 1.2
    assert len(trim_silence(found)) == pytest.approx(len(found), abs=0.12 * RATE)


def test_short_speech_is_followed_by_silence():
    found = fit(padded(voice(1.0)), RATE, 3.0)
    assert (len(found.waveform), found.speed, found.overrun) == (3 * RATE, 1.0, 0.0)
    assert not found.waveform[int(1.3 * RATE) :].any()
    assert found.waveform[: RATE // 5].any()


def test_the_pause_after_is_used_before_the_speech_is_sped_up():
    found = fit(padded(voice(2.0)), RATE, 1.5, spare=1.0)
    assert (found.speed, found.overrun) == (1.0, 0.0)
    assert 2.0 <= len(found.waveform) / RATE <= 2.5


def test_long_speech_becomes_faster():
    found = fit(voice(2.0), RATE, 1.6, spare=0.1)
    assert 1.0 < found.speed <= FASTEST
    assert found.overrun == pytest.approx(0.0, abs=1e-3)
    assert len(found.waveform) == pytest.approx(1.7 * RATE, abs=2)
    assert pitch(found.waveform) == pytest.approx(pitch(voice(2.0)), rel=0.02)


def test_speech_still_too_long_reports_by_how_much():
    wave = voice(2.0)
    found = fit(wave, RATE, 1.0, fastest=1.25)
    assert found.speed == 1.25
    assert found.overrun == pytest.approx(0.6, abs=0.06)
    assert len(found.waveform) / RATE == pytest.approx(1.0 + found.overrun, abs=1e-3)
    assert fit(wave, RATE, 0.0).overrun > 1.0


def test_slots_end_where_the_next_piece_begins():
    pieces = [
        Piece("a", start=1.0, end=2.0),
        Piece("b", start=2.5, end=4.0),
        Piece("c", start=3.5, end=3.6),
        Piece("d", start=3.5, end=5.0),
    ]
    found = slots(pieces)
    assert found[0] == pytest.approx((1.0, 0.42))
    assert found[1] == (1.0, 0.0)
    assert found[2] == (0.0, 0.0)
    assert found[3][0] == 1.5
    assert found[3][1] > 0


def test_a_piece_is_trimmed_levelled_and_fitted():
    wave = padded(voice(1.0, level=0.1))
    found = prepared(wave, RATE, -20.0, -16.0, (2.0, 0.5))
    assert len(found.waveform) == 2 * RATE
    assert np.abs(found.waveform).max() == pytest.approx(np.abs(wave).max() * 10**0.2, rel=1e-3)
    assert len(prepared(wave, RATE).waveform) == len(trimmed(wave, RATE))


def test_sped_up_speech_keeps_its_watermark():
    from pathlib import Path

    from mlx_chatterbox import watermark
    from mlx_chatterbox.audio.files import load_audio

    marked = load_audio(Path(__file__).parents[2] / "docs" / "pocket-slt.wav", RATE)
    assert watermark.detect(marked, RATE) > 0.9
    assert watermark.detect(stretch(marked, RATE, FASTEST), RATE) > 0.9


@pytest.mark.numbers
def test_pieces_come_to_one_loudness():
    pieces = [voice(1.0, level=level) for level in (0.05, 0.08, 0.1, 0.12)]
    measured = [loudness_of(piece, RATE) for piece in pieces]
    level = common_level(measured)
    after = [
        loudness_of(levelled(piece, loudness, level), RATE)
        for piece, loudness in zip(pieces, measured, strict=True)
    ]
    assert max(measured) - min(measured) > 7
    assert max(after) - min(after) < 0.1
    assert after[0] == pytest.approx(level, abs=0.1)


def test_gain_is_bounded_and_nothing_clips():
    soft, level = voice(1.0, level=0.001), -20.0
    found = levelled(soft, loudness_of(soft, RATE), level)
    np.testing.assert_allclose(found, soft * 10 ** (MOST_DB / 20), rtol=1e-5)
    loud = voice(1.0)
    loud *= 0.9 / np.abs(loud).max()
    found = levelled(loud, loudness_of(loud, RATE), 0.0)
    assert 0.9 < np.abs(found).max() <= 0.981
    assert gain_to(-10.0, -20.0, 3.0) == pytest.approx(10 ** (-3 / 20))


def test_short_pieces_and_silence_have_an_answer():
    assert loudness_of(voice(0.2), RATE) == pytest.approx(loudness_of(voice(1.0), RATE), abs=1.5)
    assert loudness_of(silence(1.0), RATE) is None
    assert loudness_of(silence(0.0), RATE) is None
    assert common_level([None, None]) is None
    np.testing.assert_array_equal(levelled(voice(0.1), None, -20.0), voice(0.1))


def test_speech_that_begins_late_should_end_in_time():
    wave = voice(1.0)
    found = fit(wave, RATE, 2.0, late=0.5)
    assert (len(found.waveform), found.speed, found.overrun) == (1.5 * RATE, 1.0, 0.0)
    found = fit(wave, RATE, 1.0, late=0.2)
    assert found.speed == pytest.approx(1.25, rel=0.05)
    assert found.overrun == 0.0
    # Later than its whole time: at the highest speed, and it reports by how much it ends late.
    found = fit(wave, RATE, 1.0, late=3.0)
    assert found.speed == FASTEST
    assert found.overrun == pytest.approx(2.0 + 1.0 / FASTEST, abs=0.1)
