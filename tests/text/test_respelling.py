"""A user's lexicon changes only the words that it names, and keeps their case."""

import random
import unicodedata

import pytest

from mlx_chatterbox.errors import TextError
from mlx_chatterbox.text.respelling import Respelling, respelling_of

WORDS = {
    "Siobhan": "shivawn",
    "New York": "noo york",
    "New York City": "the big apple",
    "York": "yawk",
    "can": "kan",
    "NASA": "nassa",
    "=US": "you ess",
    "o'clock": "a clock",
    "café": "caffay",
    "C++": "see plus plus",
    "東京": "とうきょう",
    "laugh": "LAFF",
    "Müller": "MEW-ler",
    "राम": "RAAM",
    "cafe": "kayf",
}


@pytest.fixture(scope="module")
def respell():
    return Respelling(WORDS)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Siobhan's, yes.", "Shivawn's, yes."),
        ("SIOBHAN! (siobhan)", "SHIVAWN! (shivawn)"),
        ("“Siobhan”—Siobhan…", "“Shivawn”—Shivawn…"),
        ("Siobhans and xSiobhan stay.", "Siobhans and xSiobhan stay."),
        ("new york, New  York\nCity", "noo york, The big apple"),
        ("York New", "Yawk New"),
        ("I can, but I can't; cans.", "I kan, but I can't; cans."),
        ("SIOBHAN'S. Can'S", "SHIVAWN'S. Kan'S"),
        ("NASA, nasa", "nassa, nassa"),
        ("The US told us.", "The you ess told us."),
        ("five o’clock", "five a clock"),
        ("caf\u00e9 Cafe\u0301 cafe", "caffay Caffay kayf"),
        ("C++ or C+", "See plus plus or C+"),
        ("私は東京に行く。", "私はとうきょうに行く。"),
        ("[laugh] laugh [ laugh ]", "[laugh] LAFF [ laugh ]"),
        ("", ""),
        ("राम, रामा।", "RAAM, रामा।"),
        ("müller Müller MÜLLER", "MEW-ler MEW-ler MEW-LER"),
    ],
)
def test_words_are_respelled_in_their_case(respell, text, wanted):
    assert respell(text) == wanted


def test_what_was_put_in_is_not_looked_up_again():
    assert Respelling({"a": "b", "b": "a"})("a b") == "b a"


def test_the_longest_entry_comes_first_whatever_the_order():
    for words in (WORDS, dict(reversed(WORDS.items()))):
        assert Respelling(words)("New York City") == "The big apple"


def test_other_text_stays_as_it_is(respell):
    """Characters that no entry names stay, in any script."""
    generator = random.Random(0)
    for _ in range(300):
        text = "".join(
            chr(
                generator.choice(
                    [generator.randrange(32, 0x250), 0x3042, 0x5B8C, 0x627, 0x20, 0x27, 0x5B, 0x5D]
                )
            )
            for _ in range(60)
        )
        if not any(word.strip("=").lower() in text.lower() for word in WORDS):
            assert respell(text) == text


def test_a_file(tmp_path):
    path = tmp_path / "words.tsv"
    path.write_bytes(
        "\ufeff# names\r\n\r\nSiobhan\tshivawn\r\n  \nNew York\t\tnoo york \n".encode()
    )
    respell = Respelling.read(path)
    assert len(respell) == 2
    assert respell("Siobhan in New York") == "Shivawn in Noo york"
    assert respelling_of(str(path))("siobhan") == "shivawn"
    assert respelling_of(respell) is respell
    assert respelling_of({"a": "b"})("a") == "b"
    assert respelling_of(None) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\tb\nno tab here\n", "line 2: there is no tab"),
        (b"#\n\n\tb\n", "line 3: there is no word"),
        (b"word\t  \n", "line 1: 'word' has no respelling"),
        (b"a\tb\tc\n", "line 1: there are more than"),
        (b"Word\tx\nword\ty\n", "line 2: 'word' has another respelling"),
        (b"a\tb\n\xe9t\xe9\tx\n", "line 2: is no UTF-8"),
        (b"# nothing\n", "has no entry"),
        (b"", "has no entry"),
    ],
)
def test_faults_are_reported_with_their_line(tmp_path, content, message):
    path = tmp_path / "words.tsv"
    path.write_bytes(content)
    with pytest.raises(TextError, match=message) as caught:
        Respelling.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(TextError, match="cannot be read: No such file"):
        Respelling.read(tmp_path / "none.tsv")
    with pytest.raises(TextError, match="cannot be read"):
        Respelling.read(tmp_path)


def test_the_same_entry_twice_is_one():
    assert len(Respelling([("Ann", "an"), ("ann", "an")])) == 1


def test_large_lexicons_are_fast():
    import time

    words = {f"w{i:x}y": f"v{i:x}" for i in range(20000)}
    respell = Respelling(words)
    text = " ".join(list(words)[:10000])
    began = time.process_time()
    assert respell(text) == " ".join(list(words.values())[:10000])
    assert time.process_time() - began < 2.0


def test_decomposed_and_composed_entries_are_one_word():
    for form in ("NFC", "NFD"):
        respell = Respelling({unicodedata.normalize(form, "Zoë"): "zoey"})
        assert {respell(unicodedata.normalize(kind, "Zoë")) for kind in ("NFC", "NFD")} == {"Zoey"}
