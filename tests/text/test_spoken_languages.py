"""The other languages: numbers, ordinals, decimals, percentages, money and measures of CLDR."""

from __future__ import annotations

import re
import time

import pytest

from mlx_chatterbox.text.multilingual import SUPPORTED_LANGUAGES
from mlx_chatterbox.text.spoken import reader_of, spoken_form
from tests.text.test_spoken import table

NUMBERS = "0 1 2 7 21 100 1984 2005 12345 1000000 999999999999999 007 3,14 3.14 1.234.567 1,234.5"
OTHERS = "5 km 1 km 20 °C 5 € 1 € 3,50 € $5 50% 5-10 7:05 -5 & 2024 0123456 [pause 0.5s]"


@pytest.mark.parametrize("language", SUPPORTED_LANGUAGES)
def test_no_digit_is_left_in_any_language(language):
    said = spoken_form(f"{NUMBERS} {OTHERS}", language).text
    assert not any(map(str.isdigit, said.replace("[pause 0.5s]", ""))), said
    assert "[pause 0.5s]" in said
    assert spoken_form(said, language).text == said


@pytest.mark.parametrize("language", SUPPORTED_LANGUAGES)
def test_hostile_numbers_are_read(language):
    for text in ("9" * 5000, "1," * 5000, "1." * 5000, "1-" * 5000, "-" * 5000, "1 " * 2000):
        assert not any(map(str.isdigit, spoken_form(text, language).text))


CASES = [
    ("de", "Am 3. Mai 1984 um 7:05 Uhr kamen 1.000.000 Leute.",
     "Am dritten Mai neunzehnhundertvierundachtzig um sieben Uhr fünf kamen eine Million Leute."),
    ("de", "Es sind 3,5 km und 1 kg, 50 % für 20 €.",
     "Es sind drei Komma fünf Kilometer und ein Kilogramm, fünfzig Prozent für zwanzig Euro."),
    ("de", "Es kostet 3,50 €.", "Es kostet drei Euro fünfzig."),
    ("de", "Von -5 bis 5-10 Grad.", "Von minus fünf bis fünf bis zehn Grad."),
    ("fr", "Le 1er mai, la 2e fois, 21 personnes.",
     "Le premier mai, la deuxième fois, vingt-et-une personnes."),
    ("fr", "80 000 € et 1,5 kg à 17h45.",
     "quatre-vingt mille euros et un virgule cinq kilogramme à dix-sept heures quarante-cinq."),
    ("es", "Hay 1.234 personas, 5 km y 50%.",
     "Hay mil doscientas treinta y cuatro personas, cinco kilómetros y cincuenta por ciento."),
    ("es", "El 1º y la 2ª.", "El primero y la segunda."),
    ("it", "Nel 1999 con 3,5 euro.", "Nel millenovecentonovantanove con tre virgola cinque euro."),
    ("pt", "São 21 km.", "São vinte e um quilômetros."),
    ("nl", "De 2e keer, 10 %.", "De tweede keer, tien procent."),
    ("pl", "2 km i 5 km, 3,14.", "Dwa kilometry i pięć kilometrów, trzy przecinek jeden cztery."),
    ("ru", "Это 2 км и 5 км, 1 %.", "Это два километра и пять километров, один процент."),
    ("ru", "5 рублей", "Пять рублей"),
    ("sv", "Den 2:a gången kostade 5 kr.", "Den andra gången kostade fem svenska kronor."),
    ("fi", "5 km ja 1 km", "Viisi kilometriä ja yksi kilometri"),
    ("tr", "%50 ve 3,5", "Yüzde elli ve üç virgül beş"),
    ("zh", "2024年有1,234人，3.14和50%。", "二零二四年有一千二百三十四人，三点一四和百分之五十。"),
    ("ja", "2024年に５人", "二千二十四年に五人"),
    ("ko", "2024년 50%", "이천이십사년 오십 퍼센트"),
    ("hi", "१२ लोग, 1,23,456", "बारह लोग, एक लाख तेईस हज़ार चार सौ छप्पन"),
    ("pl", "12.03.2024", "Dwanaście, trzy, dwa tysiące dwadzieścia cztery"),
    ("zh", "2024-03-05", "二零二四年三月五日"),
    ("ja", "2024/3/5", "二千二十四年三月五日"),
    ("ko", "2024-06-10", "이천이십사년 유월 십일"),
    ("fr", "H₂O, A320 et COVID-19", "H deux O, A trois cent vingt et COVID dix-neuf"),
    ("de", "Ruf 030 1234567 oder +49 30 123456 an.",
     "Ruf null drei null, eins zwei drei vier fünf sechs sieben oder plus vier neun, drei null, "
     "eins zwei drei vier fünf sechs an."),
    ("ar", "عندي ٣ كتب", "عندي ثلاثة كتب"),
]  # fmt: skip


@pytest.mark.parametrize(("language", "text", "said"), CASES)
def test_other_languages(language, text, said):
    found = spoken_form(text, language).text
    assert found.lower() == said.lower()


EUROPEAN = [*table("spoken-european.tsv")]


def letters(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower().replace("’", "'"))


@pytest.mark.parametrize(("language", "text", "accepted"), EUROPEAN)
def test_forms_of_native_speakers(language, text, accepted):
    said = spoken_form(text, language).text
    assert letters(said) in [letters(form) for form in accepted], said
    assert spoken_form(said, language).text == said


def test_there_are_many_lines_of_each_language():
    counts = dict.fromkeys(("de", "fr", "es", "it", "pt", "nl"), 0)
    for case in EUROPEAN:
        counts[case.values[0]] += 1
    assert min(counts.values()) > 40, counts


HOSTILE = ("1", "1.", "1,", "1 ", "a ", "a.", "A.", "I ", "1/", "1/2 ", "€", "€1 ", "1 M", "1.1.",
           "a@", "a@a.", "1-", "- ", "1 + ", "z. ", "²", "x²", "½", "am 1.", "1. A", "der 1. ", "§",
           "www.", "Mio. ", "(", "*", "1:", "str.", "01 ", "N.º ")  # fmt: skip


def test_time_is_linear_in_the_text():
    # Patterns differ in words only: each language tests its share.
    for at, unit in enumerate(HOSTILE):
        language = ("de", "fr", "es", "it", "pt", "nl")[at % 6]
        spoken_form("1", language)
        text = (unit * 15_000)[:15_000]
        start = time.process_time()
        spoken_form(text, language)
        # About 0.1 s; quadratic time would be minutes.
        assert time.process_time() - start < 3, (language, unit)


@pytest.mark.parametrize(
    ("language", "text", "left"),
    [
        ("de", "Die NATO tagt, Bd. mit 5 ⌘.", ("Bd.", "NATO", "⌘")),
        ("fr", "La S.A. est là, l’ONU aussi.", ("S.A.", "ONU")),
        ("es", "Hola... sí. ¿No? A las 5.", ()),
        ("de", "DIE NATO SAGT NEIN", ()),
        ("pl", "XIV wiek, 5 km", ("XIV",)),
        ("en", "The NATO is ⌘", ()),
    ],
)
def test_what_no_rule_writes_out_is_named(language, text, left):
    assert spoken_form(text, language).as_written == left


@pytest.mark.parametrize("language", SUPPORTED_LANGUAGES)
def test_plain_words_of_other_languages_stay(language):
    from tests.text.sentences import sentences

    for text in sentences(language):
        if not any(map(str.isdecimal, text)):
            assert spoken_form(text, language).text == text


def test_an_unknown_language_changes_nothing():
    assert reader_of("xx") is None
    assert reader_of(None) is None
    assert spoken_form("5 km 😀", "xx").text == "5 km 😀"
    assert spoken_form("5 km", "DE-at").text == "Fünf Kilometer"


@pytest.mark.parametrize("digits", [18, 29, 40, 5000])
@pytest.mark.parametrize("code", ["fr", "es", "it", "pt", "pl", "ru", "de", "ar"])
def test_numbers_of_any_length_are_spoken(code, digits):
    """The library that chooses the form after a number cannot divide long ones."""
    pytest.importorskip("unicode_rbnf")
    nines = "9" * digits
    for text in (f"{nines} kg", f"{nines} €", f"{nines} %", f"$ {nines}", f"1,{nines} km"):
        assert spoken_form(text, code).text
