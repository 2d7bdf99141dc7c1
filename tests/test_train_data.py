"""Training data: bad clips are reported and left out, features are computed once and survive a
kill, and everything random follows from the seed."""

from __future__ import annotations

import dataclasses
import json
import sys
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from mlx_chatterbox.checkpoint import build, load_converted
from mlx_chatterbox.errors import DataError, TextError
from mlx_chatterbox.pipeline import Pipeline
from mlx_chatterbox.text.load import load_tokenizer
from mlx_chatterbox.train.config import DatasetSection
from mlx_chatterbox.train.data import check, features, item, listen
from mlx_chatterbox.train.data.batches import (
    Batches,
    group_by_speaker,
    make_sample,
    split,
)
from mlx_chatterbox.train.data.cache import ArrayCache
from mlx_chatterbox.train.data.check import Clip, read_clips
from mlx_chatterbox.train.data.features import FEATURES, FeatureStore, token_count, weights_hash
from mlx_chatterbox.train.data.pitch import f0
from mlx_chatterbox.train.data.text import TextEncoder
from mlx_chatterbox.voice import embed_reference
from parity.synthetic_voice import synthetic_voice

RATE = 24000


def section(path=None, kind="wav_txt", **settings) -> DatasetSection:
    """The dataset section, its path given; no trimming, so that lengths are what was written."""
    settings = {"trim_silence": False, **settings}
    path = None if path is None else str(path)
    return dataclasses.replace(DatasetSection(dataset_path=path, **settings), dataset_type=kind)


def write(path, waveform, text=None, rate=RATE, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), waveform, rate, **options)
    if text is not None:
        path.with_suffix(".txt").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def voices():
    """Ten recordings of 1.6 to 2.5 s, (n,) at 24 kHz, all different."""
    return [synthetic_voice(1.6 + 0.1 * i, seed=i) for i in range(10)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, voices):
    """Two speakers with four clips each, and one with a single clip."""
    root = tmp_path_factory.mktemp("clips")
    for i, voice in enumerate(voices[:8]):
        write(root / f"speaker{i % 2}" / f"{i}.wav", voice, f"This is sentence number {i}.")
    write(root / "lonely" / "one.flac", voices[9], "Nobody else speaks like me.")
    return root


@pytest.fixture(scope="module")
def checkpoint(small_checkpoint):
    return load_converted(small_checkpoint)


@pytest.fixture(scope="module")
def encoder(checkpoint):
    return TextEncoder(checkpoint.tokenizer, checkpoint.config)


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
    (root / "utf16.txt").write_bytes("Hello.".encode("utf-16"))
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


def test_limits_of_length_are_measured_behind_trimming(tmp_path, voices):
    speech = voices[0][8400:-12000]
    padded = np.concatenate([np.zeros(2 * RATE), speech, np.zeros(3 * RATE)]).astype(np.float32)
    write(tmp_path / "a.wav", padded, "Much silence.")
    limits = {"max_audio_duration_s": 1.5, "min_audio_duration_s": 0.3}
    with pytest.raises(DataError, match="audio too long"):
        read_clips(section(tmp_path, **limits))
    (clip,), _ = read_clips(section(tmp_path, trim_silence=True, **limits))
    margin = listen.TRIM_MARGIN_SECONDS * RATE
    assert 2 * RATE - 2 * margin < clip.start < 2 * RATE - margin / 2
    assert 2 * RATE + len(speech) + margin / 2 < clip.end
    assert clip.seconds < len(speech) / RATE + 0.4
    for limit in ({"min_text_length": 20}, {"max_text_length": 5}):
        with pytest.raises(DataError, match=r"text too (short|long)"):
            read_clips(section(tmp_path, **limit))
    with pytest.raises(DataError, match="audio too long"):
        read_clips(section(tmp_path), max_speech_tokens=100)


def test_unchanged_files_are_not_read_again(folder, tmp_path, monkeypatch):
    first, _ = read_clips(section(folder), cache_dir=tmp_path)
    with (tmp_path / "recordings.jsonl").open("a") as file:
        file.write('{"key": "half a li')  # a kill
    read, real = [], listen.read_audio
    monkeypatch.setattr(listen, "read_audio", lambda audio: read.append(audio) or real(audio))
    again, _ = read_clips(section(folder), cache_dir=tmp_path)
    assert again == first
    assert not read
    trimmed, _ = read_clips(section(folder, trim_silence=True), cache_dir=tmp_path)
    assert len(read) == len(trimmed) == 9
    read_clips(section(folder, trim_silence=True), cache_dir=tmp_path)
    assert len(read) == 9


# Sources.


def test_a_folder_has_speakers_by_subfolder(folder):
    clips, report = read_clips(section(folder, language="en"))
    assert [clip.id for clip in clips[:2]] == ["lonely/one", "speaker0/0"]
    assert report.speakers == {"lonely": 1, "speaker0": 4, "speaker1": 4}
    assert {clip.language for clip in clips} == {"en"}


CSV_FILES = {
    "comma": 'text,audio,speaker\n"Hello, ""you"".",a.wav,ann\n"Two\nlines.",b,bob\n',
    "semicolon": "audio;text;speaker_id\na.wav;Hello, you.;ann\nwavs\\b.wav;Two, lines.;bob\n",
    "pipe header": "audio_file|text|speaker_name\na.wav|Hello, you.|ann\nb.wav|Two lines.|bob\n",
    "tab header": "path\tsentence\tspeaker\na.wav\tHello, you.\tann\nb.wav\tTwo lines.\tbob\n",
    "byte order mark": "\ufeffaudio,text,speaker\r\na.wav,Hello.,ann\r\nb.wav,Two.,bob\r\n",
}


def two_recordings(root, voices):
    write(root / "a.wav", voices[0])
    write(root / "wavs" / "b.wav", voices[1])


@pytest.mark.parametrize("name", CSV_FILES)
def test_tables_with_a_header(name, tmp_path, voices):
    two_recordings(tmp_path, voices)
    (tmp_path / "metadata.csv").write_bytes(CSV_FILES[name].encode())
    (a, b), _ = read_clips(section(tmp_path, "metadata_csv"))
    assert (a.audio, b.audio) == (tmp_path / "a.wav", tmp_path / "wavs" / "b.wav")
    assert (a.speaker, b.speaker) == ("ann", "bob")
    assert a.text.startswith("Hello")
    assert b.text.startswith("Two")
    assert '"' in a.text if name == "comma" else '"' not in a.text


def test_ljspeech_tables(tmp_path, voices):
    two_recordings(tmp_path, voices)
    write(tmp_path / "wavs" / "LJ001.0003.flac", voices[2])
    lines = ['a|He said "no|He said "no', "b|In 1990.|In nineteen ninety.", "LJ001.0003|Third."]
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    clips, _ = read_clips(section(tmp_path / "metadata.csv", "metadata_csv"))
    assert [clip.text for clip in clips] == ['He said "no', "In nineteen ninety.", "Third."]
    assert clips[2].audio.name == "LJ001.0003.flac"
    (tmp_path / "metadata.csv").write_bytes(b"a|Caf\xe9.\nb|Good.\nmissing|Text.\n|Text.\n")
    (only,), report = read_clips(section(tmp_path, "metadata_csv"))
    assert only.text == "Good."
    reasons = [remark.reason for remark in report.left_out]
    assert reasons == [check.BAD_ENCODING, check.NO_AUDIO, check.NO_AUDIO]
    assert report.left_out[1].where.endswith("metadata.csv:3")


def test_columns_may_have_other_names(tmp_path, voices):
    two_recordings(tmp_path, voices)
    table = tmp_path / "list.csv"
    table.write_text("Sound,Words,text\na.wav,These.,Not these.\nb.wav,Those.,Not those.\n")
    names = {"audio_column_name": "sound", "text_column_name": "words"}
    clips, _ = read_clips(section(tmp_path, "metadata_csv", **names))
    assert [clip.text for clip in clips] == ["These.", "Those."]
    with pytest.raises(DataError, match=r"list.csv:1: the header .* audio_column_name"):
        read_clips(section(tmp_path, "metadata_csv"))
    table.with_name("other.csv").write_text("")
    with pytest.raises(DataError, match=r"list.csv, other.csv: name the file"):
        read_clips(section(tmp_path, "metadata_csv"))


def test_tables_that_could_be_misread_are_refused(tmp_path, voices):
    two_recordings(tmp_path, voices)
    table = tmp_path / "metadata.csv"
    table.write_text("a|A first sentence.|ann\nb|A second sentence.|bob\n")
    with pytest.raises(DataError, match=r"audio\|text\|speaker"):
        read_clips(section(table, "metadata_csv"))
    table.write_text('audio,text\na.wav,Fine.\nb.wav,"Not closed.\n')
    with pytest.raises(DataError, match=r"metadata.csv:3 cannot be read"):
        read_clips(section(table, "metadata_csv"))


@pytest.mark.parametrize("kind", ["lines", "array"])
def test_json(kind, tmp_path, voices):
    two_recordings(tmp_path, voices)
    records = [
        {"audio": "a.wav", "text": "Hello\u2028you.", "speaker": 7, "language": "de"},
        {"audio_filepath": "b", "text": "Hello you."},
        {"audio": "a.wav"},
        {"audio": "a.wav", "text": None},
        {"text": "No audio."},
    ]
    if kind == "array":
        (tmp_path / "metadata.json").write_text(json.dumps([*records, 5]))
    else:
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        content = "\n".join([*lines, "", '{"audio": "a.wav", "te'])
        (tmp_path / "metadata.jsonl").write_text(content, encoding="utf-8")
    clips, report = read_clips(section(tmp_path, "metadata_json", language="en"))
    assert [(c.id, c.speaker, c.language) for c in clips] == [
        ("a", "7", "de"),
        ("b", item.ONE_SPEAKER, "en"),
    ]
    assert clips[0].text == "Hello you."
    reasons = [remark.reason for remark in report.left_out]
    assert reasons == [check.NO_TEXT, check.NO_TEXT, check.NO_AUDIO, check.BAD_LINE]


class Rows:
    """What a `datasets.Dataset` offers, as far as it is used."""

    def __init__(self, rows: list[dict], decode: bool = True):
        self.rows, self.decode = rows, decode
        self.column_names = list(rows[0])

    def cast_column(self, name, feature):
        assert feature == ("Audio", False)
        return Rows(self.rows, decode=False)

    def remove_columns(self, names):
        return Rows([{k: v for k, v in row.items() if k not in names} for row in self.rows], False)

    def __getitem__(self, index):
        assert not self.decode, "audio would be decoded by torchcodec"
        return self.rows[index]

    def __iter__(self):
        return (self[i] for i in range(len(self.rows)))


def test_hugging_face_data_sets(tmp_path, voices, monkeypatch):
    write(tmp_path / "a.wav", voices[0])
    write(tmp_path / "b.flac", voices[1])
    content = {
        "train": [
            {"audio": {"path": str(tmp_path / "a.wav"), "bytes": None}, "transcription": "One."},
            {"audio": {"path": "b", "bytes": (tmp_path / "b.flac").read_bytes()},
             "transcription": "Two."},
            {"audio": {"array": voices[2], "sampling_rate": RATE}, "transcription": "Three."},
            {"audio": {"path": None, "bytes": b"nonsense"}, "transcription": "Four."},
            {"audio": {"path": None, "bytes": None}, "transcription": "Five."},
        ],
        "test": [
            {"audio": {"array": voices[3], "sampling_rate": RATE}, "transcription": "Six."},
            {"audio": {"array": voices[4], "sampling_rate": RATE}, "transcription": "One!"},
        ],
    }  # fmt: skip
    asked = []

    def load_dataset(name, config, split, **options):
        asked.append((name, config, split, options))
        if name == "nobody/nothing":
            raise FileNotFoundError("no such\n data set")
        return Rows(content[split])

    package = SimpleNamespace(
        load_dataset=load_dataset, Audio=lambda decode: ("Audio", decode), __version__="4"
    )
    monkeypatch.setitem(sys.modules, "datasets", package)
    hub = section(
        kind="hf_dataset", dataset_name="someone/voices", eval_split_name="test", language="en"
    )
    clips, report = read_clips(hub)
    assert [clip.text for clip in clips] == ["One.", "Two.", "Three.", "Six.", "One!"]
    assert report.counts() == {check.BAD_AUDIO: 2}
    assert asked[0] == ("someone/voices", None, "train", {})
    train, evaluation = split(clips, 0.5, seed=0)
    # "One." is in the test split too.
    assert [clip.text for clip in train] == ["Two.", "Three."]
    assert [clip.text for clip in evaluation] == ["Six.", "One!"]
    with pytest.raises(DataError, match=r"nothing, split train, cannot be loaded: FileNotFound.*"):
        read_clips(dataclasses.replace(hub, dataset_name="nobody/nothing"))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'mlx-chatterbox\[datasets\]'"):
        read_clips(hub)


# Text.


@pytest.mark.parametrize("variant", ["english", "multilingual", "turbo"])
def test_text_tokens_are_those_of_speaking(variant, small_models):
    checkpoint = load_converted(small_models(variant))
    encoder = TextEncoder(load_tokenizer(checkpoint.folder, checkpoint.config.text),
                          checkpoint.config)  # fmt: skip
    speaker = SimpleNamespace(checkpoint=checkpoint, tokenizer=checkpoint.tokenizer)
    language = "de" if variant == "multilingual" else None
    text = "hello there; it is 5 o\u2019clock"
    np.testing.assert_array_equal(
        encoder(text, language), np.array(Pipeline._text_tokens(speaker, text, language))
    )
    with pytest.raises(TextError):
        encoder("...", language)


# Features.


@pytest.fixture(scope="module")
def clips(folder):
    return read_clips(section(folder))[0]


def open_store(folder, checkpoint, encoder, **settings) -> FeatureStore:
    return FeatureStore(folder, checkpoint.networks, encoder, workers=2, **settings)


@pytest.fixture(scope="module")
def store(tmp_path_factory, checkpoint, encoder, clips):
    """A store that has every feature of every clip."""
    store = open_store(tmp_path_factory.mktemp("features"), checkpoint, encoder)
    store.compute(clips, FEATURES)
    return store


def test_features_fit_together(store, clips):
    for clip in clips:
        found = store[clip.id]
        n = len(found["speech_tokens"])
        assert n == token_count(clip) == -(-round(clip.seconds * RATE) // 960)
        shapes = {name: value.shape for name, value in found.items()}
        assert shapes.pop("text_tokens")[0] > 3
        assert shapes.pop("ve_mel")[1] == 40
        assert shapes == {
            "speech_tokens": (n,),
            "mel": (2 * n, 80),
            "f0": (2 * n,),
            "waveform": (960 * n,),
            "waveform_16k": (640 * n,),
            "log_mel_16k": (4 * n, 128),
            "fbank": (4 * n - 2, 80),
            "speaker_embedding": (256,),
            "xvector": (192,),
        }
        integers = {name for name, value in found.items() if value.dtype == np.int32}
        assert integers == {"speech_tokens", "text_tokens"}
        assert all(v.dtype == np.float32 for k, v in found.items() if k not in integers)


def test_features_are_those_of_inference(store, clips, checkpoint, voices):
    clip = next(clip for clip in clips if clip.id == "speaker0/2")
    waveform, _ = soundfile.read(str(clip.audio), dtype="float32")
    found = store[clip.id]
    networks = checkpoint.networks
    exact = waveform[: len(waveform) // 960 * 960]
    reference = embed_reference(networks, waveform)
    np.testing.assert_allclose(found["xvector"], reference.embedding[0], atol=1e-5)
    mel = np.array(embed_reference(networks, exact).prompt_feat[0])
    # The last two frames see the zeros behind the end, or its mirror image.
    np.testing.assert_allclose(found["mel"][: len(mel) - 2], mel[:-2], atol=1e-4)
    np.testing.assert_array_equal(found["waveform"][: len(waveform)], waveform)
    assert not found["waveform"][len(waveform) :].any()


def test_nothing_is_computed_twice(store, clips, checkpoint, encoder):
    again = open_store(store._cache._folder, checkpoint, encoder)
    told = []
    again.compute(clips, FEATURES, lambda *step: told.append(step))
    assert again.computed == 0
    assert told == [("computing features", 9, 9)]
    for clip in clips:
        for name, value in store[clip.id].items():
            np.testing.assert_array_equal(again[clip.id][name], value)
    with pytest.raises(DataError, match="unknown feature"):
        again.compute(clips, ["mels"])


def test_a_name_or_a_place_is_not_what_is_cached(clips, store, checkpoint, encoder, tmp_path):
    """The same samples elsewhere, in another format and under another name, are known already."""
    waveform, rate = soundfile.read(str(clips[0].audio), dtype="float32")
    write(tmp_path / "other.wav", waveform, "Other text.", rate=rate, subtype="FLOAT")
    (other,), _ = read_clips(section(tmp_path))
    again = open_store(store._cache._folder, checkpoint, encoder)
    again.compute([other], ["mel", "speech_tokens"])
    assert again.computed == 0
    cut = dataclasses.replace(other, start=2400, seconds=other.seconds - 0.1)
    again.compute([cut], ["mel"])
    louder = open_store(store._cache._folder, checkpoint, encoder, loudness_lufs=-20.0)
    louder.compute([other], ["mel"])
    assert (again.computed, louder.computed) == (1, 1)


def test_other_weights_have_other_features(clips, checkpoint, encoder, tmp_path):
    first = open_store(tmp_path, checkpoint, encoder)
    first.compute(clips[:1], ["speech_tokens", "mel"])
    other = build(checkpoint.config)
    assert weights_hash(other.ve) != weights_hash(checkpoint.networks.ve)
    assert weights_hash(other.ve) == weights_hash(other.ve)
    second = FeatureStore(tmp_path, other, encoder)
    second.compute(clips[:1], ["speech_tokens", "mel"])
    assert second.computed == 1  # the mel needs no weights
    clip_id = clips[0].id
    assert (first[clip_id]["speech_tokens"] != second[clip_id]["speech_tokens"]).any()


def test_a_kill_costs_what_was_not_finished(clips, checkpoint, encoder, tmp_path):
    names = ["mel", "xvector"]

    class Killed(BaseException):
        pass

    def kill(what, done, total):
        if done == 4:
            raise Killed

    killed = open_store(tmp_path, checkpoint, encoder)
    with pytest.raises(Killed):
        killed.compute(clips, names, kill)
    # What a kill in the middle of writing, a full disk or a bad sector leave behind.
    whole = sorted(tmp_path.rglob("*.safetensors"))
    assert len(whole) == 8
    whole[0].write_bytes(whole[0].read_bytes()[:-7])
    whole[1].write_bytes(b"")
    whole[2].with_suffix(".0a1b.tmp").write_bytes(b"half")
    resumed = open_store(tmp_path, checkpoint, encoder)
    resumed.compute(clips, names)
    assert resumed.computed == 2 * 9 - 8 + 2
    fresh = open_store(tmp_path / "fresh", checkpoint, encoder)
    fresh.compute(clips, names)
    for clip in clips:
        for name in names:
            np.testing.assert_array_equal(resumed[clip.id][name], fresh[clip.id][name])


def test_damage_while_in_use_is_repaired(clips, checkpoint, encoder, tmp_path):
    store = open_store(tmp_path, checkpoint, encoder)
    store.compute(clips[:1], ["mel"])
    mel = store[clips[0].id]["mel"]
    (file,) = tmp_path.rglob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    np.testing.assert_array_equal(store[clips[0].id]["mel"], mel)
    assert store.computed == 2
    assert ArrayCache(tmp_path).read("mel", file.stem) is not None


def test_a_recording_changed_behind_our_back_is_an_error(voices, checkpoint, encoder, tmp_path):
    write(tmp_path / "clips" / "a.wav", voices[0], "Text.")
    clips, _ = read_clips(section(tmp_path / "clips"))
    write(tmp_path / "clips" / "a.wav", voices[1])
    store = open_store(tmp_path, checkpoint, encoder)
    with pytest.raises(DataError, match="has changed since it was checked"):
        store.compute(clips, ["mel"])


def test_loudness_never_overdrives(voices, checkpoint, encoder, tmp_path):
    import pyloudnorm

    spiky = 0.01 * voices[9]
    spiky[20000] = 0.9
    write(tmp_path / "even.wav", voices[8], "Even.")
    write(tmp_path / "spiky.wav", spiky, "Spiky.")
    clips, _ = read_clips(section(tmp_path))
    store = open_store(tmp_path / "cache", checkpoint, encoder, loudness_lufs=-27.0)
    store.compute(clips, ["waveform"])
    meter = pyloudnorm.Meter(RATE)
    even = store["even"]["waveform"][: len(voices[8])]
    assert meter.integrated_loudness(even) == pytest.approx(-27.0, abs=0.1)
    assert np.abs(store["spiky"]["waveform"]).max() <= 0.9901


# F0.


@pytest.mark.parametrize(("low", "high"), [(80, 120), (150, 300), (500, 300)])
def test_f0_of_a_glide(low, high):
    n = 2 * RATE
    hertz = np.linspace(low, high, n)
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    wave = 0.2 * sum(np.sin(k * phase) / k for k in range(1, 12))
    wave[: RATE // 4] = 0.0
    wave[-RATE // 2 :] = 0.01 * np.random.default_rng(0).standard_normal(RATE // 2)
    found = f0(wave.astype(np.float32))
    assert found.shape == (100,)
    assert found.dtype == np.float32
    assert not found[:11].any()
    assert not found[77:].any()
    middle = np.arange(100) * 480 + 240
    np.testing.assert_allclose(found[15:73], hertz[middle][15:73], rtol=1e-3)


def test_f0_of_nothing():
    assert f0(np.zeros(479, dtype=np.float32)).shape == (0,)
    assert not f0(np.zeros(9600, dtype=np.float32)).any()


# Split, batches, samples.


def key_of(draw: int) -> np.ndarray:
    return np.array([7, draw], dtype=np.uint32)


def made_up(count: int, speakers: int = 3) -> list[Clip]:
    return [
        Clip(f"c{i}", None, f"Sentence {i}.", f"s{i % speakers}", None, f"{i:032x}", 0, 1, 1.0)
        for i in range(count)
    ]


def test_the_split_is_stable_when_clips_are_added():
    few, many = made_up(500), made_up(1000)
    _, small = split(few, 0.1, seed=1)
    train, large = split(many, 0.1, seed=1)
    assert [clip.id for clip in large if int(clip.id[1:]) < 500] == [clip.id for clip in small]
    assert 70 < len(large) < 130
    assert len(train) + len(large) == 1000
    assert split(many, 0.1, seed=2)[1] != large
    assert split(many[::-1], 0.1, seed=1)[1] == large[::-1]
    assert split(many, 0.0, seed=1) == (many, [])


def test_the_same_text_or_recording_is_never_on_both_sides():
    clips = made_up(60)
    clips += [dataclasses.replace(c, id=c.id + "x", text=c.text.upper() + "!", content=c.id)
              for c in clips]  # fmt: skip
    clips += [dataclasses.replace(c, id=c.id + "y", text=f"Another {c.id}.") for c in clips[:60]]
    train, evaluation = split(clips, 0.3, seed=5)
    assert {c.id.strip("xy") for c in train}.isdisjoint({c.id.strip("xy") for c in evaluation})
    assert len(evaluation) % 3 == 0
    assert evaluation


def test_a_small_data_set_still_has_an_evaluation():
    for seed in range(20):
        train, evaluation = split(made_up(3), 0.05, seed)
        assert len(evaluation) >= 1
        assert len(train) >= 1
    assert split(made_up(1), 0.05, 0)[1] == []


def test_batches_hold_every_clip_once_and_similar_lengths_together():
    lengths = np.random.default_rng(0).integers(25, 500, 1003)
    plan = Batches(lengths, 8, seed=3)
    batches = plan.epoch(4)
    assert len(batches) == len(plan) == 126
    assert sorted(chain.from_iterable(batches)) == list(range(1003))
    assert sorted(map(len, batches))[:2] == [3, 8]
    padding = sum(len(b) * lengths[b].max() - lengths[b].sum() for b in batches)
    assert padding < 0.06 * lengths.sum()
    assert Batches(lengths, 8, seed=3).epoch(4) == batches
    assert plan.epoch(5) != batches
    assert Batches(lengths, 8, seed=4).epoch(4) != batches
    # The order does not go by length.
    means = [lengths[b].mean() for b in batches]
    assert abs(np.corrcoef(means, np.arange(126))[0, 1]) < 0.3


def test_a_prompt_is_another_clip_of_the_speaker(store, clips):
    index = next(i for i, clip in enumerate(clips) if clip.speaker == "speaker0")
    others = [clips[i] for i in group_by_speaker(clips)["speaker0"] if i != index]
    seen = set()
    for draw in range(30):
        key = key_of(draw)
        sample = make_sample(store, clips, index, key, prompt_seconds=0.6)
        assert sample["prompt_span"].tolist() == [0, 0]
        prompt = sample["prompt"]
        assert len(prompt["speech_tokens"]) == 15
        assert prompt["mel"].shape == (30, 80)
        assert "text_tokens" not in prompt
        (source,) = [c for c in others if (store[c.id]["xvector"] == prompt["xvector"]).all()]
        mel = store[source.id]["mel"]
        starts = [t for t in range(0, len(mel) - 29, 2) if (mel[t : t + 30] == prompt["mel"]).all()]
        tokens = store[source.id]["speech_tokens"][starts[0] // 2 :][:15]
        np.testing.assert_array_equal(tokens, prompt["speech_tokens"])
        seen.add((source.id, starts[0]))
        again = make_sample(store, clips, index, key, 0.6, group_by_speaker(clips))
        np.testing.assert_array_equal(again["prompt"]["mel"], prompt["mel"])
    assert {source for source, _ in seen} == {clip.id for clip in others}
    assert len(seen) > 15


def test_a_lonely_clip_gives_its_own_beginning_or_end(store, clips):
    index = next(i for i, clip in enumerate(clips) if clip.speaker == "lonely")
    length = token_count(clips[index])
    spans = set()
    for draw in range(20):
        sample = make_sample(store, clips, index, key_of(draw), 3.0)
        start, end = sample["prompt_span"]
        tokens = sample["speech_tokens"]
        assert len(tokens) == length
        np.testing.assert_array_equal(sample["prompt"]["speech_tokens"], tokens[start:end])
        spans.add((int(start), int(end)))
    assert spans == {(0, length // 2), (length - length // 2, length)}
    assert features.tokens_in(sample["prompt"]) == length // 2
