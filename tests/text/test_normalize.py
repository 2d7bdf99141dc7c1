"""`normalize=`, `--normalize`, `--show-text`: speech, output and warnings."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import pytest

from mlx_chatterbox.api.tts import ChatterboxTTS
from mlx_chatterbox.generate import main
from mlx_chatterbox.longform.job import STATE_NAME, Job
from mlx_chatterbox.longform.split import plan_text
from mlx_chatterbox.longform.wording import job_writing
from mlx_chatterbox.models.config import ModelConfig, TextConfig
from mlx_chatterbox.text.pauses import segments
from mlx_chatterbox.text.unwritten import unknown, unwritten
from mlx_chatterbox.text.writing import writing_for
from mlx_chatterbox.weights.hub import POCKET_FOLDER
from tests.longform.job_stub import StubTTS, document

ON, OFF = TextConfig(normalize=True), TextConfig()


@pytest.fixture
def show(capsys, tmp_path):
    """Function that runs `--show-text`: exit code, lines on standard output, and standard error."""

    def run(*arguments, model="pocket"):
        words = ["--model", model, "--show-text", *arguments]
        words += [] if "--batch" in arguments else ["--output", tmp_path / "out.wav"]
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    run.folder = tmp_path
    return run


def test_it_is_on_for_pocket_and_flash_and_off_for_the_others():
    from mlx_chatterbox.weights.variants import VARIANTS

    assert ModelConfig.load(POCKET_FOLDER).text.normalize
    on = [name for name, row in VARIANTS.items() if row.default_config().text.normalize]
    # Flash was trained with written-out texts alone.
    assert on == ["flash"]
    assert not TextConfig.from_dict({}).normalize


def test_the_checkpoint_decides_unless_the_caller_does():
    assert writing_for(ON, None)("5 cats") == "Five cats"
    assert writing_for(OFF, None)("5 cats") == "5 cats"
    assert writing_for(OFF, None, True)("5 cats") == "Five cats"
    assert writing_for(ON, None, False)("5 cats") == "5 cats"


def test_respellings_come_first():
    writing = writing_for(ON, None, lexicon={"=FBI": "the bureau", "10km": "ten K"})
    assert writing("FBI, CIA, 10km, 5km") == "the bureau, C I A, ten K, five kilometers"


def test_a_multilingual_model_reads_its_language():
    config = TextConfig(tokenizer="multilingual", normalize=True)
    assert writing_for(config, "de")("5 km") == "Fünf Kilometer"
    unknown = writing_for(config, "xx")
    assert unknown("5 km") == "5 km"
    assert "no rules for the language 'xx'" in str(unknown.notes()[0])
    assert unknown.notes() == []
    assert "without a language" in str(writing_for(config, None).notes()[0])


def test_what_is_cut_is_as_long_as_it_is_spoken():
    text = "It cost $1,234,567.89 in all, and $7,654,321.98 more. Then Dr. Smith left for good."
    for limit in (60, 120, 180):
        writing = writing_for(ON, None)
        pieces = [piece.text for piece in plan_text(text, "en", writing.room(limit))]
        assert " ".join(pieces) == text
        spoken = [segment.text for segment in segments(writing(text), limit, "en")]
        assert max(map(len, spoken)) <= limit
        for piece in pieces:
            # An expression read as a unit is not cut at any length.
            assert len(writing(piece)) <= limit or len(piece.split()) < 5
            assert not piece.endswith("Dr.")


def test_expressions_read_as_a_unit_are_not_cut():
    text = "word " * 7 + "on March 5, 2024 at 5:30 p.m. in 5 Main St. for $5 million dear words"
    writing = writing_for(ON, None)
    for limit in range(20, 90):
        pieces = [piece.text for piece in plan_text(text, "en", writing.room(limit))]
        assert " ".join(pieces) == text
        for whole in ("March 5, 2024", "5:30 p.m.", "5 Main St.", "$5 million"):
            assert any(whole in piece for piece in pieces), (limit, pieces)


def test_without_rules_texts_are_cut_as_before():
    text = "It cost $1,234,567.89 in all. Then Dr. Smith left for good, at 5:30 p.m., I think."
    limit = writing_for(OFF, None).room(60)
    assert type(limit) is int
    assert plan_text(text, "en", limit) == plan_text(text, "en", 60)


def test_python_speaks_the_same_as_words(small_checkpoint, recording):
    tts = ChatterboxTTS.from_local(small_checkpoint)
    tts.prepare_conditionals(recording)
    settings = {"seed": 1, "max_new_tokens": 4, "n_cfm_timesteps": 1, "guard": False}
    tts.generate("Five cats.", **settings)
    words = tts.last_tokens
    tts.generate("5 cats.", normalize=True, **settings)
    assert tts.last_tokens == words
    tts.generate("5 cats.", **settings)
    as_written = tts.last_tokens
    tts.generate("5 cats.", normalize=False, **settings)
    assert tts.last_tokens == as_written
    batch = []
    tts.generate_batch(
        ["5 cats."], normalize=True, finished=lambda *one: batch.append(one[2]), **settings
    )
    assert list(batch[0][0].tokens) == words
    list(tts.stream("5 cats.", normalize=True, **settings))
    assert tts.last_tokens == words
    with pytest.warns(UserWarning, match="left out, since it has no words: 😀"):
        tts.generate("5 cats 😀.", normalize=True, **settings)
    assert tts.last_tokens == words


def test_show_text_prints_pieces_and_nothing_else(show):
    code, lines, err = show("--text", "It cost $3.50. " * 8 + "Dr. Smith left.")
    assert code == 0
    assert len(lines) > 1
    assert " ".join(lines) == "It cost three dollars and fifty cents. " * 8 + "Doctor Smith left."
    assert err == ""
    assert list(show.folder.iterdir()) == []


def test_show_text_of_a_document(show):
    path = show.folder / "book.txt"
    path.write_text(
        "Chapter IV\n\nDr. Smith paid $5 million.\n\n* * *\n\nHe left. [pause 1s] So.\n"
    )
    code, lines, err = show("--file", path)
    assert code == 0
    assert lines[0] == "Chapter four"
    text = " ".join(lines)
    assert text == "Chapter four Doctor Smith paid five million dollars. He left. So."
    assert err == ""
    assert sorted(one.name for one in show.folder.iterdir()) == ["book.txt"]


def test_show_text_of_a_batch(show):
    path = show.folder / "rows.csv"
    path.write_text('text,output\n"It cost $5.",a.wav\n...,b.wav\nHello 7.,c.wav\n')
    code, lines, _ = show("--batch", path)
    assert code == 0
    assert lines == ["It cost five dollars.", "Hello seven."]
    assert sorted(one.name for one in show.folder.iterdir()) == ["rows.csv"]


def test_show_text_respells_first(show):
    path = show.folder / "lexicon.tsv"
    path.write_text("Siobhan\tshivawn\n")
    assert show("--text", "Siobhan, 5", "--lexicon", path)[1] == ["Shivawn, five"]


def test_show_text_loads_no_weights(show, tmp_path):
    # Only the name is needed of an upstream model that is not on this machine.
    code, lines, err = show("--text", "It cost $5.", model="chatterbox")
    assert (code, lines) == (0, ["It cost $5."])
    assert "digits are read as the model learnt to" in err
    for name in ("config.json", "tokenizer.json", "lexicon.txt.gz"):
        (tmp_path / name).write_bytes((POCKET_FOLDER / name).read_bytes())
    assert show("--text", "It cost $5.", model=tmp_path)[1] == ["It cost five dollars."]


def test_show_text_imports_no_network():
    code = (
        "import sys; from mlx_chatterbox.generate import main;"
        "main(['--model', 'pocket', '--show-text', '--text', '5 cats']);"
        "assert 'mlx_chatterbox.api.tts' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Five cats\n"


def test_show_text_of_another_language(show, small_models):
    model = small_models("multilingual")
    code, lines, _ = show("--text", "5 km", "--language", "de", "--normalize", model=model)
    assert (code, lines) == (0, ["Fünf Kilometer"])
    code, lines, err = show("--text", "5 km", "--normalize", model=model)
    assert (code, lines) == (1, [])
    assert "--language is required" in err


def test_unread_text_is_named_once(show, small_checkpoint):
    text = "5 cats and 7 dogs for 3 € 😀."
    _, lines, err = show("--text", text, "--no-normalize", model=small_checkpoint)
    assert lines == [text]
    assert len(err.splitlines()) == 1
    assert "digits are read as the model learnt to" in err
    assert "does not know" in err
    assert "€" in err
    assert "😀" in err
    assert "--normalize" in err
    _, _, err = show("--text", text, "--normalize", model=small_checkpoint)
    assert err.splitlines() == ["mlx-chatterbox: note: left out, since it has no words: 😀"]
    assert show("--text", "Five cats.", model=small_checkpoint)[2] == ""


def test_unread_is_empty_for_plain_words(checkpoint):
    plain = ["Plain words, and more of them..."]
    assert unwritten(plain, checkpoint.tokenizer) == unknown(plain, checkpoint.tokenizer) == ""
    assert unwritten(["5"], None) == "digits are read as the model learnt to"
    assert unknown(["5"], None) == ""


def test_jobs_remember_how_their_texts_are_written(tmp_path):
    tts = StubTTS(tmp_path / "model")
    tts.checkpoint.config.text = ON
    for asked, expected in ((None, True), (False, False), (None, False), (True, True)):
        with Job(tmp_path / "out.job") as job:
            writing = job_writing(job, tts, None, None, asked)
            job.save()
        assert writing.normalizes is expected


def test_a_job_begun_before_keeps_its_text(tmp_path):
    from mlx_chatterbox.longform.book import speak_document

    tts = StubTTS(tmp_path / "model")
    output = tmp_path / "out.wav"
    book = document(["It cost $5.", "Hello there."])
    speak_document(tts, book, output, seed=1)
    assert tts.texts == ["It cost $5.", "Hello there."]
    state = json.loads((tmp_path / "out.wav.job" / STATE_NAME).read_text())
    del state["normalize"]  # as jobs were before
    (tmp_path / "out.wav.job" / STATE_NAME).write_text(json.dumps(state))
    tts.said.clear()
    tts.checkpoint.config.text = ON
    speak_document(tts, book, output, seed=1)
    assert tts.texts == []
    speak_document(tts, book, output, seed=1, normalize=True)
    assert tts.texts == ["It cost five dollars.", "Hello there."][:1]


def test_a_new_job_is_written_out(tmp_path):
    from mlx_chatterbox.longform.book import speak_document

    tts = StubTTS(tmp_path / "model")
    tts.checkpoint.config.text = ON
    output = tmp_path / "out.wav"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        speak_document(tts, document(["It cost $5."]), output, seed=1, subtitles="srt")
    assert tts.texts == ["It cost five dollars."]
    # Subtitles and the manifest show what is written.
    assert "$5" in output.with_suffix(".srt").read_text()
    manifest = json.loads((tmp_path / "out.wav.job" / "manifest.json").read_text())
    assert manifest["normalize"] is True
    assert manifest["pieces"][0]["text"] == "It cost $5."


def test_what_is_left_of_another_language_is_named(show, small_models):
    model = small_models("multilingual")
    arguments = ("--text", "Um 5 Uhr ⌘ und ¶.", "--language", "de")
    code, lines, err = show(*arguments, "--normalize", model=model)
    assert (code, lines) == (0, ["Um fünf Uhr ⌘ und ¶."])
    assert "does not know" in err
    assert "read as written, since there are no rules for it in 'de': '⌘'" in err
    assert "digits" not in err
    assert "--normalize" not in err


def test_letters_that_stay_unknown_are_named_where_nothing_is_spoken(show):
    code, lines, err = show("--text", "Привет, 5 cats.")
    assert (code, lines) == (0, ["Привет, five cats."])
    assert "the model does not know 'Привет'" in err
