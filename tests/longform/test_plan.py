"""A text becomes pieces: nothing lost, pauses where they belong, chapters at headings."""

import random

import pytest

from mlx_chatterbox.errors import TextError
from mlx_chatterbox.longform.blocks import (
    AFTER_HEADING,
    BEFORE_HEADING,
    BREAK,
    CLAUSE,
    COMMA,
    ELLIPSIS,
    PARAGRAPH,
    SENTENCE,
    Block,
    pause_after,
    plan_blocks,
)
from mlx_chatterbox.longform.plan import LONGEST, Piece, longest_of
from mlx_chatterbox.longform.split import plan_text
from mlx_chatterbox.models.chattts.config import ChatTTSConfig
from mlx_chatterbox.models.config import CHATTTS_TYPE, GenerationConfig, ModelConfig
from mlx_chatterbox.text.pauses import PLAIN_PAUSE
from mlx_chatterbox.text.scripts import spoken_length
from mlx_chatterbox.weights.variants import VARIANTS

STORY = "The old house stood at the end of the road, and nobody had lived in it for many years."


def letters(pieces) -> str:
    text = pieces if isinstance(pieces, str) else "".join(piece.text for piece in pieces)
    return "".join(filter(str.isalnum, text))


def test_paragraphs_and_sentences_have_their_pauses():
    found = plan_text(f"{STORY} {STORY}\n\n{STORY} Was it so...\n\n{STORY}", longest=100)
    assert [piece.text for piece in found] == [STORY, STORY, f"{STORY} Was it so...", STORY]
    assert [piece.pause for piece in found] == [SENTENCE, PARAGRAPH, PARAGRAPH, 0.0]


@pytest.mark.parametrize(
    ("text", "pause"),
    [
        ("Yes.", SENTENCE),
        ("“Yes!”", SENTENCE),
        ("« Oui ? »", SENTENCE),
        ("是的。", SENTENCE),
        ("हाँ।", SENTENCE),
        ("Well...", ELLIPSIS),
        ("Well…", ELLIPSIS),
        ("as follows:", CLAUSE),
        ("but —", CLAUSE),
        ("and,", COMMA),
        ("今日は、", COMMA),
        ("cut anywhere", 0.0),
        ("", 0.0),
    ],
)
def test_the_pause_is_that_of_the_last_mark(text, pause):
    assert pause_after(text) == pause


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("[pause 0.8s]", 0.8),
        ("[pause 2]", 2.0),
        ("[Pause: 1,5 sec]", 1.5),
        ("[ pause 300ms ]", 0.3),
        ("[pause=.25 seconds]", 0.25),
        ("[pause]", PLAIN_PAUSE),
        ("[pause 1s] [pause 1s]", 2.0),
    ],
)
def test_a_pause_that_is_written_is_kept_exactly(written, seconds):
    found = plan_text(f"He waited, {written} and then he went home again.")
    assert [piece.text for piece in found] == ["He waited,", "and then he went home again."]
    assert found[0].pause == pytest.approx(seconds)
    assert found[1].pause == 0.0


def test_pauses_at_the_ends_of_a_text_are_kept():
    assert plan_text(f"[pause 1s] {STORY} [pause 2s]") == [Piece("", 1.0), Piece(STORY, 2.0)]
    assert plan_text("[pause 3s]") == [Piece("", 3.0)]


@pytest.mark.parametrize("written", ["[pause soon]", "[pause -1s]", "[pause 1h]", "[pause 61s]"])
def test_an_invalid_pause_is_an_error(written):
    with pytest.raises(TextError, match="pause"):
        plan_text(f"Well {written} then.")


def test_a_word_that_begins_like_a_pause_is_not_a_pause():
    assert plan_text("He [pauses] and goes on to the next house.")[0].text.count("[pauses]") == 1


def test_short_paragraphs_are_spoken_together():
    text = '"Yes," she said.\n\n"No."\n\nMilk\n\nEggs\n\n' + STORY
    found = plan_text(text)
    assert [piece.text for piece in found] == ['"Yes," she said. "No." Milk. Eggs. ' + STORY]
    # Two paragraphs too long for one piece are cut again, and the short one is not left alone.
    words = [piece.text for piece in plan_text(f"Yes.\n\n{STORY} {STORY}", longest=150)]
    assert words == [f"Yes. {STORY}", STORY]
    # Paragraphs are not joined over a break, a heading or a written pause.
    text = f"{STORY}\n\nYes.\n\n***\n\nNo.\n\nChapter 2\n\nWell.\n\n[pause 1s]\n\nSo."
    words = [piece.text for piece in plan_text(text)]
    assert words == [f"{STORY} Yes.", "No.", "Chapter 2", "Well.", "So."]
    # A last one goes to the paragraph before it.
    assert plan_text(f"{STORY}\n\nThe end.") == [Piece(f"{STORY} The end.")]


def test_headings_stand_alone_and_begin_chapters():
    text = f"{STORY}\n\nChapter 1: The road\n\n{STORY}\n\n* * *\n\n{STORY}\n\nEpilogue\n\n{STORY}"
    found = plan_text(text)
    assert [piece.chapter for piece in found] == [
        None, "Chapter 1: The road", None, None, "Epilogue", None,
    ]  # fmt: skip
    assert [piece.pause for piece in found] == [
        BEFORE_HEADING, AFTER_HEADING, BREAK, BEFORE_HEADING, AFTER_HEADING, 0.0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("language", "line", "is_heading"),
    [
        ("en", "Chapter 12", True),
        ("en", "CHAPTER XII. In which nothing happens", True),
        ("en", "Chapter one was long, and he fell asleep.", False),
        ("en", "Part of me wanted to go.", False),
        ("en", "Kapitel 3", False),
        ("en", "CHAPTER I.\nDown the Rabbit-Hole", True),
        ("en", "Chapter one\nwas long, and he fell asleep over it.", False),
        ("en", "XIV.", True),
        ("en", "12", True),
        ("en", "12 men came", False),
        ("de", "3. Kapitel war gut.", False),
        ("de", "Kapitel 3", True),
        ("fr", "Chapitre III", True),
        ("ru", "Глава 5", True),
        ("zh", "第三章 回家", True),
        ("zh", "第三章说的是回家。", False),
        ("ja", "第12話", True),
        ("ko", "제 3 장", True),
        ("hi", "अध्याय 3", True),
    ],
)
def test_headings_of_plain_text(language, line, is_heading):
    found = plan_text(f"{line}\n\n{STORY}", language)
    assert (found[0].chapter == line.replace("\n", " ")) == is_heading


def test_the_two_highest_levels_begin_chapters():
    blocks = [Block("heading", f"Level {level}", level) for level in (2, 4, 3, 2)]
    found = plan_blocks(blocks, "en", 280)
    assert [piece.chapter for piece in found] == ["Level 2", None, "Level 3", "Level 2"]


def test_a_title_that_is_not_spoken_marks_what_comes_next():
    blocks = [Block("paragraph", STORY), Block("chapter", "Two"), Block("paragraph", STORY)]
    assert [piece.chapter for piece in plan_blocks(blocks, "en", 280)] == [None, "Two"]


def test_without_letters_there_is_nothing():
    for text in ("", " \n\n ", "...", "* * *\n\n—"):
        assert plan_text(text) == []


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends_do_not_matter(line_end):
    text = f"{STORY}\n{STORY}\n \n{STORY}"
    assert plan_text(text.replace("\n", line_end)) == plan_text(text)


@pytest.mark.parametrize(
    ("language", "longest"), [("en", 280), ("de", 60), ("ja", 100), ("ar", 240)]
)
def test_no_letter_is_lost(language, longest):
    """Plans of random paragraphs, headings, breaks and pauses keep every letter."""
    words = {
        "en": ["Chapter", "Dr.", "yes.", "no,", "…", "house", "3.5", '"Well!"', "[laugh]"],
        "de": ["Kapitel", "z. B.", "ja.", "3.", "Mai", "„Gut“,", "usw.", "Straße"],
        "ja": ["第一章", "今日は", "「はい。」", "と", "言った。", "、", "3.5"],
        "ar": ["فصل", "كتاب،", "نعم؟", "د.", "لا."],
    }[language]
    generator = random.Random(longest)
    for _ in range(60):
        paragraphs = [
            " ".join(generator.choice(words) for _ in range(generator.randrange(1, 60)))
            for _ in range(generator.randrange(1, 8))
        ]
        text = "\n\n".join(paragraphs)
        found = plan_text(text, language, longest)
        assert letters(found) == letters(text)
        assert all(spoken_length(piece.text) <= longest for piece in found)
        assert all(letters(piece.text) for piece in found)
        with_pauses = " [pause 0.1s] ".join(paragraphs)
        assert letters(plan_text(with_pauses, language, longest)) == letters(text)


def test_every_variant_has_a_length_and_a_checkpoint_its_own():
    assert set(LONGEST) == {*VARIANTS, CHATTTS_TYPE}
    assert longest_of(ChatTTSConfig()) == LONGEST[CHATTTS_TYPE]
    # Turbo garbles past about 350.
    assert LONGEST["turbo"] < 350
    assert longest_of(ModelConfig(variant="turbo")) == LONGEST["turbo"]
    pocket = ModelConfig(generation=GenerationConfig(longest_piece=120))
    assert longest_of(pocket) == 120
