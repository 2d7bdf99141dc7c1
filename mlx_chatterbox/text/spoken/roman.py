"""Roman numerals after names and headings: Louis XIV, Chapter IV, World War II; not "MIX"."""

from __future__ import annotations

import re

from ..sentence_rules import sentence_rules_for
from .numbers import number_words, ordinal_words
from .reader import ReadingRule, word_after, word_before

_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_VALID = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})$")
_NUMERAL = re.compile(r"(?P<roman>[IVXLCDM]{1,15})(?P<rest>['’]s)?(?![\w'’])")
# Several after one heading: I-III; I, II and IV.
_NTH = re.compile(r"(?P<roman>[IVXL]{2,9}(?:th|st|nd|rd)|[VX]th)(?![\w'’])")
JOINT = r"(?: ?[-–—‑] ?|,? (?:and|or|to|through|&) |, )"
_SEVERAL = re.compile(
    rf"(?P<all>[IVXLCDM]{{1,15}}(?:{JOINT}[IVXLCDM]{{1,15}}(?![\w'’])){{1,20}}"
    rf"|[ivxlc]{{1,7}}(?:{JOINT}[ivxlc]{{1,7}}(?![\w'’])){{1,20}})"
)
PART = re.compile(rf"(?P<roman>[IVXLCDMivxlcdm]+)(?P<joint>{JOINT})?")
# Numerals that are read as such only after chapters and verses: not "Appendix C", "Model X".
_LETTERS = {"C": 100, "L": 50, "D": 500, "M": 1000}
_LONG = frozenset("chapter chap chap. canto psalm sonnet book lesson lecture verse page".split())
_LETTERED = frozenset(
    "model series exhibit grade factor category group plate schedule class".split()
)
_SMALL = re.compile(r"(?P<roman>[ivxlc]{1,7})(?P<rest>(?!))?(?![\w'’])")
_HEADINGS = frozenset(
    "chapter chapters chap chap. part parts book books volume volumes vol vol. act scene section "
    "sections sec "
    "sec. art art. bk bk. pt pt. "
    "article articles appendix canto phase stage type level class grade tier mark mk figure "
    "fig "
    "fig. table title unit lesson verse psalm war bowl apollo saturn vatican episode season act "
    "canto exhibit schedule annex corps model series group factor category division round game "
    "wrestlemania lecture sonnet symphony opus movement page pages plate number paragraph "
    "amendment wave gemini mercury titan".split()
)
_REGNAL = frozenset(
    "louis henry edward george william richard charles james elizabeth mary catherine napoleon "
    "pius paul benedict gregory leo innocent clement urban nicholas alexander peter ivan philip "
    "ferdinand alfonso frederick wilhelm otto francis ramesses ramses rameses ptolemy cleopatra "
    "darius xerxes artaxerxes constantine theodosius justinian harald gustav christian olav haakon "
    "carl karl sigismund mehmed murad selim suleiman umberto emmanuel pedro joão juan felipe "
    "margaret margrethe albert leopold rainier robert david malcolm kenneth stephen boniface "
    "sixtus julius adrian celestine honorius eugene callixtus martin thutmose amenhotep seti "
    "edmund john maximilian rudolf rudolph joseph augustus casimir sigismund stanislaus matthias "
    "henri charlemagne conrad lothair bohemond baldwin godfrey cyrus antiochus seleucus "
    "mithridates "
    "philippe françois mohammed muhammad hassan hussein abdullah faisal abbas isabella isabel anne "
    "victoria rama akbar".split()
)
_TITLES = frozenset(
    "king queen pope emperor empress tsar czar kaiser sultan prince princess duke pharaoh shah "
    "caliph archduke saint lord count earl grand elector".split()
)
# Words and abbreviations that look like numerals.
_WORDS = frozenset(
    "I MIX DIM CIVIL MILD DI MI ID LID MID VIM DID LIVID VIVID MIMIC CD DC MD CC MM CM DM LCD MC "
    "CV "
    "XL XXL LI MIC XML XXX D C M L X V CIVIC ILL MILL DILL VIC DIV MV LCM CVC".split()
)
PRONOUN = frozenset(
    "am think thought have had know knew believe guess want wanted love loved like liked need hope "
    "see saw seen mean meant do don did can will would could should cannot shall must may might "
    "said say tell told went go was were left read wrote write found find took take made make gave "
    "give got get felt feel heard hear came come used use always never ever ask asked just play "
    "played bought sold shot won lost met remember wish drew kept keep put ran sat spoke once "
    "still really actually truly myself".split()
)
# After an initial: "Martin I. Jones".
_INITIAL = re.compile(r"\. ?([A-Z][\w'’]{0,30})")
# Verbs that also follow a king's numeral: "Charles I was king".
_REIGNED = frozenset(
    "was were left wrote took made gave came found won lost met sat spoke sold bought kept "
    "put".split()
)
# Before a name that "I" goes on with: "the Mary I knew".
_BEFORE_KNOWN = frozenset("the that this a an my another every same dear poor old young".split())
# Sizes of clothes, and other letters that are not numerals.
_SIZES = frozenset("XXL LXX CXI LII CXX".split())
# Numbered things without "the": films, games, missions.
_SERIES = frozenset("Trek Wars Fantasy Park Story Quest Tour Men Avengers Godfather".split())
_TIMES = frozenset("century dynasty olympiad legion army corps congress arrondissement".split())


def value_of(roman: str) -> int | None:
    """The number of a Roman numeral; None if the letters are not one."""
    if not roman or not _VALID.match(roman):
        return None
    total = 0
    for here, after in zip(roman, [*roman[1:], "I"], strict=True):
        value = _VALUES[here]
        total += -value if value < _VALUES[after] else value
    return total


def _nth(match: re.Match) -> str | None:
    """Read an ordinal: the XVIIIth century."""
    number = value_of(match.group("roman")[:-2])
    return None if number is None else ordinal_words(number)


def _several(match: re.Match) -> str | None:
    """Read several numerals after one heading: "Chapters I-III", "Parts I, II and IV"."""
    before = word_before(match.string, match.start()).lower().rstrip(".")
    heading = before.removesuffix("s")
    parts = [part.groups() for part in PART.finditer(match.group())]
    if not {before, heading} & _HEADINGS:
        # The I-IV scale.
        numerals = [roman for roman, _ in parts]
        is_range = len(parts) == 2 and parts[0][1].strip() in ("-", "–", "—", "‑")
        if not is_range or max(map(len, numerals)) < 2 or not set("".join(numerals)) <= set("IVX"):
            return None
    elif heading == before and any(
        not joint or joint.strip() not in "-–—‑" for _, joint in parts[:-1]
    ):
        return None  # "Chapter II and I" is not two chapters
    words = []
    for roman, joint in parts:
        number = value_of(roman.upper())
        if number is None:
            return None
        words.append(number_words(number))
        joint = joint or ""
        words.append(" to " if joint.strip() in ("-", "–", "—", "‑") else joint.replace("&", "and"))
    return "".join(words)


def _numeral(match: re.Match) -> str | None:
    roman, text = match.group("roman"), match.string
    number = value_of(roman)
    if number is None:
        return None
    rest = match.group("rest") or ""
    before = word_before(text, match.start())
    low = before.lower().rstrip(".,'’s") if before.endswith(("'s", "’s")) else before.lower()
    after = word_after(text, match.end())
    heading = low if low in _HEADINGS else low.rstrip(".").removesuffix("s")
    speaks = roman == "I" and after in PRONOUN
    if heading in _HEADINGS and before[:1].isalpha():
        if speaks or before[-1] == ".":
            return None  # another sentence
        if roman in _LETTERS and (heading not in _LONG or roman in "DM"):
            return None
        if heading in _LETTERED and roman == "X":
            return None
        is_heading = before[0].isupper() or before[-1] == "." or roman not in _WORDS
        return number_words(number) + rest if is_heading else None
    if before[:1].isupper() and low in _REGNAL:
        is_initial = len(roman) == 1 and _INITIAL.match(text, match.end())
        if is_initial and is_initial.group(1).lower() not in sentence_rules_for("en").starters:
            return None
        if roman in ("D", "C", "M", "L") or (roman == "X" and low in ("malcolm", "henry")):
            return None
        earlier = word_before(text, text.rindex(before, 0, match.start())).lower()
        if (speaks and after not in _REIGNED) or (roman == "I" and earlier in _BEFORE_KNOWN):
            return None
        return f"the {ordinal_words(number)}{rest}"
    if after.lower() in _TIMES and roman != "I":
        return ordinal_words(number)
    if roman in _WORDS:
        return _alone(match, number) if roman in "IVX" else None
    if len(roman) > 2 and "I" in roman + "I" and _HIGH.match(roman) and roman not in _SIZES:
        return number_words(number) + rest
    if len(roman) < 2 or not set(roman) <= set("IVX"):
        return None
    return _after_name(match, number, before, rest)


def _after_name(match: re.Match, number: int, before: str, rest: str) -> str | None:
    """Read a numeral of two letters or more, after any name: "John Smith III", "Rocky II"."""
    text = match.string
    if before[:1].isupper() and before.isalpha() and not before.isupper():
        earlier = word_before(text, text.rindex(before, 0, match.start()))
        is_series = before in _SERIES or text[match.end() : match.end() + 1] == ":"
        has_two_names = earlier[:1].isupper() and earlier.rstrip(".").isalpha()
        is_person = earlier.lower() in _TITLES or (has_two_names and number < 6 and not is_series)
        return f"the {ordinal_words(number)}{rest}" if is_person else number_words(number) + rest
    if before.endswith(("Jr.", "Sr.")):
        return None
    if alone := _alone(match, number):
        return alone
    return number_words(number) + rest if len(match.group("roman")) > 2 else None


# Beyond 39, and no word: XLII, LXI, XCIX.
_HIGH = re.compile(r"(?:X[LC]|L?X{1,3}|LX{0,3}|C{1,3}X)(?:IX|IV|V?I{0,3})$")


def _alone(match: re.Match, number: int) -> str | None:
    """Read a numeral that is the whole text, or opens a list: "IV.", "II. The Sea"."""
    text, roman = match.string, match.group("roman")
    before = text[max(0, match.start() - 4) : match.start()]
    if before.strip(" *#") and not before.endswith("\n"):
        return None
    after = text[match.end() : match.end() + 2]
    is_whole = not text[match.end() :].strip(" .:\n") and (len(roman) > 1 or after[:1] == ".")
    return (
        number_words(number) if is_whole or (len(roman) > 1 and after[:1] in (".", ":")) else None
    )


def _small(match: re.Match) -> str | None:
    before = word_before(match.string, match.start()).lower()
    if before not in _HEADINGS or before in ("type", "class", "series", "part"):
        return None
    number = value_of(match.group("roman").upper())
    return None if number is None or match.group() == "c" else number_words(number)


RULES = (
    ReadingRule("IVXLCDMivxlc", _SEVERAL, _several),
    ReadingRule("IVXL", _NTH, _nth),
    ReadingRule("IVXLCDM", _NUMERAL, _numeral),
    ReadingRule("ivxlc", _SMALL, _small),
)
