"""Bytes of a book's files as characters: declared, recognised, or guessed from its language."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field

from ...errors import TextError

_XML = re.compile(rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]{1,40})["']""", re.IGNORECASE)
_META = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
# Where a file declares nothing and is no UTF-8: what programs of its language wrote.
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
# What is called so is written in the wider one, in practice.
_WIDER = {"iso8859-1": "cp1252", "ascii": "cp1252", "iso8859-9": "cp1254", "gb2312": "gb18030",
          "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"}  # fmt: skip
# Python knows codecs that are no character sets, such as punycode.
_CHARACTER_SETS = tuple(
    "utf-8 utf-16 utf-32 ascii iso8859 iso2022 cp koi8 mac gb hz big5 shift euc tis johab".split()
)
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass
class Decoder:
    """Decodes the files of one book.

    Attributes:
        language: of the book, a code.
        guessed: names of the files whose encoding was guessed, by encoding.
    """

    language: str = ""
    guessed: dict[str, list[str]] = field(default_factory=dict)

    def decode(self, content: bytes, name: str, label: str) -> str:
        r"""A file's characters, its line ends as "\n".

        Args:
            name: of the file; `label` is what it is called in messages.

        Raises:
            TextError: it is in no encoding that fits.
        """
        text = self._decoded(content, name)
        if text is None:
            raise TextError(f"{label} is no text in UTF-8, nor in an encoding that it declares.")
        if "\0" in text:
            raise TextError(f"{label} is no text: it has zero bytes.")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _decoded(self, content: bytes, name: str) -> str | None:
        for mark, encoding in _BOMS.items():
            if content.startswith(mark):
                return _tried(content, encoding)
        if content[:2] in (b"<\0", b"\0<"):
            return _tried(content, "utf-16-le" if content[1:2] == b"\0" else "utf-16-be")
        declared = _declared(content)
        # UTF-8 with a letter beyond ASCII is hardly ever anything else, whatever it is called.
        if (text := _tried(content, "utf-8")) is not None and (
            not declared.startswith(("utf-16", "utf-32", "iso2022", "hz")) and "\x1b" not in text
        ):
            return text
        if declared and not declared.startswith(("utf-16", "utf-32", "utf-8")):
            text = _tried(content, _WIDER.get(declared, declared))
            text = _tried(content, declared) if text is None else text
            if text is not None:
                return text
        for encoding in (_BY_LANGUAGE.get(self.language[:2].lower(), "cp1252"), "cp1252"):
            if (text := _tried(content, encoding)) is not None and _is_text(text):
                self.guessed.setdefault(encoding.replace("cp1252", "windows-1252"), []).append(name)
                return text
        return None

    def remarks(self) -> list[str]:
        """A line for each encoding that was guessed."""
        return [
            f"{names[0] if len(names) == 1 else f'{len(names)} files, such as {names[0]},'} not in "
            f"UTF-8, nor in an encoding that is declared: read as {encoding}"
            for encoding, names in self.guessed.items()
        ]


def _declared(content: bytes) -> str:
    """The encoding's name as Python has it; "" where there is none, or none that is known."""
    match = _XML.search(content[:300]) or _META.search(content[:2000])
    if match is None:
        return ""
    try:
        name = codecs.lookup(match.group(1).decode("ascii")).name
    except (LookupError, UnicodeError):
        return ""
    return name if name.startswith(_CHARACTER_SETS) else ""


def _tried(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def _is_text(text: str) -> bool:
    """Whether a guess gives mostly what texts are made of."""
    odd = sum(character < " " and character not in "\t\n\r\f" for character in text)
    return odd * 100 <= len(text)
