"""Inputs that are not text, or hold bytes that are not characters: reported, never dropped."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

from mlx_chatterbox.api.tts import ChatterboxMultilingualTTS, ChatterboxTTS, open_model
from mlx_chatterbox.errors import ChatterboxError, SettingError, TextError
from mlx_chatterbox.generate import build_parser, check_before_loading, main
from mlx_chatterbox.runtime.option_rules import parse
from mlx_chatterbox.text.checked_text import checked_text
from mlx_chatterbox.text.respelling import Respelling


@pytest.fixture
def tts(checkpoint, recording):
    model = ChatterboxTTS(checkpoint)
    model.prepare_conditionals(recording)
    return model


SHORT = {"max_new_tokens": 4, "n_cfm_timesteps": 1, "seed": 1}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, "None"),
        (123, "the int 123"),
        (["a"], r"the list \['a'\].*generate_batch"),
        (("a", "b"), "generate_batch"),
        (b"Hello.", "bytes"),
        (1.5, "the float 1.5"),
        (["x" * 500], "generate_batch"),
        (np.array(["Hello."]), "ndarray"),
    ],
)
def test_values_that_are_not_text_are_named(tts, text, shown):
    for speak in (tts.generate, lambda *a, **k: list(tts.stream(*a, **k))):
        with pytest.raises(TextError, match=f"text.*must be a str.*{shown}") as caught:
            speak(text, **SHORT)
        assert len(str(caught.value)) < 200
        assert "\n" not in str(caught.value)
    with pytest.raises(TextError, match=f"text 2 .*{shown}"):
        tts.generate_batch(["Hello.", text], **SHORT)


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        ("Hello", r"got the str 'Hello'.*\['Hello'\]"),
        (None, "got None"),
        (5, "got the int 5"),
        ([], "got an empty list"),
        ({"a": 1}, "got the dict"),
        (b"Hello", "got the bytes"),
    ],
)
def test_values_that_are_not_lists_of_texts_are_named(tts, texts, shown):
    with pytest.raises(SettingError, match=f"generate_batch takes a list of texts.*{shown}"):
        tts.generate_batch(texts, **SHORT)


def test_any_sequence_of_texts_is_spoken(tts):
    listed = tts.generate_batch(["Hello.", "Fine."], **SHORT)
    for texts in (("Hello.", "Fine."), iter(["Hello.", "Fine."]), np.array(["Hello.", "Fine."])):
        for one, other in zip(listed, tts.generate_batch(texts, **SHORT), strict=True):
            assert np.array_equal(one, other)


def test_an_invalid_voice_is_named(tts, tmp_path):
    with pytest.raises(SettingError, match=r"voice must be a Voice.*'me\.wav'.*audio_prompt_path"):
        tts.generate("Hello.", voice="me.wav", **SHORT)


def test_an_invalid_language_code_is_named(small_models, recording):
    model: ChatterboxMultilingualTTS = open_model(small_models("multilingual"))
    model.prepare_conditionals(recording)
    with pytest.raises(SettingError, match=r"language_id must be a code.*5"):
        model.generate("Hello.", 5, **SHORT)


# --- Halves of characters ------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["caf\udce9 au lait", "\ud83d", "Hello \udc80\udc81."])
def test_lone_surrogates_are_not_dropped(tts, text):
    for speak in (tts.generate, lambda *a, **k: list(tts.stream(*a, **k))):
        with pytest.raises(TextError, match="character"):
            speak(text, **SHORT)
    with pytest.raises(TextError, match=r"text 2.*character"):
        tts.generate_batch(["Hello.", text], **SHORT)


def test_errors_name_the_place_and_the_byte():
    with pytest.raises(TextError, match=r"character 4 .*0xe9.*UTF-8"):
        checked_text("caf\udce9")


def test_surrogate_pairs_are_joined():
    assert checked_text("Hi \ud83d\ude00!") == "Hi 😀!"
    assert checked_text("Grüße 😀") == "Grüße 😀"


# --- Bytes ---------------------------------------------------------------------------------------


class Stdin:
    def __init__(self, content: bytes):
        self.buffer = io.BytesIO(content)


def from_stdin(monkeypatch, content: bytes) -> str:
    monkeypatch.setattr(sys, "stdin", Stdin(content))
    return check_before_loading(parse(build_parser(), ["--text", "-"]))


GOOD = [
    ("Grüße.".encode(), "Grüße."),
    (b"\xef\xbb\xbf" + "Grüße.".encode(), "Grüße."),
    ("Grüße.".encode("utf-16"), "Grüße."),
    (b"\xfe\xff" + "Grüße.".encode("utf-16-be"), "Grüße."),
    (b"One.\r\nTwo.\r", "One.\nTwo.\n"),
]
BAD = [
    (b"\xff\xfeH\x00\x00\xd8", "UTF-16"),
    (b"H\x00e\x00l", "zero bytes"),
    (b"\xed\xb3\xa9", "line 1.*0xed"),
]
# A file's encoding is guessed and reported; a pipe's is the session's, and ought to be right.
GUESSED = [
    (b"One.\nGr\xfc\xdfe.", "line 2.*0xfc"),
    (b"caf\xe9", "line 1.*0xe9"),
    (b"H\x00e\x00l\x00l\x00o\x00", "zero bytes"),
]


@pytest.mark.parametrize(("content", "text"), GOOD)
def test_standard_input_and_files_are_decoded_alike(content, text, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert from_stdin(monkeypatch, content) == text
    from mlx_chatterbox.longform.readers.plain import characters_of

    (tmp_path / "a.txt").write_bytes(content)
    assert characters_of(tmp_path / "a.txt") == (text, [])


@pytest.mark.parametrize(("content", "message"), BAD)
def test_standard_input_and_files_are_refused_alike(content, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TextError, match=f"standard input.*{message}"):
        from_stdin(monkeypatch, content)
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(TextError, match=f"a.txt.*{message}"):
        check_before_loading(parse(build_parser(), ["--file", "a.txt"]))


@pytest.mark.parametrize(("content", "message"), GUESSED)
def test_the_encoding_of_standard_input_is_not_guessed(content, message, monkeypatch):
    with pytest.raises(TextError, match=f"standard input.*{message}"):
        from_stdin(monkeypatch, content)


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_bytes_on_the_command_line_and_in_a_pipe(locale, tmp_path):
    environment = {**os.environ, "LC_ALL": locale}
    program = [sys.executable, "-m", "mlx_chatterbox.generate", "--text"]
    for words, fed in (([b"caf\xe9"], b""), (["-"], b"caf\xe9")):
        done = subprocess.run(
            [*program, *words], input=fed, capture_output=True, env=environment, cwd=tmp_path
        )
        assert done.returncode == 1
        assert b"0xe9" in done.stderr
        assert done.stderr.count(b"\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_nothing_on_standard_input(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", Stdin(b" \n"))
    assert main(["--text", "-"]) == 1
    assert "no text to speak" in capsys.readouterr().err


def test_a_lexicon_is_decoded_as_texts_are(tmp_path):
    path = tmp_path / "words.tsv"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes("Müller\tmiller\n".encode(encoding))
        assert Respelling.read(path)("Müller") == "Miller"
    path.write_bytes(b"one\twun\nM\xfcller\tmiller\n")
    with pytest.raises(ChatterboxError, match="line 2"):
        Respelling.read(path)
