"""Written English in words: accepted forms by family; plain words stay; time is linear."""

from __future__ import annotations

import gzip
import itertools
import re
import time
from pathlib import Path

import pytest

from mlx_chatterbox.text.spoken import headings, roman, spoken_form
from mlx_chatterbox.text.spoken.numbers import (
    number_words,
    ordinal_words,
    plain_words,
    short_words,
    year_words,
)
from mlx_chatterbox.weights.hub import POCKET_FOLDER

DATA = Path(__file__).parents[1] / "data"


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower().replace("’", "'"))


def table(name: str):
    """(family, text, accepted forms) of a file's lines."""
    family = ""
    for line in (DATA / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("# family: "):
            family = line.removeprefix("# family: ")
        elif line and not line.startswith("# "):
            text, accepted = line.split("\t")
            forms = [form for one in accepted.split(" | ") for form in either(one)]
            values = (text, forms) if len(family) != 2 else (family, text, forms)
            yield pytest.param(*values, id=f"{family}: {text}")


def either(form: str) -> list[str]:
    """The forms that "ten (and/) two (thirds/third)" stands for."""
    parts = re.split(r"\(([^)]*)\)", form)
    return [
        "".join(each)
        for each in itertools.product(
            *(part.split("/") if at % 2 else [part] for at, part in enumerate(parts))
        )
    ]


FILES = ("normalize-en.tsv", "spoken-en.tsv", "spoken-en-more.tsv", "spoken-en-second.tsv")
CASES = [case for name in FILES for case in table(name)]


@pytest.mark.parametrize(("text", "accepted"), CASES)
def test_written_forms_become_words_and_words_stay(text, accepted):
    said = spoken_form(text).text
    assert words(said) in [words(form) for form in accepted], said
    assert spoken_form(said).text == said


def test_there_are_many_cases_in_many_families():
    assert len(CASES) > 1750


PLAIN = """\
When the sunlight strikes raindrops in the air, they act as a prism; don't look!
“I think,” she said, ‘that I am right’ — and so... he left. (Or did he?)
  Two  spaces, and a [laugh], and a [pause 0.8s] stay.

The well-known part-time teacher's café isn't open; rock 'n' roll is. MIX, DIM and CIVIL.
May I march in May? It is. So is Mark. Art can vow; Jan saw Sat.
[clear throat] Is NASA near? "Yes." Then: no - never.
"""


def test_plain_words_stay_to_the_byte():
    assert spoken_form(PLAIN).text == PLAIN
    assert spoken_form("").text == ""
    assert spoken_form(" \n ").text == " \n "


def test_the_words_of_a_dictionary_stay_in_any_case():
    lines = gzip.decompress((POCKET_FOLDER / "lexicon.txt.gz").read_bytes()).decode().splitlines()
    changed = []
    for line in lines:
        word = line.split("\t")[0]
        for written in (f"they {word} it", f"they {word.capitalize()} it"):
            if spoken_form(written).text != written:
                changed.append(word)
    assert set(changed) <= {"approx", "dr", "etc", "ie", "st", "vs", "eg"}


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety nine"),
        (100, "one hundred"),
        (1001, "one thousand one"),
        (1_000_000, "one million"),
        (999_999, "nine hundred ninety nine thousand nine hundred ninety nine"),
        (10**33, "one decillion"),
    ],
)
def test_numbers_in_words(number, said):
    assert number_words(number) == said


def test_ordinals_and_years():
    assert [ordinal_words(n) for n in (1, 2, 3, 12, 20, 21, 100)] == [
        "first",
        "second",
        "third",
        "twelfth",
        "twentieth",
        "twenty first",
        "one hundredth",
    ]
    assert year_words(1984) == "nineteen eighty four"
    assert year_words(1900) == "nineteen hundred"
    assert year_words(1905) == "nineteen oh five"
    assert year_words(2003) == "two thousand three"
    assert year_words(2026) == "twenty twenty six"


def test_numbers_of_rooms_and_long_numbers():
    assert [short_words(text) for text in ("101", "237", "200", "12", "1549", "007")] == [
        "one oh one",
        "two thirty seven",
        "two hundred",
        "twelve",
        "fifteen forty nine",
        "oh oh seven",
    ]
    digits = "12345678901234567"
    assert plain_words(digits) == " ".join(number_words(int(digit)) for digit in digits)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Off by 10^-4 in all.", "Off by ten to the minus four in all."),
        ("Chapter II and I left.", "Chapter two and I left."),
        ("Well, OK. Tulsa, OK.", "Well, OK. Tulsa, Oklahoma."),
        ("He said no. I agree.", "He said no. I agree."),
        ("Take 10 A students.", "Take ten A students."),
        ("Part C. Type X. Model V.", "Part C. Type ten. Model five."),
        ("the N/A row", "the not applicable row"),
        ("Sat. The Sun. He sat.", "Sat. The Sun. He sat."),
        ("5 left. 24 came.", "Five left. Twenty four came."),
        ("He has 5. 6 left.", "He has five. Six left."),
        ("No. 5 is on p. 3.", "Number five is on page three."),
        ("He came at 5 p.m. She left.", "He came at five p m. She left."),
        ("In the U.S. The end.", "In the U S. The end."),
        ("the U.S. Army", "the U S Army"),
        ("Cats, dogs, etc. Then birds, etc. and more.",
         "Cats, dogs, et cetera. Then birds, et cetera and more."),
        ("Read it (5 pages).", "Read it (five pages)."),
        ("“5,” he said.", "“Five,” he said."),
    ],
)  # fmt: skip
def test_sentences_begin_and_end_as_before(text, said):
    assert spoken_form(text).text == said


def test_tags_and_pauses_are_not_read():
    text = "Wait [pause 0.8s] for 2 [laugh] or [pause 500ms]."
    assert spoken_form(text).text == "Wait [pause 0.8s] for two [laugh] or [pause 500ms]."


def test_emoji_are_left_out_and_named():
    form = spoken_form("Great 👍🏽 job 😀😀!")
    assert form.text == "Great job!"
    assert set("👍😀") <= set(form.left_out)
    assert spoken_form("Great job!").left_out == ()


@pytest.mark.parametrize(
    "sentence",
    [
        "It was {}. I left, and so on.",
        "So the {}. I am here.",
        "The {} I like best.",
        "He {}, I said.",
        "We met {c}. I left.",
    ],
)
def test_the_pronoun_i_is_never_a_numeral(sentence):
    lines = gzip.decompress((POCKET_FOLDER / "lexicon.txt.gz").read_bytes()).decode().splitlines()
    some = {line.split("\t")[0] for line in lines[::25]}
    words_of = sorted(some | roman._HEADINGS | roman._REGNAL | {*headings._HEADINGS})
    words_of = [word for word in words_of if "." not in word]
    said = [spoken_form(sentence.format(word, c=word.capitalize())).text for word in words_of]
    lost = [word for word, text in zip(words_of, said, strict=True) if " I " not in text]
    assert set(lost) <= {"bk", "ch", "pt", "vol", "vols"}


HOSTILE = {
    "digits": "1" * 100_000,
    "1,": "1," * 100_000,
    "1,...a": "1," * 100_000 + "1a",
    "1.": "1." * 50_000,
    "1-": "1-" * 100_000,
    "1 ": "1 " * 30_000,
    "000 ": "000 " * 50_000,
    "a.": "a." * 50_000,
    "a@": "a@" * 50_000,
    "1/": "1/" * 20_000,
    "a-1": "a-1" * 50_000,
    "letters": "x" * 100_000,
    "capitals": "X" * 100_000,
    "$": "$" * 100_000,
    "[": "[" * 100_000,
    "[a](": "[a](" * 50_000,
    "http": "http://" * 20_000,
    "*a": "*a" * 50_000,
    "spaces": " " * 100_000 + "1",
    "lines": "\n" * 100_000 + "1",
    "emoji": "😀" * 100_000,
    "quotes": '1"' * 30_000,
    "fractions": "½" * 50_000,
    "numerals": "I-" * 30_000,
    "chapters": "Chapters I, " * 8_000,
    "lists": "I and " * 15_000,
    "days": "Sat., " * 15_000,
    "dates": "12/5-" * 15_000,
    "equations": "x - " * 20_000,
    "subscripts": "x₁" * 30_000,
    "stars": "5*" * 30_000,
    "seconds": "1 s " * 15_000,
    "prices": "£1 1s. " * 8_000,
    "durations": "9h 8m 7s " * 8_000,
    "hours": "1h" * 30_000,
    "decades": "30s and " * 8_000,
    "coins": "10s. " * 15_000,
    "headings": "Vols. I, " * 8_000,
    "crowns": "kr 1" * 20_000,
    "lakhs": "₹1 lakh-" * 8_000,
    "places": "1°1′1″" * 10_000,
    "letters with stops": "R 1 000 " * 10_000,
    "to dates": "1815 – 2 May " * 6_000,
}


@pytest.mark.parametrize("character", ["1", ".", " ", "a", "A", "-", ",", "\n"])
@pytest.mark.parametrize("language", ["en", "de", "fr"])
def test_fifty_thousand_characters_take_less_than_a_second(character, language):
    spoken_form("1", language)
    start = time.process_time()
    spoken_form(character * 50_000, language)
    # 0.1 s on the author's machine.
    assert time.process_time() - start < 1


@pytest.mark.parametrize("name", HOSTILE)
def test_time_is_linear_in_the_text(name):
    text = HOSTILE[name]
    spoken_form(text[:1000])

    def seconds(size: int) -> float:
        start = time.process_time()
        spoken_form(text[-size:])
        return time.process_time() - start

    half, whole = seconds(len(text) // 4), seconds(len(text))
    # A quarter of the text takes a quarter of the time; quadratic time would be a sixteenth.
    assert whole < 9 * half + 0.2
