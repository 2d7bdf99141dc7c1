"""Decoding of texts by the encoding that they declare, by their bytes, or by their language."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from itertools import islice

from ...errors import TextError

_XML = re.compile(rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]{1,40})["']""", re.IGNORECASE)
_META = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
# The usual encoding of a language, for files that declare none and are not UTF-8.
_BY_LANGUAGE = {
    **dict.fromkeys(("cs", "pl", "hu", "sk", "sl", "hr", "ro", "sr", "bs"), "windows-1250"),
    **dict.fromkeys(("ru", "uk", "bg", "be", "mk"), "windows-1251"),
    "el": "windows-1253",
    "tr": "windows-1254",
    "he": "windows-1255",
    "ar": "windows-1256",
    **dict.fromkeys(("lt", "lv", "et"), "windows-1257"),
    "vi": "windows-1258",
    "ja": "cp932",
    "zh": "gb18030",
    "ko": "cp949",
}
# Encodings that, in practice, name a wider one.
_WIDER = {"iso8859-1": "cp1252", "ascii": "cp1252", "iso8859-9": "cp1254", "gb2312": "gb18030",
          "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"}  # fmt: skip
# Signs beyond ASCII that are common in texts in the Latin alphabet.
_TYPED = frozenset("\u00a0–—‘’“”„‚…«»‹›•°€£§©®™¡¿·")
# Python also has codecs that are not character sets, such as punycode.
_CHARACTER_SETS = tuple(
    "utf-8 utf-16 utf-32 ascii iso8859 iso2022 cp koi8 mac gb hz big5 shift euc tis johab".split()
)
# A byte that is not UTF-8, as "surrogateescape" decodes it.
_STRANGE = re.compile("[\udc80-\udcff]")
_BEYOND_ASCII = re.compile("[^\0-\x7f]")
# Control characters that do not occur in texts.
_ODD = re.compile(r"[\x00-\x08\x0b\x0e-\x1f]")
# Characters beyond ASCII that are looked at; more are not needed.
_ENOUGH = 100_000
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass
class TextDecoder:
    """Decodes the files of one book.

    Attributes:
        language: of the book, a code.
        guessed: names of the files whose encoding was guessed, by encoding.
    """

    language: str = ""
    guessed: dict[str, list[str]] = field(default_factory=dict)

    def decode(self, content: bytes, name: str, label: str) -> str:
        r"""Decode a file; its line ends become "\n".

        Args:
            name: of the file in the book.
            label: its name in messages.

        Raises:
            TextError: no encoding fits.
        """
        text = self._decoded(content, name)
        if text is None:
            raise TextError(f"{label} is neither UTF-8 nor in an encoding that it declares.")
        if "\0" in text:
            raise TextError(f"{label} is not a text file: it has zero bytes.")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _decoded(self, content: bytes, name: str) -> str | None:
        for mark, encoding in _BOMS.items():
            if content.startswith(mark):
                return _decoded_as(content, encoding)
        if content[:2] in (b"<\0", b"\0<"):
            return _decoded_as(content, "utf-16-le" if content[1:2] == b"\0" else "utf-16-be")
        declared = _declared(content)
        # A text that decodes as UTF-8 hardly ever is anything else, whatever it declares.
        if (text := _decoded_as(content, "utf-8")) is not None and (
            not declared.startswith(("utf-16", "utf-32", "iso2022", "hz")) and "\x1b" not in text
        ):
            return text
        if declared and not declared.startswith(("utf-16", "utf-32", "utf-8")):
            text = (
                None
                if _mostly_utf8(content)
                else _decoded_as(content, _WIDER.get(declared, declared))
            )
            text = _decoded_as(content, declared) if text is None else text
            if text is not None and not _mostly_utf8(content):
                return text
        if (guessed := guess(content, self.language)) is None:
            return None
        text, encoding = guessed
        self.guessed.setdefault(encoding, []).append(name)
        return text

    def remarks(self) -> list[str]:
        """Report each guessed encoding in one line."""
        return [
            f"{names[0] if len(names) == 1 else f'{len(names)} files, such as {names[0]},'} not in "
            f"UTF-8 or in a declared encoding: read as {encoding}"
            for encoding, names in self.guessed.items()
        ]


def guess(content: bytes, language: str | None = None) -> tuple[str, str] | None:
    """Decode a text that declares no encoding and is not UTF-8.

    Args:
        language: of the text, a code; it decides which encodings are tried.

    Returns:
        The text, and the name of the encoding; None if none fits.
    """
    if (wide := _wide(content)) is not None:
        return wide
    if (mixed := _mostly_utf8(content)) is not None:
        return mixed, "UTF-8 and windows-1252 mixed"
    own = _BY_LANGUAGE.get((language or "")[:2].lower(), "cp1252")
    texts: dict[str, str] = {}
    for encoding in dict.fromkeys((own, "cp1252", "mac_roman")):
        text = _decoded_as(content, encoding)
        if text is not None and _is_text(text):
            texts[encoding] = text
    if not texts:
        return None
    # Mac Roman only where it makes more of the text.
    mac = texts.pop("mac_roman", "")
    plausibility = _plausibility(mac)
    others = list(texts.items())[:1]
    if plausibility > 0 and (
        not others or (own == "cp1252" and plausibility > _plausibility(others[0][1]))
    ):
        return mac, "Mac Roman"
    if not others or (others[0][0] == "cp1252" and _plausibility(others[0][1]) < 0):
        return None
    encoding, text = others[0]
    return text, encoding.replace("cp1252", "windows-1252")


def _wide(content: bytes) -> tuple[str, str] | None:
    """Decode UTF-16 without a byte order mark, in which every other byte of Latin letters is zero.

    Returns:
        The text, and the name of the encoding; None if it is something else.
    """
    if len(content) % 2 or not content:
        return None
    sample = content[:4000]
    odd, even = sample[1::2].count(0), sample[::2].count(0)
    if max(odd, even) * 10 < len(sample[::2]) * 7 or min(odd, even):
        return None
    text = _decoded_as(content, "utf-16-le" if odd else "utf-16-be")
    return None if text is None else (text, "UTF-16")


def _plausibility(text: str) -> int:
    """Score a decoding: characters beyond ASCII in plausible places, minus those in others."""
    score = 0
    padded = f" {text} "
    for match in islice(_BEYOND_ASCII.finditer(padded), _ENOUGH):
        at, one = match.start(), match.group()
        before, after = padded[at - 1], padded[at + 1]
        if one.isalpha() and before.isspace() and (after.isspace() or after in ".,;:!?"):
            continue  # a word of one letter: "à"
        if one.isalpha() and one.isupper():
            # "École", "CAFÉ", not "CafÉ" nor "itÕs".
            score += 1 if not before.islower() and after.isalpha() else -1
        elif one.isalpha():
            score += 1 if before.isalpha() or after.isalpha() else -1
        else:
            between = before.isalpha() and after.isalpha()
            score += 1 if one in _TYPED and (not between or one in "’—–…") else -1
    return score


def _declared(content: bytes) -> str:
    """Python's name of the encoding that a file declares; "" if none, or none that is known."""
    match = _XML.search(content[:300]) or _META.search(content[:2000])
    if match is None:
        return ""
    try:
        name = codecs.lookup(match.group(1).decode("ascii")).name
    except (LookupError, UnicodeError):
        return ""
    return name if name.startswith(_CHARACTER_SETS) else ""


def _decoded_as(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def _mostly_utf8(content: bytes) -> str | None:
    """Decode UTF-8 with a few bytes of windows-1252 in it; None if it is something else."""
    text = content.decode("utf-8", "surrogateescape")
    strange = len(_STRANGE.findall(text))
    others = len(_BEYOND_ASCII.findall(text)) - strange
    if others < 2 * strange:
        return None
    return _STRANGE.sub(lambda match: _windows_character(match.group()), text)


def _windows_character(character: str) -> str:
    return bytes([ord(character) - 0xDC00]).decode("cp1252", "replace")


def _is_text(text: str) -> bool:
    """Tell whether a decoded text has almost no control characters."""
    return len(_ODD.findall(text)) * 100 <= len(text)
