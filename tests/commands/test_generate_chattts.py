"""The command line with ChatTTS."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from mlx_chatterbox.chattts import Chat
from mlx_chatterbox.commands.chattts import OF_CHATTTS
from mlx_chatterbox.generate import main
from mlx_chatterbox.models.chattts.sampler import CodeSampler
from mlx_chatterbox.models.chattts.windows import sample_count
from mlx_chatterbox.models.decoder.engine import DecodingEngine
from mlx_chatterbox.synthesis.chattts.stream import piece_chunks
from mlx_chatterbox.voices.chattts.strings import encode_speaker
from mlx_chatterbox.voices.chattts.voice import ChatTTSVoice
from mlx_chatterbox.weights.hub import POCKET_FOLDER
from tests.chattts_reference import text as reference_text


@pytest.fixture(scope="module")
def statistics(tmp_path_factory):
    path = tmp_path_factory.mktemp("statistics") / "spk_stat.txt"
    path.write_text(reference_text("speaker/stat_string"), encoding="utf-8")
    return path


@pytest.fixture
def speak(speaking_chattts, statistics, tmp_path, monkeypatch, capsys):
    """Runs the command in a folder of its own; returns exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        words = ["--model", speaking_chattts, "--max-new-tokens", 6, *arguments]
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def read(path) -> np.ndarray:
    waveform, rate = soundfile.read(path, dtype="float32")
    assert rate == 24000
    return waveform


def test_speaks_and_keeps_the_speaker(speak, statistics):
    code, out, _ = speak(
        *("--text", "hello world", "--no-refine", "--seed", 1, "--speaker", "seed:42"),
        *("--speaker-statistics", statistics, "--save-voice", "anna.safetensors"),
    )
    assert code == 0
    assert "6 tokens" in out
    first = read("out.wav")
    assert len(first) == sample_count(6)
    voice = ChatTTSVoice.load("anna.safetensors")
    with open("anna.txt", "w", encoding="utf-8") as file:
        file.write(encode_speaker(voice.speaker) + "\n")
    for speaker in ("anna", "anna.safetensors", "anna.txt", encode_speaker(voice.speaker)):
        words = ("--text", "hello world", "--no-refine", "--seed", 1)
        assert speak(*words, "--speaker", speaker)[0] == 0
        np.testing.assert_array_equal(read("out.wav"), first)


def test_it_is_what_python_speaks(speak, speaking_chattts):
    settings = ("--temperature", 0.5, "--top-p", 0.9, "--top-k", 30, "--repetition-penalty", 1.2)
    text = "chat 12?"
    code, *_ = speak(
        *("--text", text, "--seed", 3, "--prompt", "[oral_2][speed_3]", "--no-watermark", *settings)
    )
    assert code == 0
    chat = Chat()
    chat.load("custom", custom_path=speaking_chattts)
    result = chat.speak(
        text,
        seed=3,
        watermark=False,
        params_refine_text=Chat.RefineTextParams(prompt="[oral_2]"),
        params_infer_code=Chat.InferCodeParams(
            prompt="[speed_3]",
            temperature=0.5,
            top_P=0.9,
            top_K=30,
            repetition_penalty=1.2,
            max_new_token=6,
        ),
    )
    np.testing.assert_allclose(read("out.wav"), result.waveform.clip(-1, 1), atol=1e-4)


def test_streams(speak):
    words = ("--text", "hello world. chat", "--no-refine", "--seed", 1, "--no-watermark")
    assert speak(*words, "--max-new-tokens", 80)[0] == 0
    whole = read("out.wav")
    code, out, _ = speak(*words, "--max-new-tokens", 80, "--stream")
    assert code == 0
    assert "first audio after" in out
    np.testing.assert_allclose(read("out.wav"), whole, atol=1e-4)


def test_subtitles_have_the_text_as_it_is_written(speak):
    assert speak("--text", "hello 5. chat", "--no-refine", "--subtitles", "srt")[0] == 0
    with open("out.srt", encoding="utf-8") as file:
        assert file.read().splitlines()[2::4] == ["hello 5.", "chat"]


def test_what_is_left_out_or_cut_off_is_reported(speak):
    code, _, err = speak("--text", "hello ქ", "--no-refine")
    assert code == 0
    assert "not read in piece 1 of 1: 'ქ'" in err
    assert "not finished within 6 tokens" in err
    assert "12" in speak("--text", "hello 12", "--no-refine", "--no-normalize")[2]
    assert "12" not in speak("--text", "hello 12", "--no-refine")[2]


def test_text_can_be_shown(speak):
    code, out, err = speak("--text", "hello 5 times? chat ქ.\nworld", "--show-text")
    assert code == 0
    assert out.splitlines() == ["hello five times. chat .", "world"]
    assert "'ქ'" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--voice", "me.wav"], "--speaker"),
        (["--cfg-weight", "0.3"], "guidance"),
        (["--exaggeration", "0.3"], "oral_2"),
        (["--min-p", "0.3"], "--top-p"),
        (["--cfm-steps", "3"], "flow"),
        (["--no-guard"], "guards"),
        (["--save-voice", "a.safetensors"], "--speaker"),
        (["--language", "fr"], "zh and en"),
        (["--prompt", "[oral_12]"], "oral_12"),
        (["--prompt", "[oral_2]", "--no-refine"], "refining"),
        (["--speaker", "seed:x"], "whole number"),
        (["--speaker", "seed:1"], "--speaker-statistics"),
        (["--speaker", "nobody"], "no speaker"),
        (["--speaker", "蘁淰" * 400], "damaged"),
        (["--homophones", "nothing.json"], "nothing.json"),
        (["--speaker-statistics", "nothing.pt"], "nothing.pt"),
    ],
)
def test_wrong_use_is_one_line(speak, tmp_path, words, message):
    if "me.wav" in words:
        soundfile.write(tmp_path / "me.wav", np.zeros(100), 24000)
    code, _, err = speak("--text", "hello", *words)
    assert code == 1
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize("option", sorted(OF_CHATTTS - {"--refine"}))
def test_options_of_chattts_are_no_others(option, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mode = ["--stream", "--output", "-"] if option == "--lookahead" else []
    words = ["--model", "pocket", "--text", "Hello.", *mode, option, "12"]
    assert main(words) == 1
    assert f"{option} is for ChatTTS" in capsys.readouterr().err


def test_a_voice_of_chatterbox_is_no_speaker(speak):
    code, _, err = speak("--text", "hello", "--speaker", POCKET_FOLDER / "conds.safetensors")
    assert code == 1
    assert "no saved voice of ChatTTS" in err


def test_tables_and_books_have_one_voice(speak, statistics, tmp_path):
    speaker = ("--speaker", "seed:1", "--speaker-statistics", statistics, "--no-refine")
    with open("rows.csv", "w", encoding="utf-8") as file:
        file.write("text,output,speed,language\nhello world,a.wav,1.5,\n你好,b.wav,,zh\n")
    batch = ("--batch", "rows.csv", "--output-dir", "spoken")
    code, _, err = speak(*batch)
    assert (code, "--speaker" in err) == (1, True)
    code, out, _ = speak(*batch, *speaker, "--seed", 1)
    assert (code, "2 spoken" in out) == (0, True)
    assert len(read("spoken/a.wav")) < len(read("spoken/b.wav"))
    first = (tmp_path / "spoken/b.wav").read_bytes()
    assert "2 kept" in speak(*batch, *speaker, "--seed", 1)[1]
    (tmp_path / "spoken/a.wav").unlink()
    assert "1 spoken, 1 kept" in speak(*batch, *speaker, "--seed", 1)[1]
    assert (tmp_path / "spoken/b.wav").read_bytes() == first
    with open("book.md", "w", encoding="utf-8") as file:
        file.write("# One\n\nHello world. Chat 3.\n\n# Two\n\nGood morning.\n")
    book = ("--file", "book.md", "--output", "book.wav", "--seed", 2)
    assert "--speaker" in speak(*book)[2]
    code, out, _ = speak(*book, *speaker)
    assert (code, "in 4 pieces" in out) == (0, True)
    manifest = json.loads((tmp_path / "book.wav.job/manifest.json").read_text(encoding="utf-8"))
    tokens = [piece["tokens"] for piece in manifest["pieces"] if "tokens" in piece]
    assert {len(one) for one in tokens} == {4 * 6}
    assert "4 of them kept" in speak(*book, *speaker)[1]


def test_rows_of_a_table_are_written_together(speak, statistics, monkeypatch):
    steps = []
    step = DecodingEngine.step
    monkeypatch.setattr(DecodingEngine, "step", lambda self: steps.append(1) or step(self))
    with open("rows.csv", "w", encoding="utf-8") as file:
        file.write("text\n" + "hello world 5\n" * 4)
    words = ("--batch", "rows.csv", "--speaker", "seed:1", "--speaker-statistics", statistics)
    code, _, err = speak(*words, "--no-refine", "--no-normalize", "--output-dir", "spoken")
    assert code == 0
    assert len(steps) < 2 * 6
    # Not written out, as asked for.
    assert err.count("not read in row") == 4
    assert "not read" not in speak(*words, "--no-refine", "--output-dir", "again")[2]


def test_a_saved_audio_prompt_is_a_speaker_too(speak, tmp_path):
    codes = np.arange(20).reshape(4, 5)
    ChatTTSVoice(codes=codes, text="hello").save(tmp_path / "bob.safetensors")
    words = ("--text", "world", "--no-refine", "--seed", 1)
    assert speak(*words)[0] == 0
    plain = read("out.wav")
    assert speak(*words, "--speaker", "bob", "--save-voice", "again.safetensors")[0] == 0
    assert not np.array_equal(read("out.wav"), plain)
    again = ChatTTSVoice.load("again.safetensors")
    np.testing.assert_array_equal(again.codes, codes)
    assert (again.speaker, again.text) == (None, "hello")
    (tmp_path / "rows.csv").write_text("text\nworld\n", encoding="utf-8")
    batch = ("--batch", "rows.csv", "--output-dir", "spoken", "--no-refine", "--speaker", "bob")
    assert "1 spoken" in speak(*batch)[1]
    # Another voice under the same name.
    ChatTTSVoice(codes=codes + 1).save(tmp_path / "bob.safetensors")
    assert "1 spoken" in speak(*batch)[1]
    assert "1 kept" in speak(*batch)[1]
    code, _, err = speak(*words, "--speaker", "bob", "--save-voice", "bob.safetensors")
    assert code == 1
    assert "bob.safetensors" in err


@pytest.mark.parametrize("damage", [0, 9, 60, -5])
def test_a_damaged_voice_is_refused(speak, tmp_path, damage):
    path = ChatTTSVoice(np.ones(768, np.float16)).save(tmp_path / "bob.safetensors")
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:damage] if damage < 0 else content[: max(damage, 1)])
    code, _, err = speak("--text", "hello", "--speaker", "bob.safetensors")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "bob.safetensors" in err


def test_a_smaller_lookahead_is_sooner(speak, monkeypatch):
    """The first sound comes after as many steps as the documentation says."""
    first = {}

    def noting(writer, settings, result):
        chunks = piece_chunks(writer, settings, result)
        for chunk in chunks:
            first.setdefault(settings.lookahead, len(writer.steps_of(writer.pieces[0])))
            yield chunk

    monkeypatch.setattr("mlx_chatterbox.api.chattts.chat.piece_chunks", noting)
    how = ["--text", "One.", "--no-refine", "--seed", 1, "--stream", "--output", "s.wav"]
    monkeypatch.setattr(CodeSampler, "ends", lambda *_: False)
    for more in ([], ["--lookahead", 26], ["--lookahead", 12]):
        code, _, error = speak(*how, "--max-new-tokens", 100, *more)
        assert code == 0, error
    assert first == {52: 72, 26: 48, 12: 24}
    code, _, error = speak("--text", "One.", "--lookahead", 12)
    assert (code, "--lookahead is for --stream" in error) == (1, True), error
