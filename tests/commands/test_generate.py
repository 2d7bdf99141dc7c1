"""The command line, as a user meets it."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import soundfile

from mlx_chatterbox.commands import cli
from mlx_chatterbox.generate import main
from tests.chosen_tokens import choose_tokens

STEP = "mlx_chatterbox.models.decoder.engine.DecodingEngine.step"


@pytest.fixture
def speak(small_checkpoint, recording_file, tmp_path, capsys):
    """Runs the command in a folder of its own; gives exit code, standard output and error."""

    def run(*arguments, voice=True, output="out.wav"):
        words = ["--model", small_checkpoint, "--max-new-tokens", 8, "--cfm-steps", 2]
        words += ["--voice", recording_file] if voice else []
        words += ["--output", tmp_path / output, *arguments]
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    run.folder = tmp_path
    return run


def test_speaks(speak):
    code, out, err = speak("--text", "Hello there.", "--seed", 1)
    assert code == 0
    waveform, rate = soundfile.read(speak.folder / "out.wav")
    assert rate == 24000
    assert len(waveform) % 960 == 0
    assert f"{len(waveform) // 960} tokens" in out
    assert "%|" not in err  # no progress bar in a pipe


def test_the_same_seed_gives_the_same_file(speak):
    for name, seed in (("a.wav", 1), ("b.wav", 1), ("c.wav", 2)):
        assert speak("--text", "Hello.", "--seed", seed, output=name)[0] == 0
    a, b, c = ((speak.folder / name).read_bytes() for name in ("a.wav", "b.wav", "c.wav"))
    assert a == b
    assert a != c


def test_text_from_a_file_and_from_standard_input(speak, monkeypatch):
    (speak.folder / "text.txt").write_text("Hello.", encoding="utf-8")
    assert speak("--file", speak.folder / "text.txt", "--seed", 1, output="a.wav")[0] == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello."))
    assert speak("--text", "-", "--seed", 1, output="b.wav")[0] == 0
    a, b = ((speak.folder / name).read_bytes() for name in ("a.wav", "b.wav"))
    assert a == b


@pytest.mark.parametrize("ending", ["flac", "ogg", "mp3"])
def test_other_formats(speak, ending):
    assert speak("--text", "Hello.", output=f"out.{ending}")[0] == 0
    waveform, rate = soundfile.read(speak.folder / f"out.{ending}")
    assert rate == 24000
    assert len(waveform) > 0


def test_saving_and_reusing_a_voice(speak):
    saved = speak.folder / "me.safetensors"
    speak("--text", "Hello.", "--seed", 1, "--save-voice", saved, output="a.wav")
    code, _, _ = speak("--text", "Hello.", "--seed", 1, "--voice", saved, output="b.wav")
    assert code == 0
    a, b = ((speak.folder / name).read_bytes() for name in ("a.wav", "b.wav"))
    assert a == b


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "  "], "no text to speak"),
        (["--text", "..."], "nothing to speak"),
        (["--file", "no-such.txt"], "there is no file no-such.txt"),
        (["--text", "Hi.", "--voice", "no-such.wav"], "does not exist"),
        (["--text", "Hi.", "--temperature", "-1"], "temperature must be"),
        (["--text", "Hi.", "--model", "nobody"], "a known model"),
        (["--text", "Hi.", "--output", "no-such-folder/out.wav"], "no folder"),
        (["--text", "Hi.", "--output", "out.xyz"], "no known audio format"),
        (["--text", "Hi.", "--save-voice", "no-such-folder/me.safetensors"], "must exist"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(speak, arguments, message, monkeypatch):
    monkeypatch.chdir(speak.folder)
    code, out, err = speak(*arguments)
    assert code == 1
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert out == ""
    assert list(speak.folder.iterdir()) == []


def test_a_text_file_that_is_not_utf8(speak):
    (speak.folder / "latin.txt").write_bytes("Gr\u00fc\u00dfe".encode("latin-1"))
    code, _, err = speak("--file", speak.folder / "latin.txt")
    assert code == 0
    assert "latin.txt: it is not in UTF-8, and was read as windows-1252" in err


def test_verbose_shows_the_traceback(speak):
    code, _, err = speak("--text", "...", "--verbose")
    assert code == 1
    assert "Traceback" in err
    assert "TextError" in err


def test_no_voice(speak):
    code, _, err = speak("--text", "Hello.", voice=False)
    assert code == 1
    assert "--voice" in err


def test_an_interruption_leaves_nothing(speak, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(STEP, interrupted)
    code, _, err = speak("--text", "Hello.")
    assert code == 130
    assert "interrupted" in err
    assert list(speak.folder.iterdir()) == []


def test_unfinished_text_is_reported(speak, monkeypatch):
    choose_tokens(monkeypatch, lambda number, request: range(8))
    assert "not finished within 8 tokens" in speak("--text", "Hello.")[2]
    choose_tokens(monkeypatch, lambda number, request: range(5))
    assert "not finished" not in speak("--text", "Hello.")[2]


@pytest.mark.parametrize("arguments", [[], ["--text", "a", "--file", "b"], ["--nonsense"]])
def test_wrong_use_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_help_teaches_without_loading_a_network(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert "consent" in shown


def test_auto_falls_back_to_the_bundled_voice(monkeypatch, capsys):
    monkeypatch.setattr("mlx_chatterbox.weights.hub.on_this_machine", lambda name: None)
    assert cli.choose_model("auto") == "pocket"
    said = capsys.readouterr().err
    assert "pocket" in said
    assert "--model chatterbox downloads" in said


def test_auto_takes_a_cached_model(monkeypatch, capsys, tmp_path):
    here = {"turbo": tmp_path}
    monkeypatch.setattr("mlx_chatterbox.weights.hub.on_this_machine", here.get)
    assert cli.choose_model("auto") == "turbo"
    assert str(tmp_path) in capsys.readouterr().err


def test_bars_close_when_done(monkeypatch):
    bars = cli.Bars()
    bars("tokens", 1, 2)
    bars("flow", 1, 2)
    bars("flow", 2, 2)
    assert bars._bar is None


def test_playing_without_sounddevice_names_the_extra(monkeypatch):
    from mlx_chatterbox.errors import AudioError

    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioError, match=r"mlx-chatterbox\[play\]"):
        cli.play(np.zeros(10, np.float32), 24000)


def test_a_lexicon_respells_before_tokenizing(speak):
    lexicon = speak.folder / "words.tsv"
    lexicon.write_text("Siobhan\tshivawn\n", encoding="utf-8")
    say = ("--seed", 1, "--text")
    assert speak(*say, "Hello, Siobhan's!", "--lexicon", lexicon, output="a.wav")[0] == 0
    assert speak(*say, "Hello, Shivawn's!", output="b.wav")[0] == 0
    assert speak(*say, "Hello, Siobhan's!", output="c.wav")[0] == 0
    a, b, c = ((speak.folder / name).read_bytes() for name in ("a.wav", "b.wav", "c.wav"))
    assert a == b
    assert a != c


def test_a_damaged_lexicon_is_named_before_a_model_is_loaded(speak):
    lexicon = speak.folder / "words.tsv"
    lexicon.write_text("Siobhan shivawn\n", encoding="utf-8")
    code, _, err = speak("--text", "Hello.", "--model", "no such model", "--lexicon", lexicon)
    assert code == 1
    assert f"{lexicon}: line 1: there is no tab" in err
