"""`speed`: speech faster or slower at the same pitch, wherever speech is made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_chatterbox import ChatterboxTTS, ChatterboxVC
from mlx_chatterbox.audio.stretch import Stretcher, checked_speed, stretch
from mlx_chatterbox.errors import SettingError
from mlx_chatterbox.generate import main
from mlx_chatterbox.train.data.pitch import f0 as pitch_of
from mlx_chatterbox.vc import main as vc_main
from mlx_chatterbox.watermark import detect

RATE = 24000
TEXT = "Open the window in the hall, please."
FAST = {"n_cfm_timesteps": 1, "watermark": False, "seed": 1}
COMMON = ["--model", "pocket", "--seed", "1", "--no-watermark", "--cfm-steps", "1"]


@pytest.fixture(scope="module")
def tts() -> ChatterboxTTS:
    return ChatterboxTTS.from_pretrained("pocket")


@pytest.fixture(scope="module")
def plain(tts) -> np.ndarray:
    return tts.generate(TEXT, **FAST)


# The stretcher.


@pytest.mark.parametrize("speed", [0.5, 0.77, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("count", [0, 1, 300, 360, 361, 720, 721, 1000, 5000, None])
def test_pieces_of_any_size_give_the_whole(plain, speed, count, rng):
    voice = plain[:count]
    whole = stretch(voice, RATE, speed)
    assert len(whole) == round(len(voice) / speed)
    stretcher, parts, at = Stretcher(RATE, speed), [], 0
    while at < len(voice):
        step = int(rng.integers(0, 3000))
        parts.append(stretcher.push(voice[at : at + step]))
        at += step
    parts.append(stretcher.finish())
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_a_stream_is_held_back_by_less_than_a_tenth_of_a_second(plain, speed):
    stretcher = Stretcher(RATE, speed)
    done = sum(len(stretcher.push(part)) for part in np.array_split(plain, 40))
    assert len(plain) / speed - done <= 0.1 * RATE / speed


def test_what_a_stretcher_holds_does_not_grow(plain):
    stretcher = Stretcher(RATE, 1.3)
    for _ in range(20):
        stretcher.push(plain)
    assert len(stretcher._x) < 0.2 * RATE


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.5, 2.0])
def test_stretching_adds_no_click(plain, speed):
    """Steps from sample to sample are at most 1.1 times the largest of the original."""
    assert np.abs(np.diff(stretch(plain, RATE, speed))).max() <= 1.1 * np.abs(np.diff(plain)).max()


@pytest.mark.parametrize("speed", [0.49, 2.01, 0.0, -1.0, float("nan"), float("inf"), "fast", []])
def test_speeds_out_of_range_are_refused(speed):
    with pytest.raises(SettingError, match=r"speed must be from 0\.5 to 2; got"):
        checked_speed(speed)


def test_speeds_in_range_are_accepted():
    assert [checked_speed(one) for one in (None, 1, "1.5", 0.5, 2)] == [1.0, 1.0, 1.5, 0.5, 2.0]


# Python.


@pytest.mark.parametrize("speed", [0.5, 0.9, 1.7, 2.0])
def test_generate_stretches(tts, plain, speed):
    found = tts.generate(TEXT, speed=speed, **FAST)
    assert len(found) == round(len(plain) / speed)
    np.testing.assert_array_equal(found, stretch(plain, RATE, speed))
    # The tokens are those of the speech as it was spoken.
    assert len(tts.last_tokens) == len(plain) // 960


def test_the_pitch_stays(tts, plain):
    def median(waveform):
        f0 = pitch_of(waveform)
        return float(np.median(f0[f0 > 0]))

    for speed in (0.6, 1.6):
        assert median(tts.generate(TEXT, speed=speed, **FAST)) == pytest.approx(
            median(plain), rel=0.05
        )


def test_a_speed_of_one_changes_no_bit(tts, plain):
    (batch,) = tts.generate_batch([TEXT], **FAST)
    for speed in (None, 1, 1.0):
        np.testing.assert_array_equal(tts.generate(TEXT, speed=speed, **FAST), plain)
        (one,) = tts.generate_batch([TEXT], speed=speed, **FAST)
        np.testing.assert_array_equal(one, batch)
    chunks = np.concatenate(list(tts.stream(TEXT, **FAST)))
    same = np.concatenate(list(tts.stream(TEXT, speed=1.0, **FAST)))
    np.testing.assert_array_equal(chunks, same)


def test_the_watermark_comes_after_stretching(tts):
    marked = tts.generate(TEXT, seed=1, speed=1.5)
    bare = tts.generate(TEXT, seed=1, speed=1.5, watermark=False)
    assert marked.shape == bare.shape
    assert detect(marked, RATE) > 0.9
    streamed = np.concatenate(list(tts.stream(TEXT, seed=1, speed=0.8)))
    assert detect(streamed, RATE) > 0.9


def test_generate_batch_stretches(tts):
    texts = [TEXT, "Yes."]
    plain = tts.generate_batch(texts, **FAST)
    told = {}
    fast = tts.generate_batch(
        texts, speed=1.5, finished=lambda number, wave, _: told.update({number: wave}), **FAST
    )
    for number, (a, b) in enumerate(zip(plain, fast, strict=True)):
        np.testing.assert_array_equal(b, stretch(a, RATE, 1.5))
        np.testing.assert_array_equal(told[number], b)


@pytest.mark.parametrize("speed", [0.5, 1.3, 2.0])
@pytest.mark.parametrize("text", [TEXT, "Yes. [pause 0.3s] No."])
def test_a_stream_is_its_whole_stretched(tts, text, speed):
    chunks = list(tts.stream(text, **FAST))
    fast = list(tts.stream(text, speed=speed, **FAST))
    assert all(chunk.size for chunk in fast)
    assert len(fast) > 1
    np.testing.assert_array_equal(
        np.concatenate(fast), stretch(np.concatenate(chunks), RATE, speed)
    )


def test_invalid_speeds_are_reported_at_once(tts, plain):
    for speak in (tts.generate, tts.stream):
        with pytest.raises(SettingError, match="speed must be"):
            speak(TEXT, speed=3, **FAST)
    with pytest.raises(SettingError, match="speed must be"):
        tts.generate_batch([TEXT], speed=0.1, **FAST)
    with pytest.raises(SettingError, match="speed must be"):
        ChatterboxVC(tts.checkpoint).generate(plain, speed=0.1)


@pytest.mark.parametrize("marks", [False, True])
def test_voice_conversion_stretches(tts, plain, marks):
    vc, settings = ChatterboxVC(tts.checkpoint), {"seed": 1, "watermark": False}
    bare = vc.generate(plain, **settings)
    np.testing.assert_array_equal(
        vc.generate(plain, speed=1.5, **settings), stretch(bare, RATE, 1.5)
    )
    np.testing.assert_array_equal(vc.generate(plain, speed=1.0, **settings), bare)
    settings["watermark"] = marks
    streamed = np.concatenate(list(vc.stream(plain, speed=1.5, **settings)))
    assert len(streamed) == round(len(bare) / 1.5)
    np.testing.assert_allclose(streamed, vc.generate(plain, speed=1.5, **settings), atol=1e-5)


# The command lines.


def samples(path: Path) -> int:
    return soundfile.info(path).frames


def test_the_command_line(tmp_path, plain):
    output = tmp_path / "a.wav"
    for how in ([], ["--stream"]):
        words = ["--text", TEXT, *COMMON, "--output", str(output), "--speed", "1.6", *how]
        assert main(words) == 0
        assert samples(output) == round(len(plain) / 1.6)
    recording = tmp_path / "talk.wav"
    soundfile.write(recording, plain, RATE)
    words = ["--model", "pocket", "--input", str(recording), "--output", str(output)]
    assert vc_main([*words, "--speed", "0.5"]) == 0
    assert samples(output) == 2 * len(plain)


@pytest.mark.parametrize("speed", ["0.4", "2.5", "nan"])
def test_a_wrong_speed_is_one_line_before_a_model_is_loaded(tmp_path, capsys, speed, monkeypatch):
    from mlx_chatterbox.commands import cli

    monkeypatch.setattr(cli, "choose_model", None)
    words = ["--text", TEXT, "--output", str(tmp_path / "a.wav"), "--speed", speed]
    assert main(words) == 1
    soundfile.write(tmp_path / "talk.wav", np.zeros(RATE), RATE)
    words = ["--input", str(tmp_path / "talk.wav"), "--output", str(tmp_path / "a.wav")]
    assert vc_main([*words, "--speed", speed]) == 1
    for line in capsys.readouterr().err.splitlines():
        assert "error: speed must be from 0.5 to 2" in line


LONG = "The first part of it all is here, and it is as long as a part that stands alone can be."


def job(tmp_path, *more) -> dict:
    output = tmp_path / "a.wav"
    assert main(["--file", str(tmp_path / "a.txt"), *COMMON, "--output", str(output), *more]) == 0
    return json.loads(Path(f"{output}.job/manifest.json").read_text(encoding="utf-8"))


def test_a_job_is_faster_pauses_too_and_one_without_goes_on(tmp_path):
    (tmp_path / "a.txt").write_text(f"{LONG}\n\n{LONG}\n", encoding="utf-8")
    plain = job(tmp_path)
    same = job(tmp_path, "--speed", "1")
    assert [one["key"] for one in same["pieces"]] == [one["key"] for one in plain["pieces"]]
    assert same["settings"] == plain["settings"]
    fast = job(tmp_path, "--speed", "1.5")
    assert fast["settings"]["speed"] == 1.5
    for a, b in zip(plain["pieces"], fast["pieces"], strict=True):
        assert a["key"] != b["key"]
        assert a["tokens"] == b["tokens"]
        assert b["samples"] == round(a["samples"] / 1.5)
        assert b["pause"] == pytest.approx(a["pause"] / 1.5)
    assert fast["seconds"] == pytest.approx(plain["seconds"] / 1.5, rel=0.03)


def test_a_streamed_document_is_faster_pauses_too(tmp_path):
    (tmp_path / "a.txt").write_text(f"{LONG}\n\n{LONG}\n", encoding="utf-8")
    words = ["--file", str(tmp_path / "a.txt"), *COMMON, "--stream"]
    assert main([*words, "--output", str(tmp_path / "a.wav")]) == 0
    assert main([*words, "--output", str(tmp_path / "b.wav"), "--speed", "1.25"]) == 0
    plain, fast = samples(tmp_path / "a.wav"), samples(tmp_path / "b.wav")
    assert abs(fast - plain / 1.25) <= 5


def test_subtitles_keep_their_times(tmp_path):
    (tmp_path / "a.srt").write_text(
        "1\n00:00:01,000 --> 00:00:02,000\nOpen the window in the hall, please.\n\n"
        "2\n00:00:04,000 --> 00:00:06,000\nYes.\n",
        encoding="utf-8",
    )
    found = {}
    for speed in ("1", "1.3"):
        output = tmp_path / f"{speed}.wav"
        words = ["--file", str(tmp_path / "a.srt"), *COMMON, "--output", str(output)]
        assert main([*words, "--speed", speed]) == 0
        manifest = Path(f"{output}.job/manifest.json").read_text(encoding="utf-8")
        found[speed] = json.loads(manifest)["pieces"]
    for a, b in zip(found["1"], found["1.3"], strict=True):
        assert a["start"] == b["start"]
        assert b["samples"] < a["samples"]
    assert found["1.3"][0]["speed"] <= found["1"][0]["speed"]


def test_rows_of_a_batch_have_their_own(tmp_path, capsys):
    (tmp_path / "rows.csv").write_text(
        "text,speed\nOpen the door.,\nOpen the door.,2\nOpen the door.,3\nOpen the door.,x\n"
    )
    output = tmp_path / "out"
    words = ["--batch", str(tmp_path / "rows.csv"), "--output-dir", str(output), *COMMON]
    assert main([*words, "--speed", "0.8"]) == 1
    assert samples(output / "0001.wav") > 1.4 * samples(output / "0002.wav")
    error = capsys.readouterr().err
    assert "row 3 (0003.wav): speed must be from 0.5 to 2; got 3" in error
    assert "row 4 (0004.wav): speed must be from 0.5 to 2; got x" in error
