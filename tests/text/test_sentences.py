"""Ends of sentences, language by language; and that cutting a text loses none of it."""

import random

import pytest

from mlx_chatterbox.text.clauses import pieces
from mlx_chatterbox.text.multilingual import SUPPORTED_LANGUAGES
from mlx_chatterbox.text.scripts import flowed, glue, spoken_length
from mlx_chatterbox.text.sentence_rules import RULES
from mlx_chatterbox.text.sentences import sentences

# Sentences that follow each other in a text, and must be found again.
TEXTS = [
    # Abbreviations, initials, acronyms.
    ("en", ["He met Dr. Smith at 5 p.m. on Friday.", "Then he left."]),
    ("en", ["J. R. R. Tolkien wrote it.", "Mr. and Mrs. X. came, i.e. all.", "Good."]),
    ("en", ["It was 5 p.m.", "He left the U.S. Army.", "She lives in the U.S.", "They do not."]),
    ("en", ["I was born in Dec. 1990.", "No. 5 is alive!", "No.", "That is it."]),
    ("en", ["See Fig. 3 on p. 12, vol. II.", "You and I.", "Did you?", "Plan B.", "The end."]),
    ("en", ["Apples, pears, etc. were there.", "Smith, Jones, etc.", "We saw them."]),
    # Decimals, versions, addresses.
    ("en", ["It cost $3.50 in 1990.", "Version 2.0.1 is out!", "Visit example.com today."]),
    ("en", ["Pi is 3.14159.", "1. First thing.", "2. Second thing."]),
    # Quotes, brackets, dashes.
    ("en", ['"Stop!" he said.', '"Why?" she asked.', "He said, “Go.”", "“No.”", "(Yes.)"]),
    ("en", ["What?!", "Really?", "'Quoted.'", "— Well?", "— Now!"]),
    # Ellipses.
    ("en", ["Well... maybe not.", "Well… I know.", "Wait . . . what?", "Silence...", "Noise."]),
    ("en", ["Yes [clear throat] no.", "Oh [laugh]!", "Yahoo! is a company."]),
    # Ordinals.
    ("de", ["Am 3. Oktober 1990 war es so weit.", "Z. B. kam Dr. Müller.", "Das war's."]),
    ("de", ["Der 2. Weltkrieg begann 1939.", "König Ludwig II. war Bayer."]),
    ("de", ["Er kam am 5.", "Dann ging er zum 12. Mal."]),
    ("de", ["Er kostet ca. 3,50 Euro, d. h. wenig, bzw. nichts.", "Ja."]),
    ("de", ["„Komm!“ sagte er.", "»Ja.«", "Gut."]),
    ("de", ["Äpfel, Birnen usw. liegen da.", "Siehe Abb. 3 und Nr. 7.", "Schön!"]),
    ("da", ["Det er f.eks. godt.", "Den 3. maj kom han.", "Hr. Hansen, fru Jensen m.fl. var der."]),
    ("no", ["Det er f.eks. bra.", "Den 17. mai er en festdag.", "Dr. Berg kom."]),
    ("sv", ["Det är t.ex. bra.", "Dr. Berg, m.fl. kom.", "Ja."]),
    ("fi", ["Tapaamme 3. toukokuuta.", "Esim. näin.", "Hyvä!"]),
    ("fr", ["M. Dupont et Mme. Durand sont là.", "« Où ? » dit-il.", "« Ici. »", "Il va."]),
    ("fr", ["C'est vrai, p. ex. ici.", "Pourquoi ?", "Parce que !"]),
    ("es", ["¿Qué tal?", "El Sr. García vive en EE. UU. desde 1990.", "¡Hola!", "¿Cómo está Ud.?"]),
    ("pt", ["O Sr. Silva chegou.", "A Dra. Ana mora na Av. Brasil.", "Veja a pág. 5."]),
    ("it", ["Il sig. Rossi e la dott.ssa Bianchi arrivano.", "Ecco, ecc. ecc.", "Sì?"]),
    ("nl", ["Dhr. Jansen kwam o.a. gisteren.", "Hij ging d.w.z. weg.", "Ja!"]),
    ("pl", ["To jest np. dobre.", "Ul. Długa 5 jest tu.", "Urodził się w 1990 r. w Polsce."]),
    ("tr", ["Prof. Dr. Ali geldi.", "2. Dünya Savaşı bitti.", "Saat 5'te gitti."]),
    ("ru", ["Это было в 1990 г. в Москве.", "А. С. Пушкин писал стихи и т. д.", "Да."]),
    ("ru", ["«Да?» — спросил он.", "«Нет!»"]),
    ("ru", ["Он жил на ул. Ленина, д. 5.", "Г. Иванов пришёл."]),
    # A question mark that looks like a semicolon.
    ("el", ["Πώς είσαι;", "Καλά, π.χ. τώρα.", "Ο κ. Παπάς ήρθε."]),
    # No spaces.
    ("ja", ["今日は天気がいい。", "「本当？」と彼は言った。", "はい！"]),
    ("ja", ["3.5です。", "え？！", "そう…でも。"]),
    ("zh", ["你好。", "“走吧。”他说。", "“再见！”她说……然后走了。", "真的吗？！", "是的。"]),
    ("ko", ["그는 갔다.", "3.5배다.", '"정말?" 라고 물었다.', "네.", "그래요."]),
    # Other marks.
    ("hi", ["यह 3.5 है।", "डॉ. शर्मा आए।", "क्या?", "हाँ॥", "अंत।"]),
    ("ar", ["كيف حالك؟", "قال د. محمد نعم.", "أنا بخير!"]),
    ("he", ["מה שלומך?", "ח. נ. ביאליק כתב.", "טוב."]),
    ("ms", ["En. Ali dan Pn. Siti datang.", "Apa khabar?"]),
    ("sw", ["Habari yako?", "Bw. Juma amekuja.", "Nzuri sana."]),
]  # fmt: skip


@pytest.mark.parametrize(("language", "wanted"), TEXTS)
def test_sentences_are_found(language, wanted):
    text = ""
    for sentence in wanted:
        text += glue(text, sentence) + sentence
    assert sentences(text, language) == wanted


def test_every_language_of_the_models_has_rules_and_cases():
    assert set(RULES) == set(SUPPORTED_LANGUAGES) == {language for language, _ in TEXTS}


def test_a_region_is_its_language_and_an_unknown_language_is_cut_all_the_same():
    assert sentences("A Dra. Ana veio. Sim.", "pt-BR") == ["A Dra. Ana veio.", "Sim."]
    assert sentences("Eins. Zwei.", "xx") == sentences("Eins. Zwei.", None) == ["Eins.", "Zwei."]


def test_only_what_is_too_long_is_cut_before_small_letters():
    text = "it was. so it is. dr. who knows."
    assert sentences(text) == [text]
    assert sentences(text, loosely=True) == ["it was.", "so it is.", "dr. who knows."]


def test_what_has_no_letter_stays_with_its_neighbour():
    assert sentences("... Yes. ... !!! No.") == ["... Yes. ... !!!", "No."]
    assert sentences("...") == ["..."]
    assert sentences("") == []


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


ALPHABETS = {
    "en": "abc ABC 12 .,;:!?…\"'()-— \n\u00a0\u00adDr. ",
    "de": "äöß ÄB 3. „“‚‘.,!? und »« ",
    "zh": "你好我们。，！？“”…、3.5a ",
    "ja": "今日はカタ「」。、！？ーっ…a ",
    "th": "สวัสดีครับ .",
    "hi": "किताबें।॥ ,.?",
    "ar": "كتاب ،؟. ",
    "ko": "가나다 .!? ",
    "el": "αβγ Α;·. ",
    "fr": "é « » ? ! . m M. ",
}


@pytest.mark.parametrize("language", ALPHABETS)
def test_no_letter_is_lost_and_no_piece_too_long(language):
    generator = random.Random(language)
    for _ in range(150):
        size = generator.randrange(1, 400)
        text = "".join(generator.choice(ALPHABETS[language]) for _ in range(size))
        assert letters("".join(sentences(flowed(text), language))) == letters(text)
        longest = generator.randrange(10, 200)
        found = pieces(text, longest, language)
        assert letters("".join(found)) == letters(text)
        if len(found) > 1:
            assert all(map(letters, found))
        assert "".join("".join(found).split()) == "".join(flowed(text).split())
        for piece in found:
            # A word stays whole, and marks without letters stay with their neighbour.
            alone = sum(map(bool, map(letters, piece.split()))) == 1
            assert alone or spoken_length(letters(piece)) <= longest


@pytest.mark.parametrize(("language", "wanted"), TEXTS)
@pytest.mark.parametrize("longest", [30, 60, 120])
def test_pieces_of_real_texts_are_never_too_long(language, wanted, longest):
    text = " ".join(wanted * 3)
    found = pieces(text, longest, language)
    assert letters("".join(found)) == letters(text)
    assert max(map(spoken_length, found)) <= longest


def test_a_script_without_spaces_is_cut_between_words_parts_only_as_a_last_resort():
    text = "東京はとても大きい街で、たくさんの人が住んでいます。" * 3
    assert pieces(text, 60, "ja") == ["東京はとても大きい街で、たくさんの人が住んでいます。"] * 3
    halves = pieces(text, 40, "ja")
    assert halves[:2] == ["東京はとても大きい街で、", "たくさんの人が住んでいます。"]
    endless = pieces("สวัสดีครับ" * 20, 50, "th")
    assert max(map(len, endless)) <= 50
    assert not any(piece[0] in "ัีิ" for piece in endless)
    assert not any(piece[0] in "っゃー、。" for piece in pieces("きっとチョーク。" * 30, 20, "ja"))


def test_lines_of_chinese_and_japanese_join_without_a_space():
    assert flowed("今日は\n天気が\n いい") == "今日は天気がいい"
    assert flowed("Hello\nworld 今日\nは") == "Hello world 今日は"
    assert flowed("ex\u00adam\u200bple\ufeff") == "example"


def test_speech_takes_longer_in_scripts_that_write_less():
    assert spoken_length("Hello, world.") == 13
    assert spoken_length("你好") == 6
    assert spoken_length("かな") == 4
    assert spoken_length("abc") < spoken_length("가나다") < spoken_length("漢字字")


def test_no_crumb_is_left():
    """The last piece is not a single word if the one before has sentences to spare."""
    text = "The cat sat on the mat. The dog ran off to the wood. They met by the old pond. Yes."
    assert pieces(text, 79)[-1] != "Yes."
    generator = random.Random(1)
    for _ in range(100):
        words = ["word " * generator.randrange(2, 9) + "end." for _ in range(20)]
        found = pieces(" ".join(words), 120)
        assert min(map(len, found)) >= 20


def test_tags_are_not_cut():
    text = "one two [clear throat] three four " * 5
    for longest in range(24, 60, 3):
        assert all(piece.count("[") == piece.count("]") for piece in pieces(text, longest))


@pytest.mark.parametrize(
    "text",
    [
        "a. " * 40000,
        "A. B. " * 8000,
        "( " * 20000,
        "。" * 60000,
        "[a " * 20000,
        ". " * 30000,
        "x" * 9**5,
    ],
)
def test_endless_texts_of_no_sense_are_cut_in_good_time(text):
    import time

    began = time.process_time()
    assert letters("".join(pieces(text, 280))) == letters(text)
    assert time.process_time() - began < 5.0
