"""Flash's text as upstream writes it out: equal to its package's cleaner on any string."""

import random

import pytest

from mlx_chatterbox.errors import TextError
from mlx_chatterbox.text.flash.cleaner import en_us_cleaner
from tests.text.test_reference_text import FIXED, PUNCTUATION, SPACES, UNICODE, WORDS

pytestmark = pytest.mark.reference

COUNT = 20_000
FIGURES = ["$1,234.56", "£3", "€2.50", "12", "1999", "2024", "3.14", "1/2", "5th", "21st", "10%"]
FIGURES += [
    "7:30",
    "12:05 pm",
    "555-123-4567",
    "5550123",
    "3 km",
    "5kg",
    "#4",
    "1,000,000",
    "0",
    "-3",
]
ABBREVIATED = ["Mr.", "dr", "St.", "e.g.", "AI", "Jan.", "mo.", "sec", "in", "by", "since", "Ltd."]
FAILS = (ValueError, IndexError)


def random_text(rng: random.Random) -> str:
    kinds = (WORDS, FIGURES, ABBREVIATED, PUNCTUATION, SPACES, UNICODE)
    return "".join(rng.choice(rng.choice(kinds)) + rng.choice(["", " "]) for _ in range(9))


def test_it_is_upstreams_on_any_string():
    from mlx_chatterbox.parity.torch import env

    env.prepare()
    from chatterbox_flash.text_norm import en_us_cleaner as upstreams

    rng, refused = random.Random(8), 0
    for text in [*FIXED, *(random_text(rng) for _ in range(COUNT))]:
        try:
            expected = upstreams(text)
        except FAILS:
            # Where upstream fails ours says why in a line.
            refused += 1
            with pytest.raises(TextError):
                en_us_cleaner(text)
            continue
        assert en_us_cleaner(text) == expected, repr(text)
    assert refused < COUNT / 10
