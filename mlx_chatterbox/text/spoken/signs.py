"""Signs that have words (& and §), and marks that are left out (emoji, Markdown)."""

from __future__ import annotations

import re
import unicodedata

from .numbers import number_words
from .reader import DIGIT, LETTER, ReadingRule
from .unit_names import PER

_SIGN_WORDS = {
    "°C": "degrees Celsius", "°F": "degrees Fahrenheit", "&": "and", "@": "at", "%": "percent",
    "°": "degrees", "©": "copyright", "®": "registered",
    "™": "trademark", "§": "section", "¶": "paragraph", "→": "to", "⇒": "implies", "←": "from",
    "↔": "to and from", "∞": "infinity", "π": "pi", "µ": "micro", "Ω": "ohm", "√": "square root of",
    "∑": "sum", "∏": "product", "∫": "integral", "∂": "partial", "∆": "delta", "Δ": "delta",
    "∈": "in",
    "∴": "therefore", "∵": "because", "∩": "intersection", "∪": "union", "¬": "not", "∀": "for all",
    "∃": "there exists", "$": "dollar", "£": "pound", "€": "euro", "¥": "yen", "¢": "cent",
    "₹": "rupee", "‰": "per mille", "♯": "sharp", "♭": "flat", "α": "alpha", "β": "beta",
    "γ": "gamma", "δ": "delta", "ε": "epsilon", "θ": "theta", "λ": "lambda", "μ": "mu",
    "σ": "sigma",
    "τ": "tau", "φ": "phi", "ω": "omega", "≈": "approximately", "≤": "less than or equal to",
    "≥": "greater than or equal to", "≠": "not equal to", "×": "times", "÷": "divided by",
    "±": "plus or minus",
}  # fmt: skip
# Between words only.
_LIST = re.compile("|".join(re.escape(sign) for sign in _SIGN_WORDS))
_SECTIONS = re.compile(r"§§?\s?")
TAG = re.compile(
    r"\[\s*(?:pause\b[^\]]{0,80}|[^\W\d_]+(?:[ _-][^\W\d_]+){0,3}\s*)\]", re.IGNORECASE
)
_SLASH = re.compile(r"/(?=[^\W_]|[$£€¥₹]\d)")
_SNAKE = re.compile(r"_(?=[^\W_])")
_PER = re.compile(
    r"/(?P<per>mL|ml|L|kg|hr|hour|h|day|wk|week|mo|month|yr|year|min|minute|sec|second|person)(?![\w/])"
)
# A 5* hotel; elsewhere a star after a number refers to a note.
_STAR = re.compile(
    r"(?P<low>[1-9])\*(?P<star>(?=[ -](?:hotels?|resorts?|reviews?|ratings?|restaurants?|generals?"
    r"|service|food|rated|rooms?|accommodation|luxury|spa)\b))?(?![\w*(]| ?[\d(])"
)
_SUBSCRIPT = re.compile(r"(?P<of>[A-Za-zα-ω])(?P<low>[₀-₉]{1,4})(?![\w])")
_HYPHEN = re.compile(r"[-‐‑](?=\d)")


def _sign_words(match: re.Match) -> str | None:
    sign, text = match.group(), match.string
    before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    if sign in "$£€¥¢@" and before.isalpha() and after.isalpha():
        return None  # Ke$ha
    if sign in "αβγδεθλσπτφωμΔΩµ" and any(
        "\u0370" <= one < "\u0400" and one not in _SIGN_WORDS for one in (before, after) if one
    ):
        return None  # a word in Greek
    return _SIGN_WORDS[sign]


def _per(match: re.Match) -> str | None:
    """Read a slash after a counted thing as "per": cells/mL, hours/day, 15k/yr."""
    before = re.search(r"[^\W_]+$", match.string[max(0, match.start() - 30) : match.start()])
    if before is None or before.group().isdigit():
        return None
    word = before.group()
    return f" per {PER[match.group('per')]}" if word[-1] in "sk" or word.isupper() else None


def _star(match: re.Match) -> str:
    return number_words(int(match.group("low"))) + ("" if match.group("star") is None else " star")


def _subscript(match: re.Match) -> str:
    low = unicodedata.normalize("NFKD", match.group("low"))
    return f"{match.group('of')} {number_words(int(low))}"


def _slash(match: re.Match) -> str | None:
    """Read a slash between two words as a pause or a space: AM/FM."""
    before = match.string[match.start() - 1 : match.start()] if match.start() else ""
    if not before.isalnum():
        return None
    return ", " if match.string[match.end()] in "$£€¥₹" else " "


def _hyphen(match: re.Match) -> str | None:
    before = match.string[match.start() - 1 : match.start()] if match.start() else ""
    return " " if before.isalpha() else None


RULES = (
    ReadingRule("[", TAG, lambda match: match.group()),
    ReadingRule(
        "§", _SECTIONS, lambda match: "sections " if match.group().startswith("§§") else "section "
    ),
    ReadingRule(DIGIT, _STAR, _star, frozenset("*")),
)
PER_WHAT = (ReadingRule("/", _PER, _per),)
LAST = (
    ReadingRule("/", _SLASH, _slash),
    ReadingRule("_", _SNAKE, _slash),
    ReadingRule(LETTER, _SUBSCRIPT, _subscript, frozenset("₀₁₂₃₄₅₆₇₈₉")),
    ReadingRule("-‐‑", _HYPHEN, _hyphen),
    ReadingRule("".join(_SIGN_WORDS) + "a", _LIST, _sign_words),
)

# Of Markdown, and of web pages.
_LINK = re.compile(r"!?\[([^\[\]\n]{1,200})\]\((?:https?://|/|#|\./|mailto:)[^()\s]{0,300}\)")
_STRONG = re.compile(
    r"\*{2,3}|~~|`{1,3}|(?<![\w*])\*(?=[^\s*\d])|(?<=[^\s*\d])\*(?![\w*])|(?<!\w)_{1,2}(?=\w)|(?<=\w)_{1,2}(?!\w)"
)
# Emphasis that begins with a digit, and the star after a number that refers to a note.
_NUMBERED = re.compile(r"(?<![\w*)])\*(\d[^*\n]{0,200}[^\s*])\*(?![\w*])")
_NOTE = re.compile(
    r"(?<=\d)\*(?=[.,;:!?)\]\"”’]|\s*$|\s+(?!(?:hotel|resort)|[x-z] )[^\W\d_]{1,20})", re.MULTILINE
)
_LINE = re.compile(
    r"^[ \t]{0,3}(?:#{1,6}[ \t]+|>[ \t]*(?=[^\s\d=])"
    r"|[-*+•‣◦▪●][ \t]+(?=\S)|[-*_=]{3,}[ \t]*$)",
    re.MULTILINE,
)
_BULLETS = re.compile(r"[ \t]*[•‣◦▪●■□►▶]+[ \t]*")
_ENTITY = {"&amp;": "&", "&nbsp;": " ", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'"}
_ENTITIES = re.compile("|".join(_ENTITY))
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u26ff\u2700-\u2794\u2798-\u27bf\u2b00-\u2bff\ufe0e\ufe0f\u200d\u20e3"
    "\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa\U000e0020-\U000e007f\u3030\u303d]+"
)
# ³⁄₄, with a sign of its own for each.
_FRACTION = re.compile(r"[⁰¹²³⁴-⁹]{1,3}[\u2044/][₀-₉]{1,3}")
_SELECTORS = "\ufe0e\ufe0f\u200d\u20e3"


def without_marks(text: str) -> tuple[str, list[str]]:
    """Remove layout marks and emoji from a text; return the text, and the emoji, each once."""
    left_out: dict[str, None] = {}
    text = _FRACTION.sub(lambda match: unicodedata.normalize("NFKD", match.group()), text)
    text = text.replace("\u2044", "/")
    if not text.isascii():
        for emoji in _EMOJI.findall(text):
            left_out.update(dict.fromkeys(c for c in emoji if c not in _SELECTORS))
        if left_out or "\ufe0f" in text:
            starts = _EMOJI.match(text) is not None
            text = re.sub(rf"[ \t]?(?:{_EMOJI.pattern})", _gap, text)
            text = text.lstrip(" ") if starts else text
    if "[" in text:
        text = _LINK.sub(r"\1", text)
    text = _LINE.sub("", text)
    if any(mark in text for mark in "*~`_"):
        text = _NOTE.sub("", _NUMBERED.sub(r"\1", text))
        text = _STRONG.sub("", text)
    if "&" in text and ";" in text:
        text = _ENTITIES.sub(lambda match: _ENTITY[match.group()], text)
    if any(mark in text for mark in "•‣◦▪●■□►▶"):
        text = _BULLETS.sub(" ", text).strip(" ")
    return text, list(left_out)


def _gap(match: re.Match) -> str:
    before, after = (
        match.string[match.start() - 1 : match.start()],
        match.string[match.end() : match.end() + 1],
    )
    return " " if before.isalnum() and after.isalnum() else ""
