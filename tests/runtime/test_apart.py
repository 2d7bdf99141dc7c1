"""An output is never an input, nor another output: refused before any work, with both names."""

import os
import shutil
import unicodedata
from pathlib import Path

import pytest

from mlx_chatterbox.api import tts as tts_module
from mlx_chatterbox.api import vc as vc_module
from mlx_chatterbox.audio.files import save_audio
from mlx_chatterbox.convert.damage import main as damage
from mlx_chatterbox.errors import CheckpointError, SettingError
from mlx_chatterbox.generate import main as generate
from mlx_chatterbox.longform.batch import speak_batch
from mlx_chatterbox.runtime.apart import check_apart, is_same_file
from mlx_chatterbox.train import session
from mlx_chatterbox.train.config import TrainConfig
from mlx_chatterbox.train.samples import TrainingError
from mlx_chatterbox.train.sections import ModelSection
from mlx_chatterbox.vc import main as convert_voice
from mlx_chatterbox.watermark.__main__ import main as watermark
from tests.longform.job_stub import StubTTS

RATE = 24000


@pytest.fixture
def at(tmp_path, monkeypatch, recording, small_checkpoint):
    """A working folder with readable inputs; no model is ever loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tts_module, "open_model", None)
    monkeypatch.setattr(vc_module, "load", None)
    save_audio("mine.wav", recording, RATE)
    save_audio("mine.flac", recording, RATE)
    os.symlink("mine.wav", "link.wav")
    os.link("mine.wav", "hard.wav")
    os.mkdir("sub")
    os.symlink("sub", "folder")
    shutil.copyfile("mine.wav", "sub/inner.wav")
    Path("words.txt").write_text("Siobhan\tshivawn\n")
    Path("book.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nHello.\n")
    Path("long.txt").write_text("This is a sentence. " * 40)
    shutil.copytree(small_checkpoint, "model")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(program, words: str, capsys, *names: str) -> None:
    """Assert that the program refuses in one line with the names, and changes no file."""
    before = contents(Path())
    assert program(words.split()) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    for name in names:
        assert name in err
    assert contents(Path()) == before


SPELLINGS = [
    ("mine.wav", "mine.wav"),
    ("mine.wav", "./mine.wav"),
    ("mine.wav", "sub/../mine.wav"),
    ("mine.wav", "link.wav"),
    ("link.wav", "mine.wav"),
    ("hard.wav", "mine.wav"),
    ("mine.wav", "hard.wav"),
    ("sub/inner.wav", "folder/inner.wav"),
]


@pytest.mark.parametrize(("read", "written"), SPELLINGS)
def test_generate_refuses_its_own_voice(at, capsys, read, written):
    words = f"--model model --text Hello. --voice {read} --output {written}"
    refused(generate, words, capsys, f"--output {Path(written)}", f"--voice {Path(read)}")
    absolute = f"--model model --text Hello. --voice {at / read} --output {written} --stream"
    refused(generate, absolute, capsys, f"--output {Path(written)}", f"--voice {at / read}")


@pytest.mark.parametrize(("read", "written"), SPELLINGS)
def test_conversion_and_watermark_refuse_their_own_input(at, capsys, read, written):
    words = f"--model model --input {read} --output {written}"
    refused(convert_voice, words, capsys, f"--output {Path(written)}", f"--input {Path(read)}")
    words = f"--model model --input mine.flac --voice {read} --output {written}"
    refused(convert_voice, words, capsys, f"--output {Path(written)}", f"--voice {Path(read)}")
    refused(watermark, f"apply {read} {written}", capsys, f"OUT {Path(written)}", f"IN {read}")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("--file book.srt --output book.wav --subtitles srt", ["book.srt", "--file"]),
        ("--file book.srt --output sub/../book.wav --subtitles srt", ["--file book.srt"]),
        (
            "--text A. --voice model/conds.safetensors --save-voice model/conds.safetensors",
            ["--save-voice", "--voice"],
        ),
        ("--text A. --save-voice model/conds.safetensors", ["--save-voice", "of the model"]),
        ("--text A. --save-voice model/model.safetensors", ["--save-voice", "of the model"]),
        ("--text A. --lexicon words.txt --output mine.wav --voice hard.wav", ["--output"]),
        ("--file long.txt --lexicon mine.wav --output mine.wav", ["--output", "--lexicon"]),
        ("--batch rows.csv --output-dir sub --save-voice x.safetensors", ["--save-voice"]),
    ],
)
def test_other_outputs_of_generate(at, capsys, words, names):
    Path("rows.csv").write_text("text\nHello.\n")
    if not Path("model/conds.safetensors").exists():
        shutil.copyfile("model/model.safetensors", "model/conds.safetensors")
    refused(generate, f"--model model {words}", capsys, *names)


def test_an_output_that_cannot_be_made_is_refused_before_the_work(at, capsys):
    for words in (
        "--text A. --output sub.wav/x.wav",
        "--text A. --output mine.wav/x.wav",
        "--text A. --save-voice nowhere/x.safetensors",
        "--text A. --save-voice directory.safetensors",
        "--file long.txt --output out.wav",
        "--file long.txt --output other.wav --subtitles srt",
        "--batch long.txt --output-dir mine.wav",
    ):
        os.makedirs("directory.safetensors", exist_ok=True)
        os.makedirs("other.srt", exist_ok=True)
        Path("out.wav.job").write_text("no folder")
        refused(generate, f"--model model {words}", capsys)


def test_a_jobs_folder_is_neither_read_nor_an_output(at, capsys):
    os.makedirs("out.wav.job/voices")
    shutil.copyfile("mine.wav", "out.wav.job/voices/v.wav")
    words = "--model model --file long.txt --output out.wav --voice out.wav.job/voices/v.wav"
    refused(generate, words, capsys, "out.wav.job", "--voice")
    words = "--model model --file long.txt --output out.wav --save-voice out.wav.job/v.safetensors"
    refused(generate, words, capsys, "out.wav.job", "--save-voice")


def test_a_report_does_not_replace_the_table(at, capsys):
    Path("sub/report.csv").write_text("text\nHello.\n")
    words = "--model model --batch sub/report.csv --output-dir folder"
    refused(generate, words, capsys, "report.csv", "--batch")


def rows(folder: Path, table: str, **settings) -> dict[str, tuple[str, str]]:
    (folder / "rows.csv").write_text(table, encoding="utf-8")
    settings = {"longest": 60, "seed": 1, **settings}
    tts = StubTTS(folder / "stub")
    lines = speak_batch(tts, folder / "rows.csv", folder, **settings)
    return {line.output: (line.status, line.message) for line in lines}


def test_rows_do_not_replace_what_other_rows_read(at, monkeypatch):
    monkeypatch.setattr(
        StubTTS, "voice_of", lambda *_: pytest.fail("nothing is read"), raising=False
    )
    before = contents(at)
    table = (
        "text,voice,output\n"
        "One.,,mine.wav\n"
        "Two.,mine.wav,sub/../sub/x.wav\n"
        "Three.,link.wav,hard.wav\n"
        "Four.,,mine.flac\n"
    )
    found = rows(at, table.replace("Two.,mine.wav", "Two.,nowhere.wav"), voice=None)
    assert "voice link.wav" in found["mine.wav"][1] or "link.wav" in found["mine.wav"][1]
    assert found["mine.wav"][0] == found["hard.wav"][0] == "failed"
    assert found["mine.flac"][0] == "spoken", "a file that is not read may be replaced"
    after = contents(at)
    for name in ("mine.wav", "hard.wav", "link.wav"):
        assert after[name] == before[name]


def test_rows_do_not_replace_each_others_subtitles(at):
    table = "text,output\nOne.,a.wav\nTwo.,a.flac\nThree.,A.ogg\nFour.,b.wav\n"
    found = rows(at, table, subtitles="srt")
    assert found["a.wav"][0] == "spoken"
    assert found["b.wav"][0] == "spoken"
    assert found["a.flac"][0] == "failed"
    assert "a.srt" in found["a.flac"][1]
    assert "row 1" in found["a.flac"][1]
    assert found["A.ogg"][0] == "failed"
    assert rows(at, table)["a.flac"][0] == "spoken"


def test_rows_keep_out_of_the_jobs_folder_and_the_report(at):
    table = "text,output\nOne.,batch.job/pieces/x.wav\nTwo.,x.wav\n"
    found = rows(at, table)
    assert found["batch.job/pieces/x.wav"][0] == "failed"
    assert "batch.job" in found["batch.job/pieces/x.wav"][1]


def test_texts_and_outputs_in_one_folder_are_refused(at):
    folder = at / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("Hello.")
    with pytest.raises(SettingError, match="texts and outputs"):
        speak_batch(StubTTS(at / "stub"), folder, folder, longest=60)


def test_two_outputs_that_are_not_there_yet(tmp_path):
    assert is_same_file(tmp_path / "a.wav", tmp_path / "x/../a.wav")
    assert is_same_file(tmp_path / "a.wav", tmp_path / "A.WAV"), "on a disk that ignores case"
    name = "é.wav"
    forms = [tmp_path / unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    assert is_same_file(*forms)
    assert not is_same_file(tmp_path / "a.wav", tmp_path / "b.wav")
    os.symlink("b.wav", tmp_path / "c.wav")
    assert is_same_file(tmp_path / "b.wav", tmp_path / "c.wav"), "a link to a missing file"
    with pytest.raises(SettingError, match=r"OUT b\.wav is .* OTHER c\.wav, which is written too"):
        check_apart([("OTHER c.wav", tmp_path / "c.wav"), ("OUT b.wav", tmp_path / "b.wav")], [])


def test_two_files_that_differ_by_capitals_are_two(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"1")
    if (tmp_path / "A.wav").exists():
        pytest.skip("this disk takes capitals and small letters for the same")
    assert not is_same_file(tmp_path / "a.wav", tmp_path / "A.wav")


def test_conversion_into_its_source_is_refused_through_links(at, small_checkpoint):
    from mlx_chatterbox.weights.conversion.core import convert

    os.symlink("model", "again")
    for source, output in (("model", "again"), ("again", "model"), ("model", "./sub/../model")):
        with pytest.raises(CheckpointError, match="is or contains SOURCE"):
            convert(source, output, force=True)


def training(**model):
    config = TrainConfig()
    config.model = ModelSection(**model)
    return config


def test_an_export_is_refused_before_the_model_is_loaded(at, monkeypatch):
    config = training(base_model="./model")
    monkeypatch.setattr(session, "_to_export", lambda source: Path("run/checkpoint-1"))
    monkeypatch.setattr(session, "_config_of", lambda checkpoint: config)
    monkeypatch.setattr(session, "prepare", None)
    os.symlink("model", "again")
    for output, message in (
        ("model", "is or contains the base model"),
        ("again", "is or contains the base model"),
        (".", "is or contains the base model"),
        ("sub", "exists already"),
        ("mine.wav", "exists already"),
    ):
        with pytest.raises(CheckpointError, match=message):
            session.export(Path("run"), Path(output), False)


def test_the_figures_of_damage_do_not_replace_the_model(at, capsys):
    before = contents(at)
    for path, message in (
        ("model/config.json", "a file of the model"),
        ("./sub/../model/model.safetensors", "a file of the model"),
        ("nowhere/damage.json", "in a folder that exists"),
    ):
        assert damage(["./model", "--json", path]) == 1
        assert message in capsys.readouterr().err
    for words in (["--word-errors"], ["--recipes", "--group", "T3 attention"]):
        with pytest.raises(SystemExit):
            damage(["./model", *words])
    assert contents(at) == before


def test_a_run_does_not_write_over_its_base_model(at):
    os.makedirs("run")
    shutil.copytree("model", "run/final_model")
    config = training(base_model="./run/final_model")
    config.training.output_dir = "./sub/../run"
    with pytest.raises(TrainingError, match=r"base model run/final_model lies in .*output_dir"):
        session.refuse_other_run(config)
    config.training.output_dir = "other"
    session.refuse_other_run(config)


def test_other_outputs_beside_an_input_are_written(at, capsys, monkeypatch):
    """Outputs beside an input, or in place of an earlier output, are written."""
    monkeypatch.undo()
    monkeypatch.chdir(at)
    words = "--model model --text Hello. --max-new-tokens 6 --cfm-steps 1 --voice mine.wav"
    for output in ("other.wav", "other.wav", "sub/mine.wav"):
        assert generate(f"{words} --output {output}".split()) == 0, capsys.readouterr().err
    assert Path("sub/mine.wav").stat().st_size > 44
