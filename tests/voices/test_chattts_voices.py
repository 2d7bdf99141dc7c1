"""Speaker strings, audio-prompt strings, and random speakers of ChatTTS."""

from __future__ import annotations

import lzma
import sys

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.errors import SettingError
from mlx_chatterbox.voices.base16384 import from_base16384, to_base16384
from mlx_chatterbox.voices.chattts.random_speaker import SpeakerStatistics, random_speaker
from mlx_chatterbox.voices.chattts.raw_lzma import compress
from mlx_chatterbox.voices.chattts.strings import (
    decode_codes,
    decode_speaker,
    encode_codes,
    encode_speaker,
    normalised,
)
from tests.chattts_reference import reference, text

RAW = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


@pytest.fixture(scope="module")
def statistics() -> SpeakerStatistics:
    return SpeakerStatistics.from_string(text("speaker/stat_string"))


def test_a_speaker_is_upstreams(statistics):
    tensors = reference()
    np.testing.assert_array_equal(statistics.std, tensors["speaker/std"])
    np.testing.assert_array_equal(statistics.mean, tensors["speaker/mean"])
    vector = statistics.speaker(tensors["speaker/normal"])
    assert vector.dtype == np.float16
    np.testing.assert_array_equal(vector, tensors["speaker/vector"])
    np.testing.assert_array_equal(decode_speaker(text("speaker/string")), vector)
    np.testing.assert_array_equal(decode_speaker(encode_speaker(vector)), vector)
    np.testing.assert_array_equal(normalised(vector), tensors["speaker/normalised"])


def test_our_strings_are_read_by_any_lzma(statistics):
    vector = random_speaker(statistics, 1)
    data = from_base16384(encode_speaker(vector))
    content = lzma.decompress(data, lzma.FORMAT_RAW, filters=RAW)
    assert content == vector.astype("<f2").tobytes()


def test_the_length_is_rounded_to_float16():
    vector = reference()["speaker/vector"]
    exact = vector.astype(np.float64) / np.linalg.norm(vector.astype(np.float64))
    assert (exact.astype(np.float16) != normalised(vector)).any()


@pytest.mark.parametrize("key", ["prompt", "dvae"])
def test_an_audio_prompt_is_upstreams(key):
    codes, string = {
        "prompt": (reference()["prompt/codes"], text("prompt/string")),
        "dvae": (reference()["dvae/encoded_ids"], text("dvae/encoded_string")),
    }[key]
    for one in (string, encode_codes(codes), encode_codes(mx.array(codes))):
        decoded = decode_codes(one)
        assert decoded.dtype == np.int32
        np.testing.assert_array_equal(decoded, codes)


@pytest.mark.parametrize(("code", "steps"), [(0, 1), (624, 7), (624, 4095)])
def test_codes_and_lengths_at_the_ends_of_their_range_are_taken(code, steps):
    codes = np.full((4, steps), code)
    np.testing.assert_array_equal(decode_codes(encode_codes(codes)), codes)


def test_a_seed_is_a_speaker(statistics):
    one, same, other = (random_speaker(statistics, seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one, same)
    assert (one != other).mean() > 0.9
    assert (random_speaker(statistics) != random_speaker(statistics)).mean() > 0.9
    with pytest.raises(SettingError, match="seed"):
        random_speaker(statistics, -1)


def test_random_speakers_have_the_statistics(statistics):
    drawn = np.stack([random_speaker(statistics, seed) for seed in range(400)]).astype(np.float64)
    std, mean = statistics.std.astype(np.float64), statistics.mean.astype(np.float64)
    normal = (drawn - mean) / std
    assert np.abs(normal.mean(axis=0)).max() < 0.25
    assert np.abs(normal.std(axis=0) - 1).max() < 0.2
    assert abs(normal.mean()) < 0.01
    assert abs(normal.std() - 1) < 0.01


def test_drawing_leaves_mlx_own_generator_alone(statistics):
    mx.random.seed(3)
    wanted = mx.random.uniform().item()
    mx.random.seed(3)
    random_speaker(statistics, 5)
    assert mx.random.uniform().item() == wanted


def test_without_statistics_there_is_an_error_with_a_way_out():
    with pytest.raises(SettingError, match=r"statistics of speakers.*spk_stat\.pt.*string"):
        random_speaker(None, 1)


@pytest.mark.parametrize(
    ("string", "words"),
    [
        ("", "empty"),
        ("   ", "empty"),
        (None, "must be a str"),
        (b"abc", "must be a str"),
        ("hello", "character 1"),
        (text("speaker/string")[:400], "does not end"),
        (text("speaker/string")[:401], "cut short"),
        (text("prompt/string"), "speaker string"),
        (text("speaker/stat_string"), "speaker string"),
        (to_base16384(compress(bytes(1534))), "1534 bytes"),
        (to_base16384(compress(bytes(1540))), "more than it should"),
        (to_base16384(compress(b"\x00\x7c" * 768)), "NaN or Inf"),
        (to_base16384(compress(bytes(2**26))), "more than it should"),
        (to_base16384(compress(bytes(1536)) + b"more"), "does not end"),
    ],
)
def test_what_is_no_speaker_string_is_refused(string, words):
    with pytest.raises(SettingError, match=words) as caught:
        decode_speaker(string)
    assert len(str(caught.value)) < 200


def coded(shape: tuple[int, int], codes: np.ndarray) -> str:
    return to_base16384(np.array(shape, "<u2").tobytes() + compress(codes.astype("<u2").tobytes()))


@pytest.mark.parametrize(
    ("string", "words"),
    [
        ("", "empty"),
        (to_base16384(b"\x04\x00\x01\x00"), "cut short"),
        (text("speaker/string"), "codebooks"),
        (text("prompt/string")[:-1], "cut short|does not end|damaged"),
        (coded((4, 5), np.zeros(16)), "16 codes, not the 20"),
        (coded((4, 3), np.zeros(16)), "more than it should"),
        (coded((4, 0), np.zeros(0)), "steps"),
        (coded((4, 4), np.full(16, 625)), "the code 625"),
        (coded((4, 5000), np.zeros(20000)), "5000 steps"),
    ],
)
def test_what_is_no_audio_prompt_is_refused(string, words):
    with pytest.raises(SettingError, match=words):
        decode_codes(string)


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (np.zeros((3, 5), int), r"shape \(3, 5\)"),
        (np.zeros((1, 4, 5), int), "shape"),
        (np.zeros((4, 5)), "whole numbers"),
        (np.array([[3], [0], [-1], [624]]), "the code -1;"),
        (np.array([[3], [0], [1], [625]]), "the code 625;"),
        (np.zeros((4, 4096), int), "4096 steps"),
    ],
)
def test_codes_are_checked_before_they_are_written(codes, words):
    with pytest.raises(SettingError, match=words):
        encode_codes(codes)


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        (np.zeros(767), r"shape \(767,\)"),
        (np.zeros((1, 768)), "shape"),
        (np.full(768, np.nan), "NaN or Inf"),
        (np.full(768, 1e6), "NaN or Inf"),
        ("a voice", "numbers"),
        (None, "shape|numbers"),
    ],
)
def test_vectors_are_checked_before_they_are_written(vector, words):
    with pytest.raises(SettingError, match=words):
        encode_speaker(vector)


@pytest.mark.parametrize("value", [0.001, 1.0, 2000.0])
def test_vectors_of_any_length_become_unit_vectors(value):
    unit = normalised(np.full(768, value, np.float16)).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(unit), 1.0, rtol=2e-3)


@pytest.mark.parametrize("value", [0.0, 60000.0])
def test_a_vector_without_a_length_is_no_voice(value):
    with pytest.raises(SettingError, match="no voice"):
        normalised(np.full(768, value, np.float16))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros(1535), "shape"),
        (np.full(1536, -1.0), "negative"),
        (np.full(1536, np.inf), "NaN or Inf"),
    ],
)
def test_statistics_are_checked(values, words):
    with pytest.raises(SettingError, match=words):
        SpeakerStatistics.from_values(values)


def test_a_python_without_lzma_is_an_error_that_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "lzma", None)
    with pytest.raises(SettingError, match="no lzma module"):
        decode_speaker(text("speaker/string"))
