"""Reading of raised texts: exponents, endings of ordinals, degrees, and marks of notes."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Marks of notes that are not numbers.
SYMBOLS = frozenset("*†‡§¶‖#⁂⁎✝✻※")
# A note's mark, such as [1], (24), *25, †, ¹, 1,2, a; also "Note 3" and "fn. 3".
MARK = re.compile(
    r"(?:foot|end)?(?:notes?|fn)?\.?\s*[\[({⟨^]{0,2}\s*"
    r"(?:[*†‡§¶‖#⁂⁎✝✻※]{0,4}\s*(?:\d{1,4}|[a-z]{1,2}|[ivxl]{1,6})?(?:\s*[,;–-]\s*\d{1,4}){0,6}"
    r"|[¹²³⁴-⁹⁰]{1,4})"
    r"\s*[*†‡§¶‖#⁂⁎✝✻※]{0,3}\s*[\])}⟩]{0,2}[.,:]?",
    re.IGNORECASE,
)
_BRACKETS = "[](){}⟨⟩"
_SIGNS = {"ᵀᴹ": "™", "TM": "™", "SM": "℠", "R": "®", "®": "®", "™": "™", "©": "©", "℠": "℠"}
_NUMBER = re.compile(r"[+-]?\d{1,4}(?:[./]\d{1,3})?")
_CHARGE = re.compile(r"\d?[+-]")
_LETTERS = re.compile(r"[a-z](?:[,;][a-z])+")
_VARIABLE = re.compile(
    r"[+-]?\d{0,3}[a-zA-Zα-ωΑ-Ω](?:[+*/-]\w{1,3})?|[+-]?\(?\d{0,3}[a-z][+*/-]\w{1,3}\)?"
    r"|[+-]?\d{0,3}[a-z]?[α-ω][a-z]?"
)
_DEGREES = re.compile(r"\s*(?:[CFKNSEW]\b|\d{1,2}\s*['′]|[,.;:)]|$|\s)")
# Texts before or after an exponent in a formula, but hardly around a note's mark.
_SUM_BEFORE = re.compile(r"[=+×·⋅÷^<>≤≥≈≠∝∑∫√][^\s=]{0,12}$|[=+×·⋅÷−<>≤≥≈≠∝−]\s{1,2}\S{0,12}$")
_SUM_AFTER = re.compile(r"\s{0,2}[=+×·⋅÷<>≤≥≈≠∝^]|\s{0,2}[−/*]\s{0,2}[\w(]")
_UNITS = frozenset("km cm mm nm dm hm µm μm ft yd mi px sq".split())
_FURTHER_UNITS = frozenset("kg hr sec min mol rad lb in Hz ha".split())
_FUNCTIONS = frozenset("sin cos tan sec csc cot log ln sinh cosh tanh".split())
_CLOCK = re.compile(r"\s{0,2}(?:[ap]\.?\s?m\b|uhr\b|o.clock)", re.IGNORECASE)
_ELEMENT = re.compile(r"[A-Z][a-z]?(?![a-z])")
_FORMULA = re.compile(r"(?:^|[^A-Za-z])((?:[A-Z][a-z]?\d{0,3})+)[)\]]?$")


@dataclass
class Raised:
    """The raised texts of a chapter, read one after the other.

    Attributes:
        note: number of the last note that was marked.
        marks: number of marks so far.
    """

    note: int = 0
    marks: int = 0

    def spoken(self, text: str, before: str, after: str) -> str:
        """The text to speak in place of a raised text; "" for a note's mark.

        Args:
            before: the paragraph before it, at least its last 40 characters.
            after: the characters after it.
        """
        mark = text.strip()
        plain = (
            mark.replace("\u2212", "-").replace("–", "-").replace(" ", "").replace("\u2011", "-")
        )
        if not plain:
            return text
        base = _last_word(before)
        if _NUMBER.fullmatch(plain) and after[:1] in ("/", "⁄") and after[1:2].strip().isdigit():
            # 1<sup>1</sup>/<sub>2</sub>.
            return f" {plain}" if base[-1:].isdigit() else plain
        if plain in _SIGNS:
            return _SIGNS[plain]
        if plain in ("°", "º", "o", "0") and base[-1:].isdigit() and _is_degree(base, plain, after):
            return "°"
        if _NUMBER.fullmatch(plain) or _CHARGE.fullmatch(plain):
            return self._number(plain, base, before, after)
        if _LETTERS.fullmatch(plain) or (MARK.fullmatch(mark) and not any(map(str.isalpha, plain))):
            return self._marked(plain)
        if _VARIABLE.fullmatch(plain) and self._is_power(plain, base, before, after):
            return f"^{plain}"
        if plain.strip(_BRACKETS) != plain and MARK.fullmatch(mark):
            return self._marked(plain)
        if len(plain) == 1 and plain.isalpha() and _is_letter_of_note(plain, base, after):
            return self._marked(plain)
        return text

    def _number(self, plain: str, base: str, before: str, after: str) -> str:
        if (charge := _charge(plain, base)) is not None:
            return charge
        if _NUMBER.fullmatch(plain) is None:
            return plain
        if re.search(r"(?:^|\D)\d{1,2}$", base) and len(plain) == 2 and _CLOCK.match(after):
            return f":{plain}"
        if self._is_power(plain, base, before, after):
            return f"^{plain}"
        if re.search(r"[$£€]\d+$", base) and len(plain) == 2:
            return f".{plain}"
        if not base and before.strip() and _ELEMENT.match(after):
            return plain
        return self._marked(plain)

    def _marked(self, plain: str) -> str:
        numbers = re.findall(r"\d+", plain)
        if numbers:
            self.note = int(numbers[-1])
        self.marks += 1
        return ""

    def _is_power(self, plain: str, base: str, before: str, after: str) -> bool:
        """Tell whether a raised text is the exponent of the text before it."""
        if not base or plain == "1":
            return False
        in_sum = bool(_SUM_BEFORE.search(before[-40:]) or _SUM_AFTER.match(after))
        signed, letters = plain[0] in "+-", any(map(str.isalpha, plain))
        if base[-1] in ")]":
            return _is_formula(before)
        core = base.lstrip("([{«“\"'‘~≈<>=+−–×·⋅*/-")
        if core[-1:].isdigit():
            return self._is_power_of_number(plain, core, in_sum, signed, letters)
        match = re.search(r"(?:^|[^A-Za-zµμα-ωΑ-Ω'’])([A-Za-zµμα-ωΑ-Ω]{1,4})$", core)
        if match is None or re.search(r"\d{2}s$", core):
            return False
        word = match.group(1)
        if letters:
            return (len(word) == 1 and word != "I" and (in_sum or not _is_ordinal(plain))) and (
                word.islower() or in_sum
            )
        if len(word) == 1:
            return self._is_power_of_letter(plain, word, before, in_sum, signed)
        if word in _FUNCTIONS or (in_sum and len(word) <= 3):
            return True
        small = plain in ("2", "3") or signed
        if word in _FURTHER_UNITS:
            return small and bool(re.search(r"(?:\d\s{0,2}|/)[A-Za-z]+$", before[-12:]))
        return word in _UNITS and small

    def _is_power_of_number(self, plain, core, in_sum, signed, letters) -> bool:
        if letters:
            return in_sum or not _is_ordinal(plain)
        if signed or core == "10" or core.endswith(("×10", "x10", "·10")):
            return True
        if re.fullmatch(r"[a-z]\d{1,2}", core):
            return True
        if not re.fullmatch(r"\d{1,3}|\d{1,2}\.\d{1,4}", core):
            # After a year, a sum of money or a number with commas it is the mark of a note.
            return in_sum and core.replace(".", "").isdigit()
        if in_sum or "." in core:
            return True
        return len(core) <= 2 and int(re.sub(r"\D.*", "", plain) or 0) != self.note + 1

    def _is_power_of_letter(self, plain, letter, before, in_sum, signed) -> bool:
        if in_sum or signed or not letter.isascii():
            return True
        if letter in "aI":
            return False
        if letter.islower():
            return len(plain) <= 2
        # "R squared", but "vitamin C" with the mark of a note.
        return plain in ("2", "3", "4") and int(plain) != self.note + 1


def _last_word(text: str) -> str:
    """The last characters of a text up to white space, at most 40; "" after white space."""
    match = re.search(r"\S{0,40}$", text)
    return match.group() if match is not None else ""


def _is_degree(base: str, plain: str, after: str) -> bool:
    if plain in ("°", "º"):
        return True
    if re.match(r"\s?[CFKNSEW]\b", after):
        return True
    # 90<sup>o</sup>; but 1<sup>o</sup> is an ordinal in Spanish, and 10<sup>0</sup> is 1.
    number = re.search(r"\d{1,9}$", base)
    if number is None:
        return False  # another digit, such as ² or ③
    return plain == "o" and int(number.group()) >= 10 and bool(_DEGREES.match(after))


def _charge(plain: str, base: str) -> str | None:
    """The charge of an ion (Na+, SO4 2-); None if it is something else."""
    if not _CHARGE.fullmatch(plain) or not _FORMULA.search(base):
        return None
    return plain if len(plain) == 1 else f" {plain}"


def _is_formula(before: str) -> bool:
    """Tell whether a text ends in a formula in brackets, (a + b) rather than (Smith)."""
    match = re.search(r"[(\[]([^()\[\]]{1,40})[)\]]$", before[-44:])
    if match is None:
        return False
    inner = match.group(1)
    if re.search(r"[A-Za-z]{4,}", inner):
        return False
    # (a + b), f(x); but 3(b).
    is_function = len(inner.strip()) == 1 and before[: match.start()][-1:].isalpha()
    return is_function or bool(re.search(r"[-+−*/=^×·]", inner))


def _is_ordinal(plain: str) -> bool:
    """Tell whether letters make an ordinal or abbreviation of the text before: 1a, 2d, 3e."""
    return plain in ("a", "o", "e", "d", "r", "t", "h", "s", "g")


def _is_letter_of_note(plain: str, base: str, after: str) -> bool:
    """Tell whether a letter marks a note: it does after a word, but not after M, XX or N."""
    if not plain.islower():
        return False
    if not base:
        return after[:1].isalpha()
    if base[-1] in ".,;:!?\"'”’)»":
        return True
    return len(base) >= 3 and base[-3:].isalpha() and base[-3:].islower()
