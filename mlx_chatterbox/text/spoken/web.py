"""Addresses of the web, of e-mail and of computers, names of files, hashtags and handles."""

from __future__ import annotations

import re

from .numbers import digit_words, number_words, short_words
from .reader import DIGIT, LETTER, ReadingRule, word_before

_TOP = (
    "com|org|net|edu|gov|mil|int|info|biz|io|ai|co|dev|app|me|tv|fm|ly|gg|xyz|online|site|tech"
    "|blog|shop|store|news|eu|uk|us|ca|au|nz|de|fr|es|it|nl|be|ch|at|jp|cn|in|br|mx|ru|se|no|fi|dk"
    "|pl|ie|za|kr"
)
# Of a bare name: endings that are no words, or stand with "www.".
_BARE_TOP = "com|org|net|edu|gov|mil|info|biz|io|ai|dev|app|tv|fm|ly|xyz|co\\.uk|co|eu|uk|de|fr"
HOST = r"(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.){1,5}"
URL = re.compile(
    rf"(?:(?P<scheme>https?|ftp)://|(?=www\.))(?P<rest>{HOST}[A-Za-z]{{2,12}}(?::\d{{1,5}})?"
    r"(?:[/?#][^\s<>\"“”)\]]{0,500})?|localhost(?::\d{1,5})?(?:/[^\s<>\"“”)\]]{0,500})?)"
)
_BARE = re.compile(
    rf"(?P<rest>{HOST}(?:{_BARE_TOP})\b(?:/[^\s<>\"“”)\]]{{0,500}})?)(?![\w@])(?!\.\w)"
)
MAIL = re.compile(
    rf"(?P<name>[A-Za-z0-9][A-Za-z0-9._%+-]{{0,63}})@(?P<host>{HOST}[A-Za-z]{{2,12}})(?![\w@])"
)
_FILE = re.compile(
    r"(?P<name>[A-Za-z0-9][\w-]{0,63}(?:\.[\w-]{1,20})?)\.(?P<ending>pdf|docx?|xlsx?|pptx?|txt|csv|json"
    r"|xml|ya?ml|html?|css|js|ts|py|cpp|hpp|java|rb|rs|go|sh|exe|dll|zip|tar|gz|rar|7z|png|jpe?g|gif"
    r"|svg|bmp|mp3|mp4|wav|flac|ogg|mov|avi|mkv|epub|md|log|ini|cfg|toml|sql|php|iso|dmg|apk|bat"
    r")(?!\w)(?!\.\w)"
)
_HASHTAG = re.compile(r"#(?P<tag>[A-Za-z_][\w]{0,100})")
_HANDLE = re.compile(r"@(?P<name>[A-Za-z_][\w]{0,50}(?:\.\w{1,50})?)")
_IP = re.compile(
    r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?::(\d{1,5}))?(?:/(\d{1,2}))?(?![\w]|\.\d)"
)
_VERSION = re.compile(r"(?P<v>[vV]\.?\s?)?(?P<numbers>\d{1,6}(?:\.\d{1,6}){2,6})(?![\w]|\.\d)")
_V = re.compile(r"[vV](?:er)?\.?\s?(?P<numbers>\d{1,6}(?:\.\d{1,6}){0,6})(?![\w]|\.\d)")
_HEX = re.compile(r"0x(?P<digits>[0-9a-fA-F]{1,16})(?!\w)")
_COLOR = re.compile(r"#(?P<digits>(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{6})(?!\w)")
_ENDINGS_READ = frozenset("zip java log go bat ini rar tar json com net org info biz".split())
_SIGNS = {
    ".": "dot", "/": "slash", "-": "dash", "_": "underscore", "@": "at", "?": "question mark",
    "=": "equals", "&": "and", "#": "hash", "%": "percent", "+": "plus", ":": "colon", "~": "tilde",
}  # fmt: skip
PART = re.compile(r"[A-Za-z]+|\d+|[^\sA-Za-z\d]")
_SPELLED = frozenset(
    "uk us eu de fr nl be ch jp cn br mx ru dk pl nz au tv fm js py cpp hpp ts rb rs sh "
    "www html htm css php xml svg gif pdf png jpg csv sql doc docx xls xlsx ppt pptx txt exe "
    "dll bmp wav mov avi mkv md apk gz mp epub cfg yml ai io http https ftp iso dmg".split()
)
_READ = frozenset("gif wav epub iso".split())


def _letters(text: str) -> str:
    return " ".join(text.upper())


def address_words(text: str) -> str:
    """An address in words, part by part."""
    words = []
    for part in PART.findall(text):
        if part.isdecimal():
            words.append(_count(part))
        elif part.isalpha():
            small = part.lower()
            is_spelled = (small in _SPELLED and small not in _READ) or (
                len(part) < 5 and not re.search("[aeiouy]", small)
            )
            words.append(_letters(part) if is_spelled else part)
        else:
            words.append(_SIGNS.get(part, ""))
    return " ".join(filter(None, words))


def _count(digits: str) -> str:
    if digits.startswith("0") or len(digits) > 4:
        return digit_words(digits)
    return number_words(int(digits)) if len(digits) < 3 else short_words(digits)


def _trimmed(text: str) -> tuple[str, str]:
    """Split an address from the punctuation of the sentence around it; return both."""
    bare = text.rstrip(".,;:!?'’\"*_")
    return bare, text[len(bare) :]


def _url(match: re.Match) -> str:
    bare, marks = _trimmed(match.group("rest"))
    return address_words(bare.rstrip("/")) + marks


def _bare(match: re.Match) -> str | None:
    if match.string[match.end() : match.end() + 1] == "@":
        return None
    return _url(match)


def _mail(match: re.Match) -> str:
    return f"{address_words(match.group('name'))} at {address_words(match.group('host'))}"


def _file(match: re.Match) -> str:
    ending = match.group("ending")
    words = f"{address_words(match.group('name'))} dot "
    return words + (ending if ending in _ENDINGS_READ else address_words(ending))


def _words_of(name: str) -> str:
    """Split a name written as one word: "ThrowbackThursday2024"."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+", name)
    return " ".join(
        _count(part)
        if part.isdecimal()
        else " ".join(part)
        if part.isupper() and 1 < len(part) < 4 and len(parts) > 1
        else part
        for part in parts
    )


def _hashtag(match: re.Match) -> str:
    return f"hashtag {_words_of(match.group('tag'))}"


def _handle(match: re.Match) -> str:
    name = match.group("name")
    if "_" in name or "." in name:
        return f"at {address_words(name)}"
    return f"at {_words_of(name)}"


def _ip(match: re.Match) -> str:
    words = " dot ".join(number_words(int(match.group(n))) for n in range(1, 5))
    if match.group(5):
        words += f" colon {digit_words(match.group(5))}"
    return words + (f" slash {number_words(int(match.group(6)))}" if match.group(6) else "")


def _numbers(text: str) -> str:
    return " point ".join(
        digit_words(part) if len(part) > 1 and part[0] == "0" else number_words(int(part))
        for part in text.split(".")
    )


def _version(match: re.Match) -> str | None:
    if not match.group("v") and all(len(p) == 3 for p in match.group("numbers").split(".")[1:]):
        return None  # 1.000.000 is a million
    return _called(match, match.group("v")) + _numbers(match.group("numbers"))


def _called(match: re.Match, v: str | None) -> str:
    """The word "version" for a v, unless it stands there already."""
    before = word_before(match.string, match.start()).lower()
    return "version " if v and before not in ("version", "versions", "release") else ""


def _v(match: re.Match) -> str | None:
    numbers = match.group("numbers")
    if match.group()[0] == "V" and "." not in numbers:
        return None  # an engine, a rocket
    return _called(match, "v") + _numbers(numbers)


def _hex(match: re.Match) -> str:
    return f"zero X {_spelled(match.group('digits'))}"


def _color(match: re.Match) -> str:
    return f"hash {_spelled(match.group('digits'))}"


def _spelled(text: str) -> str:
    return " ".join(digit_words(c) if c.isdecimal() else c.upper() for c in text)


RULES = (
    ReadingRule(LETTER, URL, _url, frozenset(":./")),
    ReadingRule(LETTER + DIGIT, MAIL, _mail, frozenset("@")),
    ReadingRule(LETTER + DIGIT, _BARE, _bare, frozenset(".")),
    ReadingRule(LETTER + DIGIT, _FILE, _file, frozenset(".")),
    ReadingRule(DIGIT, _IP, _ip, frozenset(".")),
    ReadingRule("0", _HEX, _hex),
    ReadingRule("#", _COLOR, _color),
    ReadingRule("#", _HASHTAG, _hashtag),
    ReadingRule("@", _HANDLE, _handle),
)
_RELEASE = re.compile(r"(?P<numbers>\d{1,3}\.\d{1,3})(?![\w]|[.,]\d)")
_PROGRAMS = frozenset(
    "version versions release python java node ruby php ios android windows macos ubuntu debian "
    "firefox chrome linux kernel perl swift kotlin v ver. update build".split()
)


def _release(match: re.Match) -> str | None:
    """Read a version of two numbers: "Python 3.12" is "three point twelve"."""
    before = word_before(match.string, match.start()).lower()
    return _numbers(match.group("numbers")) if before in _PROGRAMS else None


_ANY_RELEASE = re.compile(r"(?P<numbers>\d{1,3}(?:\.\d{1,3}){0,3})\.[xX](?!\w)")


def _any_release(match: re.Match) -> str:
    return f"{_numbers(match.group('numbers'))} point X"


VERSIONS = (
    ReadingRule(DIGIT, _ANY_RELEASE, _any_release, frozenset("xX")),
    ReadingRule(DIGIT, _RELEASE, _release, frozenset(".")),
    ReadingRule(DIGIT + "vV", _VERSION, _version, frozenset(".")),
    ReadingRule("vV", _V, _v),
)
