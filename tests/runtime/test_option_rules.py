"""Every option does something or is refused, in every mode and pair; none is ignored."""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
import soundfile

from mlx_chatterbox.api import tts as tts_module
from mlx_chatterbox.commands import option_table as table
from mlx_chatterbox.commands.option_table import BATCH, LONG, RULES, SHORT, STREAM, TEXT
from mlx_chatterbox.convert import options as convert_options
from mlx_chatterbox.errors import SettingError
from mlx_chatterbox.generate import build_parser, main, settings_for
from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice
from mlx_chatterbox.runtime.option_rules import joined, name_of, parse
from mlx_chatterbox.synthesis.result import Outcome, Result
from mlx_chatterbox.synthesis.streaming import SpeechStream
from mlx_chatterbox.train.__main__ import main as train
from mlx_chatterbox.vc import build_parser as vc_parser
from mlx_chatterbox.voices.voice import Voice

# A value for every option that takes one.
VALUES = {
    "--language": "en",
    "--voice": "voice.wav",
    "--save-voice": "kept.safetensors",
    "--output": "out.wav",
    "--output-dir": "out",
    "--output-format": "flac",
    "--lexicon": "words.tsv",
    "--redo": "1",
    "--subtitles": "srt",
    "--ray": "2",
    "--dtype": "float16",
    "--model": "stub",
    "--text": "Hello.",
    "--file": "short.txt",
    "--batch": "rows.csv",
}
MODE_WORDS = {
    TEXT: ["--text", "Hello."],
    SHORT: ["--file", "short.txt"],
    LONG: ["--file", "long.txt"],
    STREAM: ["--text", "Hello.", "--stream"],
    BATCH: ["--batch", "rows.csv", "--output-dir", "out"],
}
# These stand for the mode itself.
MODE_OPTIONS = ("--text", "--file", "--batch", "--stream")


def options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {name_of(action): action for action in parser._actions if action.option_strings}


def words_for(name: str) -> list[str]:
    action = options(build_parser())[name]
    if action.nargs in (0, "?"):
        return [name]
    return [name, VALUES.get(name, "1")]


def test_the_table_has_exactly_the_options():
    assert set(RULES) == set(options(build_parser()))
    for option, rule in RULES.items():
        assert set(rule.modes) <= set(table.MODES)
        assert rule.belongs or set(rule.modes) == set(table.MODES), option


def refusal(words: list[str]) -> str:
    """The error for a command line before anything is loaded; "" if there is none."""
    try:
        table.check_options(parse(build_parser(), words))
    except SettingError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("mode", [TEXT, LONG, STREAM, BATCH])
def test_each_option_is_refused_where_it_would_do_nothing(mode):
    modes = (SHORT, LONG) if mode == LONG else (mode,)
    for name in set(RULES) - {*MODE_OPTIONS, "--help", "--version"}:
        extra = [] if name in MODE_WORDS[mode] else words_for(name)
        said = refusal([*MODE_WORDS[mode], *extra])
        if set(RULES[name].modes) & set(modes):
            assert said == "", name
        else:
            assert said.startswith(f"{name} "), (name, said)
            assert mode in said or modes[0] in said
            assert "\n" not in said


@pytest.mark.parametrize("mode", [TEXT, LONG, STREAM, BATCH])
def test_all_pairs(mode):
    """A pair is accepted if both act in the mode; otherwise the error names one of them."""
    modes = {SHORT, LONG} if mode == LONG else {mode}
    names = sorted(set(RULES) - {*MODE_OPTIONS, "--help", "--version"})
    for one, other in itertools.combinations(names, 2):
        extra = [word for n in (one, other) if n not in MODE_WORDS[mode] for word in words_for(n)]
        said = refusal([*MODE_WORDS[mode], *extra])
        wrong = [n for n in (one, other) if not set(RULES[n].modes) & modes]
        if not wrong:
            silent = [n for n in table.SILENT if n in (one, other)]
            of_speech = set(table.NEED_SPEECH) & {one, other}
            wrong = silent if len(silent) == 2 or of_speech else []
        assert said.partition(" ")[0] == (wrong[0] if wrong else ""), (one, other)


@pytest.mark.parametrize("one", MODE_OPTIONS)
@pytest.mark.parametrize("other", MODE_OPTIONS)
def test_modes_do_not_mix(one, other, capsys):
    if one == other or {one, other} in ({"--text", "--stream"}, {"--file", "--stream"}):
        return
    with_dir = ["--output-dir", "out"] if "--batch" in (one, other) else []
    words = [*words_for(one), *words_for(other), *with_dir]
    if "--stream" in words:
        assert refusal(words).startswith("--stream is for a single text")
        return
    with pytest.raises(SystemExit):
        refusal(words)
    assert "not allowed with" in capsys.readouterr().err


# --- Accepted settings arrive --------------------------------------------------------------------


class Stub:
    """Records the settings of each call."""

    sr = 24000
    limit = 10

    def __init__(self, folder: Path):
        config = SimpleNamespace(
            variant="english",
            dtype="float32",
            generation=SimpleNamespace(longest_piece=None),
        )
        (folder / "config.json").write_text("{}")
        self.checkpoint = SimpleNamespace(folder=folder, config=config)
        t3 = SimpleNamespace(is_gpt2=False, has_mask=False)
        self.networks = SimpleNamespace(t3=SimpleNamespace(config=t3))
        self.defaults = config.generation
        self.tokenizer = SimpleNamespace()
        one = mx.ones((1, 2))
        tokens, mel = one.astype(mx.int32), mx.ones((1, 4, 80))
        self.conds = Voice(one, tokens, 0.5, tokens, mel, one)
        self.told: dict = {}

    def voice_of(self, path):
        self.heard = str(path)
        return self.conds

    def generate(
        self,
        text,
        repetition_penalty=1.2,
        min_p=0.05,
        top_p=1.0,
        top_k=0,
        exaggeration=0.5,
        cfg_weight=0.5,
        temperature=0.8,
        *,
        voice=None,
        seed=None,
        max_new_tokens=None,
        n_cfm_timesteps=None,
        progress=None,
        watermark=None,
        lexicon=None,
        guard=True,
        batch_size=None,
        speed=None,
    ):
        self.told |= {k: v for k, v in locals().items() if k != "self"}
        return np.full(24000, 0.1, np.float32)

    def speak(self, text, **settings):
        outcomes = [Outcome((1, 2), "", 1, 1)]
        waveform = self.generate(text, **settings)
        return Result(self.limit, [waveform], [1, 2], outcomes, [(0, 24000)])

    def stream(self, text, **settings):
        result = self.speak(text, **settings)
        return SpeechStream((one for one in result.waveforms), result)

    def generate_batch(self, texts, *, seeds, finished, invariant, voices, settings, **common):
        each = settings or [{}] * len(texts)
        for index, (text, own) in enumerate(zip(texts, each, strict=True)):
            result = self.speak(text, **{**common, **own})
            finished(index, result.waveform, result.outcomes)


@pytest.fixture
def at(tmp_path, monkeypatch, recording_file):
    monkeypatch.chdir(tmp_path)
    Path("short.txt").write_text("Hello.")
    Path("long.txt").write_text("This is a sentence of some length, as they are. " * 20)
    Path("rows.csv").write_text("text\nHello there.\n")
    Path("words.tsv").write_text("hello\thallo\n")
    Path("voice.wav").write_bytes(recording_file.read_bytes())
    (tmp_path / "model").mkdir()
    stub = Stub(tmp_path / "model")
    opened = {}
    monkeypatch.setattr(
        tts_module, "open_model", lambda name, **settings: opened.update(settings) or stub
    )
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    stub.opened = opened
    return stub


SETTINGS = {
    "--temperature": ("temperature", 0.3),
    "--cfg-weight": ("cfg_weight", 0.3),
    "--exaggeration": ("exaggeration", 0.3),
    "--repetition-penalty": ("repetition_penalty", 1.3),
    "--min-p": ("min_p", 0.3),
    "--top-p": ("top_p", 0.3),
    "--top-k": ("top_k", 7),
    "--max-new-tokens": ("max_new_tokens", 7),
    "--cfm-steps": ("n_cfm_timesteps", 7),
    "--speed": ("speed", 1.5),
    "--batch-size": ("batch_size", 7),
}


@pytest.mark.parametrize("mode", table.MODES)
def test_settings_arrive_in_every_mode_that_takes_them(at, mode, capsys):
    taken = {name: pair for name, pair in SETTINGS.items() if mode in RULES[name].modes}
    words = [word for name, (_, value) in taken.items() for word in (name, str(value))]
    words += ["--no-guard", "--no-watermark", "--dtype", "float16", "--check", "--seed", "5"]
    assert main([*MODE_WORDS[mode], *words, "--voice", "voice.wav"]) == 0, capsys.readouterr().err
    for name, (setting, value) in taken.items():
        if setting == "batch_size" and mode in (LONG, BATCH):
            continue  # pieces are grouped by it before the model is called
        assert at.told[setting] == value, name
    assert at.told["guard"] is False
    assert at.told["watermark"] is False
    assert at.told["seed"] is not None or mode in (LONG, BATCH)
    assert at.opened["dtype"] == "float16"
    assert at.opened["check"] is True
    assert Path("voice.wav").is_file()
    assert at.heard.endswith("voice.wav")


@pytest.mark.parametrize("mode", table.MODES)
def test_the_remaining_settings_arrive_too(at, mode, capsys):
    words = [*MODE_WORDS[mode], "--lexicon", "words.tsv"]
    if mode != BATCH:
        words += ["--output", "other.flac", "--save-voice", "kept.safetensors"]
    else:
        words += ["--output-format", "flac"]
    if mode != STREAM:
        words += ["--subtitles", "vtt"]
    assert main(words) == 0, capsys.readouterr().err
    folder = Path("out") if mode == BATCH else Path()
    name = "0001" if mode == BATCH else "other"
    assert (folder / f"{name}.flac").is_file()
    assert (folder / f"{name}.vtt").is_file() == (mode != STREAM)
    assert Path("kept.safetensors").is_file() == (mode != BATCH)
    if mode in (LONG, BATCH):
        assert "Hallo" in at.told["text"] or mode == LONG
    elif mode != SHORT:
        assert at.told["lexicon"]("hello") == "hallo"


def test_play_is_done_or_refused(at, capsys):
    for mode in table.MODES:
        assert main([*MODE_WORDS[mode], "--play"]) == 1
        said = capsys.readouterr().err
        assert ("sounddevice" in said) == ("--play" in table.RULES and mode != BATCH)


def test_short_and_long_files_are_distinguished(at, capsys):
    for option in (["--redo", "1"], ["--ray"]):
        assert main(["--file", "short.txt", *option]) == 1
        err = capsys.readouterr().err
        assert f"{option[0]} is for long texts" in err
        assert "with a short --file it would do nothing" in err
        assert not at.told


# --- Subtitles of a text -------------------------------------------------------------------------


def times(path: str) -> list[tuple[float, float, str]]:
    found = []
    for block in Path(path).read_text().strip().split("\n\n"):
        _, clock, *lines = block.split("\n")
        start, end = (
            sum(float(part) * 60**power for power, part in enumerate(reversed(t.split(":"))))
            for t in clock.replace(",", ".").split(" --> ")
        )
        found.append((start, end, " ".join(lines)))
    return found


def test_a_text_gets_subtitles_with_the_times_of_its_pieces(
    tmp_path, monkeypatch, small_checkpoint
):
    monkeypatch.chdir(tmp_path)
    words = ["--model", str(small_checkpoint), "--max-new-tokens", "6", "--cfm-steps", "1"]
    Path("me.tsv").write_text("river\triffer and riffer\n")
    text = "The river was rough. [pause 2s] Nobody knew the river."
    soundfile.write("voice.wav", synthetic_voice(3.0, seed=3), 24000)
    words += ["--voice", "voice.wav", "--seed", "1", "--lexicon", "me.tsv", "--text", text]
    assert main([*words, "--output", "a.wav"]) == 0
    assert main([*words, "--output", "b.wav", "--subtitles", "srt"]) == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes(), "the sound is the same"
    first, second = times("b.srt")
    assert first[2] == "The river was rough.", "the written text, not the respelled one"
    assert second[2] == "Nobody knew the river."
    seconds = soundfile.info("b.wav").duration
    assert first[0] == 0
    assert second[0] - first[1] == pytest.approx(2, abs=0.01)
    assert second[1] == pytest.approx(seconds, abs=0.01)
    sound, _ = soundfile.read("b.wav")
    assert main([*words, "--output", "c.wav", "--subtitles", "srt", "--speed", "2"]) == 0
    faster = times("c.srt")
    assert [line for *_, line in faster] == [first[2], second[2]]
    for (*slow, _), (*fast, _) in zip((first, second), faster, strict=True):
        assert fast == pytest.approx([time / 2 for time in slow], abs=0.02)
    between = sound[round(first[1] * 24000) + 2400 : round(second[0] * 24000) - 2400]
    assert np.abs(between).max() < np.abs(sound).max() / 10


# --- Models, and the other programs --------------------------------------------------------------


def test_settings_that_a_model_does_not_have_are_refused(small_models):
    from mlx_chatterbox.api.tts import open_model

    for variant, words, name in (
        ("english", ["--top-k", "5"], "top_k"),
        ("english", ["--language", "fr"], "language_id"),
        ("turbo", ["--cfg-weight", "0.5"], "cfg_weight"),
        ("turbo", ["--exaggeration", "0.7"], "exaggeration"),
        ("turbo", ["--min-p", "0.1"], "min_p"),
        ("turbo", ["--language", "de"], "language_id"),
        ("multilingual", ["--language", "de", "--top-k", "5"], "top_k"),
    ):
        model = open_model(small_models(variant))
        arguments = parse(build_parser(), ["--text", "Hello.", *words])
        with pytest.raises(SettingError, match=name):
            settings_for(model, arguments)
    arguments = parse(build_parser(), ["--text", "A", "--cfg-weight", "0", "--language", "en"])
    assert settings_for(open_model(small_models("turbo")), arguments) == {"cfg_weight": 0.0}


@pytest.mark.parametrize("command", [["init", "new.yaml"], ["resume", "run"], ["export", "a", "b"]])
@pytest.mark.parametrize("option", [["--config", "x.yaml"], ["--set", "training.seed=1"]])
def test_training_refuses_a_configuration_that_it_would_not_read(
    command, option, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert train([*option, *command]) == 1
    err = capsys.readouterr().err
    assert option[0] in err
    assert command[0] in err
    assert "would do nothing" in err
    assert list(tmp_path.iterdir()) == []


# --- Texts that begin with a dash ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--text", "-hello"], "-hello"),
        (["--text", "--hello"], "--hello"),
        (["--text", "- hello"], "- hello"),
        (["--text", "-5 degrees"], "-5 degrees"),
        (["--text", "-hello=there"], "-hello=there"),
        (["--text=-hello"], "-hello"),
        (["--text", "--", "-hello"], "-hello"),
        (["--text", "--", "--play"], "--play"),
        (["--tex", "-hello"], "-hello"),
        (["--text", "-"], "-"),
        (["--text", "—hello"], "—hello"),
        (["--text=--play"], "--play"),
    ],
)
def test_a_text_may_begin_with_a_dash(words, text):
    arguments = parse(build_parser(), [*words, "--seed", "-1", "--voice", "-x.wav", "--play"])
    assert arguments.text == text
    assert arguments.voice == Path("-x.wav")
    assert arguments.seed == -1
    assert arguments.play


@pytest.mark.parametrize("words", [["--text"], ["--text", "--play"], ["--text", "--pla"]])
def test_an_option_is_not_taken_as_a_text(words, capsys):
    with pytest.raises(SystemExit):
        parse(build_parser(), words)
    assert "expected one argument" in capsys.readouterr().err


def test_words_are_joined_for_every_option_that_takes_a_text():
    assert joined(vc_parser(), ["--input", "-a.wav", "--seed", "-1"]) == [
        "--input=-a.wav",
        "--seed",
        "-1",
    ]
    assert joined(build_parser(), ["--output", "-", "--stream"]) == ["--output", "-", "--stream"]
    assert joined(build_parser(), ["--", "--text", "-a"]) == ["--", "--text", "-a"]


def test_help_explains_texts_that_look_like_options(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert re.search(r"--text=--play", capsys.readouterr().out)


# --- Conversion ----------------------------------------------------------------------------------

CONVERT_VALUES = {
    "--recipe": "small",
    "--quantize": "4",
    "--group-size": "32",
    "--dtype": "float16",
    "--upload-repo": "me/voice",
}
CONVERT_MODES = {
    convert_options.CHECK: ["src", "--check"],
    convert_options.CONVERT: ["src", "out"],
    convert_options.PUBLISH: ["src", "--upload-repo", "me/voice"],
    convert_options.BOTH: ["src", "out", "--upload-repo", "me/voice"],
}


def test_every_option_of_a_conversion_is_done_or_refused():
    parser = convert_options.parser()
    assert set(convert_options.RULES) == set(options(parser))
    for mode, words in CONVERT_MODES.items():
        for name, action in options(parser).items():
            if name in words or name == "--help":
                continue
            extra = [name] if action.nargs == 0 else [name, CONVERT_VALUES.get(name, "9")]
            if name == "--group-size":
                extra += ["--quantize", "4"]
            if name in ("--positions", "--word-errors") and mode == convert_options.CONVERT:
                said = convert_options.misuse(parse(parser, [*words, *extra]))
                assert "add --verify" in said
                extra.append("--verify")
            said = convert_options.misuse(parse(parser, [*words, *extra]))
            if name in ("--upload-repo", "--check"):
                continue  # these select another mode
            is_taken = mode in convert_options.RULES[name].modes
            assert bool(said) != is_taken, (mode, name, said)
            assert is_taken or said.startswith("--")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--show-text", "--play"], "--show-text speaks nothing: leave out --play"),
        (["--show-text", "--save-voice", "v.safetensors"], "leave out --save-voice"),
        (["--show-text", "--redo", "1", "--play"], "leave out --play and --redo"),
        (["--list-chapters", "--play"], "--list-chapters speaks nothing: leave out --play"),
        (["--list-chapters", "--redo", "1"], "leave out --redo"),
        (
            ["--list-chapters", "--show-text"],
            "--show-text and --list-chapters: use only one of them",
        ),
    ],
)
def test_where_nothing_is_spoken_what_is_done_with_speech_is_refused(
    words, message, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("a.md").write_text("# One\n\nText.\n")
    assert main(["--model", "pocket", "--file", "a.md", *words]) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.md"]


@pytest.mark.parametrize("name", ["rows.csv", "texts"])
def test_no_sdh_of_a_batch_without_subtitles_is_refused(name, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("text\nHello.\n")
    Path("texts").mkdir()
    Path("texts/a.txt").write_text("Hello.")
    words = ["--model", "pocket", "--batch", name, "--show-text", "--no-sdh"]
    assert main(words) == 1
    assert "--no-sdh is for subtitles" in capsys.readouterr().err
    Path("texts/b.srt").write_text("1\n00:01 --> 00:02\n[sighs] Yes.\n")
    if name == "texts":
        assert main(words) == 0
        assert capsys.readouterr().out.split("\n") == ["Hello.", "Yes.", ""]


def test_a_row_is_shown_only_in_a_language_that_is_spoken(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("text,language\nHello.,EN\nBonjour.,fr\n")
    assert main(["--model", "pocket", "--batch", "rows.csv", "--show-text"]) == 1
    out, err = capsys.readouterr()
    assert out == "Hello.\n"
    assert "row 2 (0002.wav): english speaks only English, not 'fr'" in err


def test_two_dashes_are_not_a_text(capsys):
    with pytest.raises(SystemExit):
        main(["--text", "--"])
    assert "argument --text: expected one argument" in capsys.readouterr().err
