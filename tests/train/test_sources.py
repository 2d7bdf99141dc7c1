"""Sources of clips: folders, tables, JSON, Hugging Face data sets."""

from __future__ import annotations

import dataclasses
import json
import sys
from types import SimpleNamespace

import pytest

from mlx_chatterbox.errors import DataError
from mlx_chatterbox.train.data import check, item
from mlx_chatterbox.train.data.batches import (
    split,
)
from mlx_chatterbox.train.data.check import read_clips
from tests.train.data import RATE, section, write


def test_a_folder_has_speakers_by_subfolder(clip_folder):
    clips, report = read_clips(section(clip_folder, language="en"))
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
    """The methods of a `datasets.Dataset` that are used."""

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
