"""Tables of many origins: read as `validate --list` shows, or refused with advice."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest

from mlx_chatterbox.errors import DataError
from mlx_chatterbox.train.__main__ import main
from mlx_chatterbox.train.config import TrainConfig
from mlx_chatterbox.train.data.check import read_clips
from mlx_chatterbox.train.loading import load_saved, save_config
from tests.train.data import section, write

HELLO, RAIN, TEA, BUS = "Hello, you.", "It rains today.", "The tea is hot.", "Where is the bus?"
# Name, speaker, language, text.
PLAIN = [("a", "speaker", "-", HELLO), ("b", "speaker", "-", RAIN), ("c", "speaker", "-", TEA)]
SPOKEN = [("a", "ann", "-", HELLO), ("b", "bob", "-", RAIN), ("c", "ann", "-", TEA)]
LANGUAGES = [("a", "ann", "en", HELLO), ("b", "bob", "en", RAIN), ("c", "ann", "en", TEA)]


@pytest.fixture
def listed(tmp_path, voices, small_checkpoint, capsys):
    """Function that runs `validate --list` on a table: (rows without seconds, all output)."""

    def run(content, name="metadata.csv", folder="wavs", ending=".wav", names="abcd", **settings):
        for number, letter in enumerate(names):
            write(tmp_path / folder / f"{letter}{ending}", voices[number])
        if content is not None:
            content = content.encode() if isinstance(content, str) else content
            (tmp_path / name).write_bytes(content)
        settings = {"dataset_type": "metadata_csv", "dataset_path": str(tmp_path), **settings}
        config = tmp_path / "voice.yaml"
        dataset = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in settings.items())
        config.write_text(
            f"model:\n  local_model_dir: {small_checkpoint}\n"
            "  freeze_components: [voice_encoder, s3gen]\n"
            f"dataset:\n{dataset}training:\n  output_dir: ./run\n"
        )
        code = main(["validate", str(config), "--list"])
        out, err = capsys.readouterr()
        rows = [line.split("\t") for line in out.splitlines()]
        assert all(float(row[1]) > 0.5 for row in rows)
        assert (code == 0) == bool(rows)
        return [(row[0], *row[2:]) for row in rows], err

    return run


TABLES = {
    # LJSpeech: the third column is the second one with numbers in words.
    "ljspeech": (f"a|{HELLO}|{HELLO}\nb|In 1990.|In nineteen ninety.\nc|{TEA}|\n", {},
                 [PLAIN[0], ("b", "speaker", "-", "In nineteen ninety."), PLAIN[2]]),
    "ljspeech with quotes": (f'a|He said "no."|He said "no."\nb|{RAIN}|{RAIN}\n', {},
                             [("a", "speaker", "-", 'He said "no.".'), PLAIN[1]]),
    "piper": (f"a|{HELLO}\nb|{RAIN}\nc|{TEA}\n", {"folder": "wav"}, PLAIN),
    "piper with speakers": (f"a|ann|{HELLO}\nb|bob|{RAIN}\nc|ann|{TEA}\n", {"folder": "wav"},
                            SPOKEN),
    "gpt-sovits": (
        f"a.wav|ann|EN|{HELLO}\nb.wav|bob|EN|{RAIN}\nc.wav|ann|EN|{TEA}\n",
        {"name": "train.list", "folder": "."}, LANGUAGES,
    ),
    "gpt-sovits of another machine": (
        f"D:\\set\\out\\a.wav|ann|EN|{HELLO}\r\nD:\\set\\out\\b.wav|ann|EN|{RAIN}\r\n",
        {"name": "slicer_opt.list", "folder": "."},
        [("D:/set/out/a", "ann", "en", HELLO), ("D:/set/out/b", "ann", "en", RAIN)],
    ),
    "vits with numbers of speakers": (
        f"wavs/a.wav|0|{HELLO}\nwavs/b.wav|1|{RAIN}\nwavs/c.wav|0|{TEA}\n", {"name": "train.txt"},
        [("wavs/a", "0", "-", HELLO), ("wavs/b", "1", "-", RAIN), ("wavs/c", "0", "-", TEA)],
    ),
    "a speaker and a gender": (f"a|ann|f|{HELLO}\nb|bob|m|{RAIN}\nc|ann|f|{TEA}\n", {}, SPOKEN),
    "a duration": (f"a|{HELLO}|1.6\nb|{RAIN}|1.7\nc|{TEA}|2\n", {}, PLAIN),
    "quotes in texts with commas": (
        f'a.wav,He said "no", then left.\nb.wav,{RAIN}\n', {},
        [("a", "speaker", "-", 'He said "no", then left.'), PLAIN[1]],
    ),
    "coqui": (
        f"audio_file|text|speaker_name\na.wav|{HELLO}|ann\nb.wav|{RAIN}|bob\nc.wav|{TEA}|ann\n",
        {}, SPOKEN,
    ),
    "common voice": (
        "client_id\tpath\tsentence\tup_votes\tage\tgender\tlocale\n"
        f"ann\ta.mp3\t{HELLO}\t2\t\t\ten\nbob\tb.mp3\t{RAIN}\t2\t\t\ten\n"
        f"ann\tc.mp3\t{TEA}\t2\t\t\ten\n",
        {"name": "train.tsv", "folder": "clips"}, LANGUAGES,
    ),
    "audio folder": (f'file_name,transcription\na.wav,"{HELLO}"\nb.wav,{RAIN}\nc.wav,{TEA}\n',
                     {"folder": "."}, PLAIN),
    "excel in English, with a byte order mark": (
        f'\ufefffilename,text\r\na.wav,"{HELLO}"\r\nb.wav,{RAIN}\r\nc.wav,{TEA}\r\n', {}, PLAIN
    ),
    "excel in German": (
        f"sep=;\r\nfilename;text\r\na.wav;{HELLO}\r\nb.wav;{RAIN}\r\nc.wav;{TEA}\r\n", {}, PLAIN
    ),
    "excel's unicode text": (
        f'wav\ttext\r\na.wav\t"{HELLO}"\r\nb.wav\t{RAIN}\r\nc.wav\t{TEA}\r\n'.encode("utf-16"),
        {"name": "metadata.txt"}, PLAIN,
    ),
    "commas without quotes": (f"audio,text\na.wav,{HELLO}\nb.wav,{RAIN}\nc.wav,{TEA}\n", {}, PLAIN),
    "commas without quotes or a header": (f"a.wav,{HELLO}\nb.wav,{RAIN}\nc.wav,{TEA}\n", {}, PLAIN),
    "commas before a speaker": (
        f"audio,text,speaker\na.wav,{HELLO},ann\nb.wav,{RAIN},bob\nc.wav,{TEA},ann\n", {}, SPOKEN
    ),
    "semicolons without a header": (f"a.wav;{HELLO}\nb.wav;{RAIN}\nc.wav;{TEA}\n", {}, PLAIN),
    "pipes in quoted texts": (f'audio|text\na|"Either | or."\nb|"{RAIN}"\n', {},
                              [("a", "speaker", "-", "Either | or."), PLAIN[1]]),
    "quotes in quotes": (f'id,text\na,"He said ""no""."\nb,{RAIN}\n', {},
                         [("a", "speaker", "-", 'He said "no".'), PLAIN[1]]),
    "a header of LJSpeech": (f"id|raw_text|normalized_text\na|Hi 2.|{HELLO}\nb|{RAIN}|\n", {},
                             PLAIN[:2]),
    "columns of other names": (
        f"wav_path\twords\twho\na.wav\t{HELLO}\tann\nb.wav\t{RAIN}\tbob\nc.wav\t{TEA}\tann\n",
        {"text_column_name": "words", "speaker_column_name": "Who", "name": "x.tsv"}, SPOKEN,
    ),
    "columns named in the configuration": (
        f"{HELLO}|x|a|ann\n{RAIN}|y|b|bob\n{TEA}|z|c|ann\n",
        {"columns": ["text", "_", "audio", "speaker"]}, SPOKEN,
    ),
    "windows-1252, named": (f"audio;text\na;{HELLO}\nb;Caf\xe9 cr\xe8me.\n".encode("cp1252"),
                            {"encoding": "windows-1252"},
                            [PLAIN[0], ("b", "speaker", "-", "Café crème.")]),
    "json lines": (
        "\n".join(json.dumps({"audio_filepath": f"/data/{i}.wav", "duration": 2.0, "text": t})
                  for i, _, _, t in PLAIN),
        {"name": "manifest.json", "dataset_type": "jsonl"},
        [(f"/data/{i}", *rest) for i, *rest in PLAIN],
    ),
    "a json object of clips": (
        json.dumps({i: {"text": t, "spk": s} for i, s, _, t in SPOKEN}, indent=2),
        {"name": "metadata.json", "dataset_type": "metadata_json"}, SPOKEN,
    ),
    "a json object of texts": (
        json.dumps({f"{i}.wav": t for i, _, _, t in PLAIN}),
        {"name": "metadata.json", "dataset_type": "metadata_json"}, PLAIN,
    ),
    "a json object with a list": (
        json.dumps({"version": 1, "data": [{"file": i, "transcript": t} for i, _, _, t in PLAIN]}),
        {"name": "metadata.json", "dataset_type": "metadata_json"}, PLAIN,
    ),
    "a json object of columns": (
        json.dumps({"wav": ["a", "b"], "text": [HELLO, RAIN]}),
        {"name": "metadata.json", "dataset_type": "metadata_json"}, PLAIN[:2],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_as_it_is_listed(name, listed):
    content, settings, expected = TABLES[name]
    rows, said = listed(content, **settings)
    assert rows == expected
    assert "read: " in said


REFUSED = {
    "a column that is not there": (
        f"audio,text,speaker\na.wav,{RAIN},ann\n", {"text_column_name": "sentence"},
        r"metadata.csv:1: there is no column 'sentence', which dataset.text_column_name names",
    ),
    "a speaker's column that is not there": (
        f"audio,text,speaker\na.wav,{RAIN},ann\n", {"speaker_column_name": "voice"},
        r"metadata.csv:1: there is no column 'voice', which dataset.speaker_column_name names",
    ),
    "a default's name that is not there": (
        f"audio,sentence\na.wav,{RAIN}\n", {"text_column_name": "text"},
        r"metadata.csv:1: there is no column 'text'",
    ),
    "a key that is not there": (
        json.dumps([{"audio": "a", "text": RAIN}]),
        {"speaker_column_name": "who", "dataset_type": "jsonl", "name": "metadata.json"},
        r"there is no column 'who', which dataset.speaker_column_name names",
    ),
    "a comma without a space": (
        f"audio,text\na.wav,{RAIN}\nb.wav,Well,yes.\n", {},
        r"metadata.csv:3: 3 cells for 2 columns .* into quotes",
    ),
    "a text cut by a comma where the speaker is missing": (
        f"audio,text,speaker\na.wav,{RAIN},ann\nb.wav,{HELLO}\n", {},
        r"metadata.csv:3: the text seems to go on",
    ),
    "two texts": (
        f"audio|text|sentence\na|{RAIN}|{TEA}\nb|{TEA}|{RAIN}\n", {},
        r"metadata.csv:1: text and sentence could each be the text: .*text_column_name",
    ),
    "a third column that may be anything": (
        f"a|{HELLO}|ann\nb|{RAIN}|bob\n", {},
        r"metadata.csv:1: there is no header, .* dataset.columns, such as \[audio, text, speaker\]",
    ),
    "two columns that may be the speaker": (
        f"a|ann|x1|{HELLO}\nb|bob|x2|{RAIN}\nc|ann|x1|{TEA}\nd|bob|x2|{BUS}\n", {},
        r"metadata.csv:1: there is no header",
    ),
    "a column that may be an emotion": (
        f"a\t{HELLO}\tHappy\nb\t{RAIN}\tSad\nc\t{TEA}\tHappy\n", {"name": "x.tsv"},
        r"x.tsv:1: there is no header, .*such as \[audio, text, \?\]",
    ),
    "words that may be texts or names": (
        "a|ann|hello\nb|bob|hello\n", {}, r"metadata.csv:1: there is no header",
    ),
    "names that nobody uses": (
        f"sound;words\na.wav;{HELLO}\nb.wav;{RAIN}\n", {},
        r"metadata.csv:1: the header \(sound, words\) has no column .* audio_column_name",
    ),
    "a quote that is not closed": (
        f'audio,text\na.wav,"Hello.\nb.wav,{RAIN}\n', {}, r"metadata.csv:2 cannot be read",
    ),
    "json called a table": (
        json.dumps({"audio": "a", "text": RAIN}), {}, r"set dataset_type to metadata_json",
    ),
    "a table called json": (
        f"a|{HELLO}\n", {"dataset_type": "jsonl", "name": "metadata.jsonl"},
        r"is no JSON: .* dataset_type is metadata_csv",
    ),
    "a workbook": (b"PK\x03\x04 and so on", {}, r"is an Excel workbook .* save the table as CSV"),
    "UTF-16 without a byte order mark": (
        f"audio,text\na.wav,{RAIN}\n".encode("utf-16-le"), {}, r"dataset.encoding to utf-16-le",
    ),
    "a table that is taken for a folder of pairs": (
        f"a|{HELLO}\n", {"dataset_type": "wav_txt"},
        r"there is metadata.csv: set dataset_type to metadata_csv",
    ),
    "no recording": (
        f"x|{HELLO}\ny|{RAIN}\n", {},
        r"2 no audio file.*metadata.csv:1: there is no \S+x; looked for it in \S+, and in wavs, "
        r"wav, audio, clips",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_certain_is_refused_with_its_line(name, listed):
    content, settings, message = REFUSED[name]
    rows, said = listed(content, **settings)
    assert not rows
    assert said.count("\n") == 1, said
    assert re.search(message, said), said


def test_recordings_are_found_under_other_names(listed, tmp_path):
    umlaut = unicodedata.normalize("NFD", "für")
    rows, said = listed(
        f"für.wav|{HELLO}\nB.WAV|{RAIN}\n/mnt/data/c.flac|{TEA}\n",
        names=(umlaut, "b", "c"), ending=".wav",
    )  # fmt: skip
    assert [row[3] for row in rows] == [HELLO, RAIN, TEA]
    assert "3 recordings were found under another name or in another folder: für.wav is" in said


def test_two_names_that_lead_to_one_recording_are_left_out(listed):
    rows, said = listed(f"/x/ann/a.wav|{HELLO}\n/x/bob/a.wav|{RAIN}\nb.wav|{TEA}\n", names="ab")
    assert [row[0] for row in rows] == ["b"]
    assert "metadata.csv:1: /x/ann/a.wav and /x/bob/a.wav" in said


def test_names_are_looked_for_in_folders_of_their_own(listed, tmp_path, voices):
    for number, speaker in enumerate(("ann", "bob")):
        write(tmp_path / "sounds" / speaker / "1.wav", voices[number])
    table = f"path,text\n/old/ann/1.wav,{RAIN}\n/old/bob/1.wav,{TEA}\n1.wav,{BUS}\n"
    rows, said = listed(table, names="")
    assert [row[3] for row in rows] == [RAIN, TEA]
    assert "1.wav may be" in said


def test_the_list_alone_is_on_standard_output_and_the_rest_beside_it(listed, tmp_path):
    rows, said = listed(f"a|{HELLO}\nmissing|{RAIN}\nc|there is tea\n")
    # Texts as the tokenizer gets them.
    assert [row[3] for row in rows] == [HELLO, "There is tea."]
    for word in ("2 of 3 clips", "metadata.csv:2: there is no ", "separator '|'", "trained: t3"):
        assert word in said


def test_unnamed_speakers_are_reported(listed):
    rows, said = listed(f"audio,text,speaker\na,{RAIN},ann\nb,{TEA},\n")
    assert [row[1] for row in rows] == ["ann", "speaker"]
    assert "no speaker named" in said
    assert "metadata.csv:3: called 'speaker'" in said


@pytest.mark.parametrize("header", ["audio|text\n", ""])
def test_more_columns_than_a_list_of_clips_has(listed, header):
    line = "|".join(["a", "Good morning."] + ["x"] * 600)
    _, said = listed(header + f"{line}\n" * 6)
    assert "602 columns; at most 500 are allowed" in said


def test_undeclared_windows_1252_is_explained(listed):
    table = f"a|{HELLO}\nb|Caf\xe9.\n".encode("cp1252")
    rows, said = listed(table)
    assert rows == PLAIN[:1]
    assert "metadata.csv:2: in windows-1252 it is 'Café.': set dataset.encoding" in said


def test_a_recording_with_two_texts_is_reported(listed):
    rows, said = listed(f"a|{HELLO}\na|{RAIN}\nb|{TEA}\n")
    assert [row[3] for row in rows] == [HELLO, TEA]
    assert "the same as a, whose text is another: 'Hello, you.'" in said


def test_settings_without_effect_are_reported(listed, tmp_path):
    (tmp_path / "wavs").mkdir()
    (tmp_path / "wavs" / "a.txt").write_text(RAIN)
    rows, said = listed(None, dataset_type="wav_txt", text_column_name="words")
    assert [row[3] for row in rows] == [RAIN]
    assert "dataset.text_column_name has no effect with dataset_type wav_txt" in said


def test_a_run_that_was_begun_goes_on_with_its_columns(tmp_path, voices):
    """Runs begun while a column's name had a default have that default in their files."""
    write(tmp_path / "a.wav", voices[0])
    write(tmp_path / "b.wav", voices[1])
    (tmp_path / "metadata.csv").write_text(f"path,sentence\na.wav,{RAIN}\nb.wav,{TEA}\n")
    begun = TrainConfig()
    begun.dataset = section(tmp_path, "metadata_csv", text_column_name="text")
    begun.dataset.speaker_column_name = "speaker"
    with pytest.raises(DataError, match="no column 'text'"):
        read_clips(begun.dataset)
    save_config(begun, tmp_path / "config.yaml")
    clips, _ = read_clips(load_saved(tmp_path / "config.yaml").dataset)
    assert [clip.text for clip in clips] == [RAIN, TEA]


def test_a_list_in_a_folder_of_its_own_names_what_is_beside_it(tmp_path, voices):
    write(tmp_path / "set" / "wavs" / "a.wav", voices[0])
    (tmp_path / "filelists").mkdir()
    (tmp_path / "filelists" / "train.txt").write_text(f"set/wavs/a.wav|{RAIN}\n")
    (clip,), report = read_clips(section(tmp_path / "filelists", "metadata_csv"))
    assert (clip.text, clip.audio) == (RAIN, tmp_path / "set" / "wavs" / "a.wav")
    assert "all clips are one speaker's" in report.table()
