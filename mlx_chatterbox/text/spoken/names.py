"""Abbreviations: titles, streets, e.g. and i.e., No. 5; a full stop stays where a sentence ends."""

from __future__ import annotations

import re

from ..sentence_rules import sentence_rules_for
from .codes import ordinals_in
from .numbers import digit_words, short_words
from .reader import DIGIT, LETTER, ReadingRule, word_after, word_before
from .times import stop_after

# With or without a full stop; before a name.
_TITLES = {
    "Mr": "Mister", "Mrs": "Missus", "Ms": "Miss", "Messrs": "Messieurs", "Mme": "Madame",
    "Mlle": "Mademoiselle", "Prof": "Professor",
}  # fmt: skip
# Only with a full stop, and a capital after it.
_RANKS = {
    "Rev": "Reverend", "Hon": "Honorable", "Gen": "General", "Col": "Colonel", "Capt": "Captain",
    "Cpt": "Captain", "Lt": "Lieutenant", "Sgt": "Sergeant", "Cpl": "Corporal", "Maj": "Major",
    "Cmdr": "Commander", "Adm": "Admiral", "Gov": "Governor", "Sen": "Senator",
    "Rep": "Representative", "Pres": "President", "Fr": "Father", "Sr": "Sister", "Br": "Brother",
    "Supt": "Superintendent", "Insp": "Inspector", "Det": "Detective", "Pvt": "Private",
    "Amb": "Ambassador", "Mt": "Mount", "Ft": "Fort", "Pt": "Point", "Atty": "Attorney",
    "Sec": "Secretary", "Mx": "Mix", "Esq": "Esquire",
}  # fmt: skip
# With a full stop, anywhere; capitals do not matter.
_DOTTED = {
    "e.g": "for example", "eg": "for example", "i.e": "that is", "ie": "that is",
    "etc": "et cetera", "vs": "versus", "viz": "namely", "cf": "compare", "approx": "approximately",
    "al": "al", "jr": "Junior", "esq": "Esquire", "inc": "Incorporated", "ltd": "Limited",
    "corp": "Corporation", "bros": "Brothers", "dept": "department", "depts": "departments",
    "univ": "university", "assn": "association", "assoc": "associates", "govt": "government",
    "intl": "international", "est": "established", "misc": "miscellaneous", "avg": "average",
    "max": "maximum", "min": "minimum", "temp": "temperature", "tel": "telephone",
    "ext": "extension", "incl": "including", "excl": "excluding", "orig": "originally",
    "ave": "avenue", "av": "avenue", "blvd": "boulevard", "rd": "road", "hwy": "highway",
    "pkwy": "parkway", "sq": "square", "apt": "apartment", "ste": "suite", "bldg": "building",
    "hrs": "hours", "mins": "minutes", "secs": "seconds", "yrs": "years", "wks": "weeks",
    "mos": "months", "tsp": "teaspoon", "tbsp": "tablespoon", "oz": "ounces", "lbs": "pounds",
    "pp": "pages", "vols": "volumes", "figs": "figures", "chs": "chapters", "eds": "editors",
    "a.k.a": "also known as", "asap": "as soon as possible", "w.r.t": "with respect to",
    "nos": "numbers", "resp": "respectively", "lit": "literally", "mfg": "manufacturing",
    "ca": "circa", "vol": "volume", "fig": "figure", "ch": "chapter", "chap": "chapter",
    "para": "paragraph", "ed": "edition", "opp": "opposite", "ref": "reference",
    "asst": "assistant", "mgr": "manager", "wk": "week", "yr": "year", "rm": "room",
    "pg": "page", "pgs": "pages", "pct": "percent", "natl": "national", "dist": "district",
    "acct": "account", "amt": "amount", "pkg": "package", "pkgs": "packages",
    "pls": "please", "avail": "available", "encl": "enclosed", "ln": "lane",
    "treas": "treasurer", "secy": "secretary", "mtg": "meeting", "hosp": "hospital",
    "prob": "probably", "esp": "especially", "ea": "each", "usu": "usually", "abbr": "abbreviated",
}  # fmt: skip
# Those that are words, too: read only next to a number.
_BEFORE_NUMBERS = frozenset(
    "vol fig ch chap para pp nos figs chs vols ca ext sec ref est rm pg pgs avail".split()
)
_AFTER_NUMBERS = frozenset("hrs mins secs yrs wks mos tsp tbsp oz lbs pct".split())
# Words of their own when they end a sentence.
_WORDS = frozenset("al ed ch fig av sq lit ste temp max min est para ref sec resp ext".split())
_ALWAYS_ENDERS = frozenset("v e.g i.e eg ie vs viz cf approx a.k.a ca".split())
_STREETS = {
    "St": "Street", "Ave": "Avenue", "Av": "Avenue", "Blvd": "Boulevard", "Rd": "Road",
    "Dr": "Drive", "Ln": "Lane", "Ct": "Court", "Pl": "Place", "Sq": "Square", "Hwy": "Highway",
    "Pkwy": "Parkway", "Ter": "Terrace", "Terr": "Terrace", "Cir": "Circle", "Wy": "Way",
    "Plz": "Plaza", "Expy": "Expressway",
}  # fmt: skip
_SIDES = {
    "N": "North", "S": "South", "E": "East", "W": "West", "NE": "Northeast", "NW": "Northwest",
    "SE": "Southeast", "SW": "Southwest",
}  # fmt: skip
STATES = dict(
    pair.split(":")
    for pair in (
        "AL:Alabama AK:Alaska AZ:Arizona AR:Arkansas CA:California CO:Colorado CT:Connecticut "
        "DE:Delaware FL:Florida GA:Georgia HI:Hawaii ID:Idaho IL:Illinois IN:Indiana IA:Iowa "
        "KS:Kansas KY:Kentucky LA:Louisiana ME:Maine MD:Maryland MA:Massachusetts MI:Michigan "
        "MN:Minnesota MS:Mississippi MO:Missouri MT:Montana NE:Nebraska NV:Nevada "
        "NH:New_Hampshire NJ:New_Jersey NM:New_Mexico NY:New_York NC:North_Carolina "
        "ND:North_Dakota OH:Ohio OK:Oklahoma OR:Oregon PA:Pennsylvania RI:Rhode_Island "
        "SC:South_Carolina SD:South_Dakota TN:Tennessee TX:Texas UT:Utah VT:Vermont VA:Virginia "
        "WA:Washington WV:West_Virginia WI:Wisconsin WY:Wyoming"
    ).split()
)
_LETTERS = r"[^\W\d_]"
_TITLE = re.compile(
    rf"(?P<word>{'|'.join(sorted(_TITLES, key=len, reverse=True))})(?:\.|(?=\s[A-Z]))"
)
_RANK = re.compile(rf"(?P<word>{'|'.join(_RANKS)})\.(?=[ \u00a0]{_LETTERS})")
_DOCTOR = re.compile(r"(?P<word>Dr|St|Sts|Ste|SS)(?P<stop>\.)?(?=[^\w.'’]|$|['’]s)")
_STREET = re.compile(
    rf"(?P<word>{'|'.join(sorted(_STREETS, key=len, reverse=True))})(?P<stop>\.)?(?![\w.'’])"
)
_ABBREVIATION = re.compile(
    r"(?P<word>[A-Za-z]{2,6}|v(?=\. )|[A-Za-z](?:\.[A-Za-z]){1,2})(?P<stop>\.)(?!\w)"
)
_BARE = re.compile(r"(?P<word>vs|etc|approx|eg|ie)(?![\w.'’])")
_NUMBERED = re.compile(
    r"(?P<word>[Nn]os?\.|№|[Nn][º°]\.?|pp?\.|[Vv]ols?\.|[Ff]igs?\.|[Cc]h\.|[Cc]hap\.|[Ss]ec\.|[Aa]rt\.|[Ee]q\.|[Pp]ar\.|[Vv]v?\.|[Ll]l?\."
    r"|[Cc]a?\.|[Ee]st\.|[Ee]xt\.|[Oo]p\.|[Bb]k\.|[Pp]gs?\.|[Rr]ms?\.|[Ff]l\.|[Ss]te\.|[Rr]te?\.|[Hh]wy\.|[Cc]hs\.|[Pp]ts?\.)\s?(?=\d|[VXLC]{1,6}\b|I[IVX]{1,6}\b)"
)
_NUMBERED_WORDS = {
    "no.": "number", "nos.": "numbers", "№": "number", "nº": "number", "n°": "number",
    "nº.": "number", "n°.": "number", "p.": "page", "pp.": "pages", "vol.": "volume",
    "vols.": "volumes", "fig.": "figure", "figs.": "figures", "ch.": "chapter",
    "chap.": "chapter", "sec.": "section", "art.": "article", "eq.": "equation",
    "par.": "paragraph", "v.": "verse", "vv.": "verses", "l.": "line", "ll.": "lines",
    "c.": "circa", "ca.": "circa", "est.": "established", "ext.": "extension", "op.": "opus",
    "bk.": "book", "pg.": "page", "pgs.": "pages", "rm.": "room", "rms.": "rooms",
    "fl.": "floor", "ste.": "suite", "rte.": "route", "rt.": "route",
    "hwy.": "highway",
    "chs.": "chapters", "pt.": "part", "pts.": "parts",
}  # fmt: skip
# "My no. is": as no answer would go on.
_NO = re.compile(r"[Nn]o\.(?= (?:is|was|for)\b)")
_SLASHED = re.compile(
    r"(?P<word>[Ww]/[oO]|[Ww]/|[Bb]/c|a/c|[Cc]/o|n/a|N/A|I/O|and/or)(?P<gap>\s?)(?!\w*/)"
)
_SLASHED_WORDS = {
    "w/o": "without", "w/": "with", "b/c": "because", "a/c": "A C", "c/o": "care of",
    "n/a": "not applicable", "I/O": "I O", "and/or": "and or",
}  # fmt: skip
_EITHER = re.compile(r"(?P<one>[A-Za-z]{1,30})/(?P<other>[A-Za-z]{1,30})(?![\w/.])")
_PAIRS = frozenset(
    "he/she she/he him/her his/her his/hers yes/no s/he either/or true/false on/off him/herself "
    "pass/fail male/female men/women and/or mother/father".split()
)
_HOUSE = re.compile(
    rf"(?P<house>\d{{1,5}})(?P<letter>[A-Za-z])?(?P<side> (?:N|S|E|W|NE|NW|SE|SW)\.?)?"
    rf"(?P<street>(?: (?:[A-Z][\w'’]{{0,30}}|\d{{1,3}}(?:st|nd|rd|th))){{1,3}}?)"
    rf" (?P<kind>{'|'.join(sorted(_STREETS, key=len, reverse=True))}|Street|Avenue"
    r"|Boulevard|Road|Drive|Lane|Court|Place|Square|Highway|Parkway|Way|Terrace|Circle|Broadway)(?P<stop>\.)?(?![\w])"
)
_STATE = re.compile(
    rf"(?P<city>[A-Z][a-z]{{2,20}}|NYC|LA|SF|KC|SLC), (?P<state>{'|'.join(STATES)})"
    r"(?P<zip> \d{5}(?:-\d{4})?)?(?![\w'’])"
)


def _cased(word: str, words: str) -> str:
    return words[0].upper() + words[1:] if word[0].isupper() else words


def _no(match: re.Match) -> str:
    return _cased(match.group(), "number")


# As older books write it.
_AND_SO_ON = re.compile(r"&c(?P<stop>\.)?(?![^\W_])")


def _and_so_on(match: re.Match) -> str:
    return "et cetera" + stop_after(match, match.group("stop"))


def _title(match: re.Match) -> str:
    return _TITLES[match.group("word")]


# The Rev. and Mrs. Poole.
_AND_WIFE = re.compile(r" (?:and|&) (?:Mrs|Mr|Ms|Dr|Lady|Madam|Madame)\b")


def _rank(match: re.Match) -> str | None:
    word, after = match.group("word"), word_after(match.string, match.end())
    if _AND_WIFE.match(match.string, match.end()):
        return _RANKS[word]
    if not after[:1].isupper() or after in _BEGINNINGS:
        return None
    if word == "Sec" and not re.match(r"[A-Z][a-z]", after):
        return None
    if word == "Sr" and word_before(match.string, match.start())[:1].isupper():
        return None
    return _RANKS[word]


def _doctor(match: re.Match) -> str | None:
    """Tell doctor from drive, and saint from street."""
    text, word, stop = match.string, match.group("word"), match.group("stop")
    before = word_before(text, match.start())
    after = word_after(text, match.end())
    follows = text[match.end() : match.end() + 2]
    is_name = after[:1].isupper() and follows[:1] in (" ", "\u00a0")
    names = {"Dr": "Doctor", "St": "Saint", "Sts": "Saints", "SS": "Saints"}
    if word in ("Sts", "SS", "Ste"):
        return names.get(word, "Saint") if is_name and stop else None
    is_street = before[:1].isupper() and before.isalpha() and len(before) > 1 and not _ends(before)
    is_street = is_street or re.fullmatch(r"\d{1,3}(?:st|nd|rd|th)", before) is not None
    begins = after in _BEGINNINGS and stop
    if is_name and not (is_street and (begins or _has_house(text, match.start()))):
        return names[word]
    if is_street:
        return {"Dr": "Drive", "St": "Street"}[word] + stop_after(match, stop)
    if word == "Dr":
        return "Doctor" + stop_after(match, stop)
    return None


# Words that begin a sentence, not a name.
_BEGINNINGS = frozenset(
    "The A An He She It We You They I This That These Those There Then But And So In On At When "
    "While If My His Her Our Their What Who Where Why How No Yes Not Now After Before As For From "
    "To With By Is Was Are Were".split()
)


def _ends(word: str) -> bool:
    return word in ("The", "A", "And", "But", "Of", "In", "At", "On", "To", "With", "Is", "I")


def _has_house(text: str, at: int) -> bool:
    before = text[max(0, at - 40) : at]
    return re.search(r"\b\d{1,5}[A-Za-z]?(?: [A-Z][\w.'’]{0,20}){1,3} $", before) is not None


def _street(match: re.Match) -> str | None:
    word, stop = match.group("word"), match.group("stop")
    before = word_before(match.string, match.start())
    is_name = (before[:1].isupper() and before.isalpha() and len(before) > 1) or re.fullmatch(
        r"\d{1,3}(?:st|nd|rd|th)", before
    )
    if not is_name or (not stop and word in ("Pl", "Ct", "Av", "Ter", "Wy", "Cir", "Sq")):
        return None
    return _STREETS[word] + stop_after(match, stop)


def _abbreviation(match: re.Match) -> str | None:
    word, text = match.group("word"), match.string
    small = word.lower()
    words = _DOTTED.get(small)
    if small == "sr" and word_before(text, match.start())[:1].isupper():
        words = "Senior"
    if small == "v" and word_before(text, match.start())[:1].isupper():
        words = "versus" if word_after(text, match.end())[:1].isupper() else None
    if words is None:
        return None
    after = word_after(text, match.end())
    is_referred = small == "ref" and after in ("No", "Nos")
    if (
        small in _BEFORE_NUMBERS
        and not is_referred
        and not text[match.end() : match.end() + 3].strip()[:1].isdigit()
    ):
        return None
    before = word_before(text, match.start())
    if small in _AFTER_NUMBERS and not (
        before[:1].isdigit() and (word.islower() or word.isupper())
    ):
        return None
    if small == "al" and before.lower() != "et":
        return None
    if small == "ed":
        # The 2nd ed., rev. ed.; Mr. Ed.
        if not re.fullmatch(r"\d{1,2}(?:st|nd|rd|th)|rev\.|new|first|second|third|this", before):
            return None
    elif small in _WORDS and stop_after(match, ".") and small != "al" and not is_referred:
        return None
    after = word_after(text, match.end())
    goes_on = small in _ALWAYS_ENDERS or text[match.end() : match.end() + 2].strip().isdigit()
    stop = "" if goes_on else stop_after(match, ".")
    if small in ("jr", "sr", "esq", "inc", "ltd", "corp", "bros") and after:
        stop = stop if after.lower() in sentence_rules_for("en").starters else ""
    return _cased(word, words) + stop


def _bare(match: re.Match) -> str | None:
    if match.start() and match.string[match.start() - 1] in "'’-":
        return None
    return _cased(match.group("word"), _DOTTED[match.group("word")])


def _numbered(match: re.Match) -> str | None:
    word = match.group("word")
    words = _NUMBERED_WORDS.get(word.lower())
    if words is None:
        return None
    before = match.string[match.start() - 1 : match.start()] if match.start() else ""
    if word in ("L.", "V.", "C.", "P.") and not match.string[match.end()].isdigit():
        return None  # L. V. Beethoven
    if word.lower() in ("no.", "nos.") and not match.string[match.end()].isdigit():
        return None
    if before.isalnum() or before == ".":
        return None
    return _cased(word, words) + " "


def _slashed(match: re.Match) -> str | None:
    word = match.group("word")
    words = _SLASHED_WORDS.get(word) or _SLASHED_WORDS.get(word.lower())
    words = words and (words if word in ("N/A", "I/O") else _cased(word, words))
    return words and words + (" " if match.group("gap") else "")


_SHORTENED = {
    "gov't": "government", "int'l": "international", "nat'l": "national", "dep't": "department",
    "ass'n": "association", "sec'y": "secretary", "cont'd": "continued", "rec'd": "received",
}  # fmt: skip
_APOSTROPHE = re.compile(r"(?P<word>(?:gov|int|nat|dep|ass|sec|cont|rec)['’][tlnyd])(?!\w)", re.I)


def _shortened(match: re.Match) -> str | None:
    words = _SHORTENED.get(match.group().lower().replace("’", "'"))
    return words and _cased(match.group(), words)


def _either(match: re.Match) -> str | None:
    both = match.group().lower()
    one, other = match.group("one"), match.group("other")
    if both == "s/he":
        return "she or he"
    return f"{one} or {other}" if both in _PAIRS else None


def _house(match: re.Match) -> str | None:
    part = match.groupdict()
    words = short_words(part["house"]) + (f" {part['letter'].upper()}" if part["letter"] else "")
    if part["side"]:
        words += f" {_SIDES[part['side'].strip(' .')]}"
    words += f"{ordinals_in(part['street'])} {_STREETS.get(part['kind'], part['kind'])}"
    return words + stop_after(match, part["stop"])


# Answers, after which these are not states: "Well, OK".
_ANSWERS = frozenset(
    "Well Yes Yeah Yep No Nope Sure Oh Hey Fine Alright Okay Now Then Hello Hmm".split()
)


def _is_degree(match: re.Match) -> bool:
    """Return True where letters after a name are a degree: "Dr. A. Khan, MD"."""
    before = match.string[max(0, match.start() - 24) : match.start()]
    return match.group("state") in ("MD", "MA", "PA", "DC") and (
        re.search(r"\b(?:Dr|Prof)\.? (?:\w+\.? ){0,2}$|\b[A-DF-MO-RT-VX-Z]\. $", before) is not None
    )


def _state(match: re.Match) -> str | None:
    city = match.group("city")
    if not match.group("zip") and (city in _ANSWERS or _is_degree(match)):
        return None
    city = " ".join(city) if city.isupper() else city
    words = f"{city}, {STATES[match.group('state')].replace('_', ' ')}"
    if match.group("zip"):
        words += f" {digit_words(match.group('zip'), 'oh')}"
    return words


_COMPASS = re.compile(
    r"(?P<side>[NSEW])\.(?= (?:Korea|Africa|America|Ireland|Pole|Carolina|Dakota|Virginia|Germany"
    r"|Bank|Sea|Wales|London|Vietnam|Side|Coast|Berlin|Yorkshire|Sudan|Atlantic|Pacific|Asia"
    r"|Europe|Macedonia|Timor|Midlands|Hollywood|Point|End|Hampton|Indies)\b)"
)


RULES = (
    ReadingRule("NSEW", _COMPASS, lambda match: _SIDES[match.group("side")]),
    ReadingRule(DIGIT, _HOUSE, _house, frozenset("SABRDLCPHWT")),
    ReadingRule("№" + LETTER, _NUMBERED, _numbered, frozenset(".№º°")),
    ReadingRule("nN", _NO, _no),
    ReadingRule("&", _AND_SO_ON, _and_so_on),
    ReadingRule(LETTER, _STATE, _state, frozenset(",")),
    ReadingRule("M" + "P", _TITLE, _title),
    ReadingRule(LETTER, _DOCTOR, _doctor),
    ReadingRule(LETTER, _STREET, _street),
    ReadingRule(LETTER, _RANK, _rank, frozenset(".")),
    ReadingRule(LETTER, _ABBREVIATION, _abbreviation, frozenset(".")),
    ReadingRule(LETTER, _BARE, _bare),
    ReadingRule(LETTER, _SLASHED, _slashed, frozenset("/")),
    ReadingRule(LETTER, _APOSTROPHE, _shortened, frozenset("'’")),
)
SLASHES = (ReadingRule(LETTER, _EITHER, _either, frozenset("/")),)
