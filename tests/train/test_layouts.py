"""Folder layouts of corpora, and data sets of the package `datasets` on disk."""

from __future__ import annotations

import json

import pytest

from mlx_chatterbox.errors import DataError
from mlx_chatterbox.train.data.check import read_clips
from tests.train.data import section, write

RAIN, TEA, BUS = "It rains today.", "The tea is hot.", "Where is the bus?"


def shown(clips) -> list[tuple[str, str, str]]:
    return [(clip.id.rsplit("/", 1)[-1], clip.speaker, clip.text) for clip in clips]


def test_libritts_and_librispeech(tmp_path, voices):
    chapter = tmp_path / "train-clean-100" / "84" / "121"
    write(chapter / "84_121_0.wav", voices[0])
    (chapter / "84_121_0.normalized.txt").write_text(RAIN)
    (chapter / "84_121_0.original.txt").write_text("It rains 2day.")
    other = tmp_path / "train-clean-100" / "103" / "7"
    write(other / "103-7-0000.flac", voices[1])
    write(other / "103-7-0001.flac", voices[2])
    (other / "103-7.trans.txt").write_text("103-7-0000 THE TEA\n103-7-0001 THE BUS\n")
    clips, report = read_clips(section(tmp_path))
    assert shown(clips) == [
        ("103-7-0000", "103", "THE TEA"),
        ("103-7-0001", "103", "THE BUS"),
        ("84_121_0", "84", RAIN),
    ]
    assert not report.left_out
    assert "103-7.trans.txt" in report.table()


def test_vctk(tmp_path, voices):
    for number, speaker in enumerate(("p225", "p226")):
        write(tmp_path / "wav48_silence_trimmed" / speaker / f"{speaker}_001_mic1.flac",
              voices[number])  # fmt: skip
        text = tmp_path / "txt" / speaker / f"{speaker}_001.txt"
        text.parent.mkdir(parents=True)
        text.write_text((RAIN, TEA)[number])
    clips, report = read_clips(section(tmp_path))
    assert shown(clips) == [("p225_001_mic1", "p225", RAIN), ("p226_001_mic1", "p226", TEA)]
    assert not report.left_out


def test_texts_in_lab_files_and_folders_that_are_not_speakers(tmp_path, voices):
    write(tmp_path / "wavs" / "1.wav", voices[0])
    (tmp_path / "wavs" / "1.lab").write_text(RAIN)
    write(tmp_path / "Val" / "2.wav", voices[1], TEA)
    clips, _ = read_clips(section(tmp_path))
    assert shown(clips) == [("2", "Val", TEA), ("1", "speaker", RAIN)]


# `datasets`: its files are read without the package, except Parquet.


def test_an_audio_folder_with_splits(tmp_path, voices):
    for number, split in enumerate(("train", "train", "test")):
        write(tmp_path / split / f"{number}.wav", voices[number])
    table = "file_name,text,speaker_id\n"
    lines = [
        f"{'train' if i < 2 else 'test'}/{i}.wav,{t},7\n" for i, t in enumerate((RAIN, TEA, BUS))
    ]
    (tmp_path / "metadata.csv").write_text(table + "".join(lines))
    clips, _ = read_clips(section(tmp_path, "hf_dataset", eval_split_name="test"))
    assert [(clip.part, clip.speaker, clip.text) for clip in clips] == [
        ("train", "7", RAIN), ("train", "7", TEA), ("eval", "7", BUS)
    ]  # fmt: skip
    (tmp_path / "metadata.csv").unlink()
    for split, texts in (("train", {0: RAIN, 1: TEA}), ("test", {2: BUS})):
        records = [json.dumps({"file_name": f"{i}.wav", "text": t}) for i, t in texts.items()]
        (tmp_path / split / "metadata.jsonl").write_text("\n".join(records))
    clips, _ = read_clips(section(tmp_path, "hf_dataset", eval_split_name="test"))
    assert [(clip.part, clip.text) for clip in clips] == [
        ("train", RAIN), ("train", TEA), ("eval", BUS)
    ]  # fmt: skip


@pytest.fixture
def parquet(tmp_path, voices):
    """A folder with a Parquet file of three recordings, as on the hub."""
    datasets = pytest.importorskip("datasets")
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    sounds = []
    for number in range(3):
        write(tmp_path / "sounds" / f"{number}.wav", voices[number])
        content = (tmp_path / "sounds" / f"{number}.wav").read_bytes()
        sounds.append({"path": f"{number}.wav", "bytes": content})
    rows = {
        "id": ["x", "y", "z"],
        "audio": sounds,
        "text_original": ["2", "3", "4"],
        "text_normalized": [RAIN, TEA, BUS],
        "speaker_id": [0, 1, 0],
    }
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "audio": datasets.Audio(),
            "text_original": datasets.Value("string"),
            "text_normalized": datasets.Value("string"),
            "speaker_id": datasets.ClassLabel(names=["ann", "bob"]),
        }
    )
    folder = tmp_path / "set"
    folder.mkdir()
    # Written without `datasets`, which needs PyTorch to write audio.
    table = pyarrow.Table.from_pydict(rows, schema=features.arrow_schema)
    pyarrow.parquet.write_table(table, folder / "train-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("whole", [True, False])
def test_parquet(parquet, whole, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = parquet if whole else parquet / "train-00000-of-00001.parquet"
    clips, report = read_clips(section(path, "hf_dataset"))
    assert [(clip.speaker, clip.text) for clip in clips] == [
        ("ann", RAIN), ("bob", TEA), ("ann", BUS)
    ]  # fmt: skip
    assert "text (text_normalized" in report.table()
    with pytest.raises(DataError, match=r"no column 'words', which dataset.text_column_name names"):
        read_clips(section(path, "hf_dataset", text_column_name="words"))


def test_parquet_without_the_hub_s_description(parquet, voices):
    """Files as pandas writes them: bytes, or paths beside the file."""
    pyarrow = pytest.importorskip("pyarrow")
    sound = (parquet.parent / "sounds" / "0.wav").read_bytes()
    file = parquet / "pandas.parquet"
    rows = {"audio": [{"bytes": sound, "path": None}], "text": [RAIN]}
    for audio in (rows["audio"], [sound], ["sounds/0.wav"]):
        pyarrow.parquet.write_table(pyarrow.table({**rows, "audio": audio}), file)
        if isinstance(audio[0], str):
            write(parquet / "sounds" / "0.wav", voices[0])
        (clip,), _ = read_clips(section(file, "hf_dataset"))
        assert clip.text == RAIN


def test_parquet_is_not_read_as_a_table(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"PAR1 and so on")
    with pytest.raises(DataError, match="Parquet file: set dataset_type to hf_dataset"):
        read_clips(section(tmp_path, "metadata_csv"))


# Texts against lengths.


@pytest.fixture
def clips_of(tmp_path, voices):
    """Clips of a table of texts; recordings of 1.6 to 2.5 s."""

    def make(texts, **settings):
        lines = []
        for number, text in enumerate(texts):
            write(tmp_path / "wavs" / f"{number}.wav", voices[number])
            lines.append(f"{number}|{text}\n")
        (tmp_path / "metadata.csv").write_text("".join(lines))
        return read_clips(section(tmp_path, "metadata_csv", **settings))

    return make


TEXTS = [f"This is sentence number {i}." for i in ("one", "two", "three", "four", "five", "six")]


def test_texts_that_cannot_fit_are_reported_or_left_out(clips_of):
    texts = [
        *TEXTS,
        "Many words are here, and far more of them than anybody could say in a time so short.",
    ]
    clips, report = clips_of(texts)
    assert len(clips) == 7
    (remark,) = report.warnings
    assert (remark.id, remark.reason) == ("6", "text does not fit the length")
    assert "in 2.2 s is" in remark.detail
    assert "too fast: the others have 1" in remark.detail
    clips, report = clips_of(texts, leave_out_misfits=True)
    assert [clip.id for clip in clips] == ["0", "1", "2", "3", "4", "5"]
    assert report.counts() == {"text does not fit the length": 1}


def test_recordings_too_long_for_their_texts_are_reported(tmp_path, clips_of, voices):
    clips_of(TEXTS)
    write(tmp_path / "wavs" / "9.wav", [*voices[9], *voices[8], *voices[7]])
    with (tmp_path / "metadata.csv").open("a") as table:
        table.write("9|Hello.\n")
    _, report = read_clips(section(tmp_path, "metadata_csv"))
    (remark,) = report.warnings
    assert remark.id == "9"
    assert "too slow" in remark.detail


def test_texts_of_usual_speed_fit(clips_of):
    texts = ["Yes.", "No, I do not.", *TEXTS, "He was born in 1990."]
    _, report = clips_of(texts)
    assert not report.warnings


def test_few_clips_have_no_speed_of_their_own(clips_of):
    _, report = clips_of(["Yes.", "Many words are here, and so many more that nobody could say."])
    assert not report.warnings
    _, report = clips_of(["Yes.", "word " * 20])
    assert [remark.id for remark in report.warnings] == ["1"]
