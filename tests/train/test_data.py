"""Training data: faults of clips are reported, the others are kept; texts become tokens."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mlx_chatterbox.errors import DataError, TextError
from mlx_chatterbox.text.load import load_tokenizer
from mlx_chatterbox.text.reading import read_text
from mlx_chatterbox.train.data import check, listen
from mlx_chatterbox.train.data.check import read_clips
from mlx_chatterbox.train.data.text import TextEncoder
from mlx_chatterbox.weights.checkpoint import load_converted
from mlx_chatterbox.weights.hub import POCKET_FOLDER
from mlx_chatterbox.weights.variants import VARIANTS
from tests.train.data import RATE, section, write

# Checking.


@pytest.fixture(scope="module")
def broken(tmp_path_factory, voices):
    """A data set with every fault, and three clips that are good."""
    root = tmp_path_factory.mktemp("broken")
    good = voices[0]
    write(root / "good.wav", good, "A good clip.")
    write(root / "stereo.wav", np.stack([voices[1], voices[1]], axis=1), "In stereo.", rate=44100)
    write(root / "no_text.wav", voices[2])
    (root / "no_audio.txt").write_text("No recording.")
    write(root / "empty_text.wav", voices[2], "  \n ")
    write(root / "no_letters.wav", voices[2], "... !?")
    write(root / "foreign.wav", voices[2], "日本語")
    write(root / "latin1.wav", voices[2])
    (root / "latin1.txt").write_bytes("Ein schöner Tag.".encode("latin-1"))
    write(root / "utf16.wav", voices[2])
    (root / "utf16.txt").write_bytes("Hello.".encode("utf-16-le"))
    write(root / "replaced.wav", voices[2], "Ein sch\ufffdner Tag.")
    (root / "unreadable.wav").write_bytes(b"RIFF and then nothing of the kind")
    (root / "unreadable.txt").write_text("Unreadable.")
    (root / "video.m4a").write_bytes(b"\0" * 100)
    (root / "video.txt").write_text("A format that libsndfile does not know.")
    write(root / "no_samples.wav", np.zeros(0), "Nothing.")
    write(root / "blip.wav", good[RATE // 2 :][: RATE // 10], "Too short.")
    write(root / "lecture.wav", np.tile(good[:RATE], 180), "Three minutes.")
    write(root / "silent.wav", np.zeros(RATE), "Silence.")
    nan = good.copy()
    nan[100] = np.nan
    write(root / "nan.wav", nan, "Not a number.", subtype="FLOAT")
    write(root / "clipped.wav", np.clip(20 * voices[3], -1, 1), "Much too loud.")
    write(root / "telephone.wav", voices[4][::3], "From a telephone.", rate=8000)
    write(root / "good_again.wav", good, "A good clip, once more.")
    write(root / "wordy.wav", voices[5], "word " * 300)
    write(root / "umlaut.wav", voices[6], "One 日 letter is unknown.")
    return root


def test_every_fault_is_reported_and_the_rest_is_kept(broken, encoder, tmp_path):
    told = []
    clips, report = read_clips(
        section(broken), encoder, max_text_tokens=256, progress=lambda *step: told.append(step)
    )
    reasons = {remark.id: remark.reason for remark in report.left_out}
    assert reasons == {
        "no_text": check.NO_TEXT,
        "no_audio": check.NO_AUDIO,
        "empty_text": check.EMPTY_TEXT,
        "no_letters": check.UNSPEAKABLE,
        "foreign": check.UNSPEAKABLE,
        "latin1": check.BAD_ENCODING,
        "utf16": check.BAD_ENCODING,
        "replaced": check.BAD_ENCODING,
        "unreadable": check.BAD_AUDIO,
        "video": check.BAD_AUDIO,
        "no_samples": check.BAD_AUDIO,
        "nan": check.BAD_AUDIO,
        "blip": check.SHORT,
        "lecture": check.LONG,
        "silent": check.SILENT,
        "good_again": check.DUPLICATE,
        "wordy": check.TEXT_LONG,
    }
    kept = {clip.id for clip in clips}
    assert kept == {"good", "stereo", "clipped", "telephone", "umlaut"}
    assert {(remark.id, remark.reason) for remark in report.warnings} == {
        ("clipped", check.CLIPPED),
        ("telephone", check.NARROW),
        ("umlaut", check.UNKNOWN_LETTERS),
    }
    assert (report.listed, report.kept) == (22, 5)
    assert told[-1] == ("checking clips", 22, 22)
    assert report.seconds == pytest.approx(sum(clip.seconds for clip in clips))
    detail = {remark.id: remark.detail for remark in report.left_out}
    assert "NaN" in detail["nan"]
    assert "0.10 s" in detail["blip"]
    assert "180.00 s" in detail["lecture"]
    assert "good" in detail["good_again"]


def test_a_report_is_a_table_and_a_file(broken, encoder, tmp_path):
    _, report = read_clips(section(broken), encoder)
    table = report.table(examples=1)
    assert table.startswith(f"{report.kept} of 22 clips can be trained on")
    assert "      4  unusable audio" in table
    assert "and 3 more" in table
    written = json.loads(report.write(tmp_path / "report.json").read_text())
    assert written["counts"] == report.counts()
    assert {entry["id"] for entry in written["left_out"]} == {r.id for r in report.left_out}
    assert list(tmp_path.iterdir()) == [tmp_path / "report.json"]


def test_a_data_set_without_any_good_clip_is_an_error(tmp_path, voices):
    write(tmp_path / "a.wav", voices[0])
    write(tmp_path / "b.wav", voices[1], "...")
    with pytest.raises(DataError, match=r"none of the 2 clips .* 1 no text, 1 text cannot be"):
        read_clips(section(tmp_path))
    with pytest.raises(DataError, match="no data set at"):
        read_clips(section(tmp_path / "elsewhere"))


def test_limits_of_length_are_measured_after_trimming(tmp_path, voices):
    speech = voices[0][8400:-12000]
    padded = np.concatenate([np.zeros(2 * RATE), speech, np.zeros(3 * RATE)]).astype(np.float32)
    write(tmp_path / "a.wav", padded, "Much silence.")
    limits = {"max_audio_duration_s": 1.5, "min_audio_duration_s": 0.3}
    with pytest.raises(DataError, match="audio too long"):
        read_clips(section(tmp_path, **limits))
    (clip,), _ = read_clips(section(tmp_path, trim_silence=True, **limits))
    margin = section().trim_margin_s * RATE
    assert 2 * RATE - 2 * margin < clip.start < 2 * RATE - margin / 2
    assert 2 * RATE + len(speech) + margin / 2 < clip.end
    assert clip.seconds < len(speech) / RATE + 0.4
    for limit in ({"min_text_length": 20}, {"max_text_length": 5}):
        with pytest.raises(DataError, match=r"text too (short|long)"):
            read_clips(section(tmp_path, **limit))
    with pytest.raises(DataError, match="audio too long"):
        read_clips(section(tmp_path), max_speech_tokens=100)


def test_unchanged_files_are_not_read_again(clip_folder, tmp_path, monkeypatch):
    first, _ = read_clips(section(clip_folder), cache_dir=tmp_path)
    with (tmp_path / "recordings.jsonl").open("a") as file:
        file.write('{"key": "half a li')  # a kill
    read, real = [], listen.read_audio
    monkeypatch.setattr(listen, "read_audio", lambda audio: read.append(audio) or real(audio))
    again, _ = read_clips(section(clip_folder), cache_dir=tmp_path)
    assert again == first
    assert not read
    trimmed, _ = read_clips(section(clip_folder, trim_silence=True), cache_dir=tmp_path)
    assert len(read) == len(trimmed) == 9
    read_clips(section(clip_folder, trim_silence=True), cache_dir=tmp_path)
    assert len(read) == 9


# Text.


@pytest.mark.parametrize("variant", ["english", "multilingual", "turbo"])
def test_text_tokens_are_those_of_speaking(variant, small_models):
    checkpoint = load_converted(small_models(variant))
    encoder = TextEncoder(load_tokenizer(checkpoint.folder, checkpoint.config.text),
                          checkpoint.config)  # fmt: skip
    language = "de" if variant == "multilingual" else None
    text = "hello there; it is 5 o\u2019clock"
    np.testing.assert_array_equal(
        encoder(text, language),
        read_text(text, checkpoint.tokenizer, checkpoint.config, language).ids,
    )
    with pytest.raises(TextError):
        encoder("...", language)


def test_texts_are_written_out_as_when_speaking(tmp_path, voices):
    """Pocket does so by its configuration, other models if asked to."""
    checkpoint = load_converted(POCKET_FOLDER)
    text = "Louis XIV came at 7:05 for $2bn \N{GRINNING FACE}."
    said = "Louis the fourteenth came at seven oh five for two billion dollars."
    encoder = TextEncoder(checkpoint.tokenizer, checkpoint.config)
    assert encoder.written(text) == said
    assert encoder.notes() == ["left out, since it has no words: \N{GRINNING FACE}"]
    assert TextEncoder(checkpoint.tokenizer, checkpoint.config, False).written(text) == text
    upstreams = VARIANTS["multilingual"].default_config()
    assert TextEncoder(None, upstreams).written(text, "de") == text
    assert TextEncoder(None, upstreams, True).written("um 8:30 Uhr", "de") == "um acht Uhr dreißig"
    write(tmp_path / "one.wav", voices[0], text)
    anew = TextEncoder(checkpoint.tokenizer, checkpoint.config)
    (clip,), report = read_clips(section(tmp_path), anew)
    assert clip.text == said
    assert any("has no words" in note for note in report.notes)
