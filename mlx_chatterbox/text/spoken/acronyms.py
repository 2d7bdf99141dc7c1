"""Acronyms: FBI by its letters, NASA as a word, U.S., Ph.D., AT&T, CEOs, the NBA's."""

from __future__ import annotations

import re

from ..sentence_rules import sentence_rules_for
from .reader import LETTER, ReadingRule, word_after, word_before
from .times import stop_after

# Spelled although they have vowels. Acronyms without vowels are always spelled.
_SPELLED = frozenset(
    "FBI CIA NSA USA UK EU UN UAE USSR IBM CEO CFO CTO COO CIO CMO VIP API APIS CPU GPU TPU NPU "
    "URL URI USB UI UX AI AGI ML OS IOS PC IT ID IQ EQ UFO ATM DIY DNA RNA HIV MRI ICU ER IRA IRS "
    "FDA EPA DEA ATF DOJ DOE DOD FCC SEC FAA NBA WNBA MBA NCAA MLA APA IEEE ACM ACLU NAACP AARP "
    "AFL CIO UAW IMF IOC OECD ECB EEC EC ESA BBC ABC ESPN AMC HBO CNN PBS NPR AP UPI UCLA USC MIT "
    "NYU LSU UV LED LCD OLED ECG EKG EEG IUD IVF ADHD OCD ADD PTSD AM PM AD CE BCE EST EDT PDT CDT "
    "GOP DNC RNC IPO ROI KPI GDP GNP EBITDA ETF IBAN VAT APR USD EUR IOU AKA ETA RIP TBA FAQ OMG "
    "IMO IDK IRL AFK SOS SUV RV EV AC ISO ISBN GPA SAT ACT GED ESL PE ELO IELTS HR PR PA MA BA "
    "UPS USPS EU ISS ICBM IED NGO IDE ORM SQL JSON IP VPN ISP IOT AR VR XR UHD AAA AA TV DVD CD "
    "EP LP CGI RPG ROTC EMT ABBA OCR ASR AES RSA UEFI BIOS PDF UTC ICE IPA MVP TBD UAV EEA IKEA "
    "USAF RAF RAM OTC AMA NRA ANC BMI BPA IBS UTI STI ECT ICC ICJ ILO IAEA EIA OPA ETC "
    "NYC TGIF LGBTQIA USMC NYSE PhD UPC SKU AOL MSN AWS IAM LA NYPD LAPD EMS UNHCR UNDP UNFPA "
    "UNEP CI".split()
) - frozenset("ABBA BIOS EBITDA IKEA JSON RAM SAT ACT ICE ETC ADD LA RIP AKA".split())
# As words.
_READ = frozenset(
    "NASA NATO UNESCO UNICEF OPEC AIDS SCUBA LASER RADAR SONAR FIFA UEFA PIN SIM RAM ROM LAN WAN "
    "SWAT FEMA OSHA NAFTA ASEAN BAFTA YOLO FOMO COVID SARS MERS CAPTCHA POTUS SCOTUS DARPA ASCII "
    "GIF JPEG MIDI NIMBY NASDAQ ACE OK".split()
)
# Acronyms that are words, too: spelled only in a fitting place in a text not all in capitals.
_AMBIGUOUS = {
    "US": None,
    "IT": frozenset("department support team manager staff company industry sector specialist "
                    "professional infrastructure systems services".split()),
    "WHO": frozenset("said says declared reported director officials".split()),
    "AM": frozenset(["radio", "station", "stations", "band"]), "ER": frozenset(), "OS": None,
    "ID": None, "AI": None, "AD": frozenset(),
    "PA": None, "MA": frozenset(), "BA": None, "PE": None, "EST": None, "APR": None,
    "ADD": frozenset(),
    "AA": None, "AAA": None, "OR": frozenset(), "IRA": None, "ICE": frozenset(), "SEC": None,
    "AC": None,
    "PM": None, "PR": None, "HR": None, "TV": None,
}  # fmt: skip
_INTERJECTIONS = frozenset(
    "HMM HM MM MMM SH SHH SHHH PSST PST BRR BRRR GRR GRRR PFFT PFT TSK TSSK NTH ZZZ ZZ CWM NBHD "
    "MR MRS MS DR "
    "ST LTD NGL PHD BLVD RD LN".split()
) - {"PST", "PHD"}
_CAPITALS = re.compile(
    r"(?P<word>[A-Z]{2,6})(?P<rest>s|['’]s|s['’]|['’]d|ed)?(?![\w])(?!\.[A-Za-z])"
)
_DOTTED = re.compile(
    r"(?P<word>(?:[A-Z]\.){2,6}|(?:[A-Z]\. ){1,3}(?=[A-Z][a-z'’])|[a-z]\.[a-z]\.(?:[a-z]\.){0,3}"
    r"|(?:Ph|Ed|Psy|Sc|Pharm)\.\s?D\.|M\.Sc\.|B\.Sc\.|B\.Ed\.|M\.Ed\.|D\.Phil\.|M\.Phil\.|LL\.[BMD]\.)(?P<rest>s|['’]s)?(?![\w])"
)
_LAST_BARE = re.compile(r"(?P<word>(?:[A-Z]\.){1,5}[A-Z])(?P<rest>s|['’]s)?(?![\w.])")
_AND = re.compile(r"(?P<one>[A-Z]{1,4})\s?&\s?(?P<other>[A-Z]{1,4})(?P<rest>s|['’]s)?(?![\w])")
_MIXED = {
    "AM/FM": "A M F M",
    "MSS": "manuscripts",
    "WWI": "World War one", "WWII": "World War two", "WW1": "World War one", "WW2": "World War two",
    "PhD": "P H D", "PhDs": "P H Ds", "BSc": "B S C", "MSc": "M S C", "IoT": "I O T",
    "GHz": "gigahertz",
    "pH": "P H", "NaCl": "N A C L", "HCl": "H C L", "NaOH": "N A O H", "KCl": "K C L",
    "mRNA": "M R N A", "tRNA": "T R N A",
    "LaTeX": "LaTeX", "eBay": "eBay", "iOS": "I O S", "macOS": "mac O S", "SaaS": "sass",
    "WiFi": "wifi", "IPv": "I P V", "MHz": "megahertz", "kWh": "kilowatt hour", "TVs": "T Vs",
    "km/h": "kilometers per hour",
}  # fmt: skip
_MIXED_WORD = re.compile(rf"(?P<word>{'|'.join(sorted(_MIXED, key=len, reverse=True))})(?![\w])")
_LEADING = re.compile(r"(?P<word>[a-z]{1,3})-?(?=[A-Z]{2,5}(?![\w]))")


def spelled(word: str) -> str:
    """Spell a word: each letter as a word of its own, in capitals."""
    return " ".join(c.upper() for c in word if c.isalpha())


def _is_shouted(text: str, start: int, end: int) -> bool:
    """Return True where the words around are in capitals, too: then capitals mark nothing."""
    before = re.findall(r"[^\W\d_]+", text[max(0, start - 30) : start])[-2:]
    after = re.findall(r"[^\W\d_]+", text[end : end + 30])[:2]
    around = [w for w in (*before, *after) if len(w) > 1]
    return bool(around) and all(word.isupper() and not _is_initials(word) for word in around)


_ONSETS = frozenset(
    "BL BR CH CL CR CZ DR DW FL FR GH GL GN GR KL KN KR MN PH PL PR PS PT RH SC SH SK SL SM SN "
    "SP SQ "
    "SQ SR ST SV SW TH TR TS TW VR WH WR ZW TZ PF SF CN GW LL FJ".split()
)


def _is_initials(word: str) -> bool:
    if word in _READ or word in _INTERJECTIONS:
        return False
    if word in _SPELLED or not re.search("[AEIOUY]", word):
        return True
    # No English word begins like this.
    return len(word) < 6 and word[:2] not in _ONSETS and not re.search("[AEIOUY]", word[:2])


def _capitals(match: re.Match) -> str | None:
    word, rest, text = match.group("word"), match.group("rest") or "", match.string
    if match.start() and text[match.start() - 1] in "'’_":
        return None
    is_shouted = _is_shouted(text, match.start(), match.end())
    if word in _AMBIGUOUS:
        if is_shouted or not _fits(word, match):
            return None
    elif not _is_initials(word) or (word not in _SPELLED and len(word) > 4 and is_shouted):
        return None
    return spelled(word) + rest.replace("’", "'")


def _fits(word: str, match: re.Match) -> bool:
    nouns = _AMBIGUOUS[word]
    if nouns is None:
        return True
    before = word_before(match.string, match.start()).lower()
    if word_after(match.string, match.end()) in nouns:
        return True
    if word == "AD" and before in ("century", "centuries"):
        return True
    return (
        word in ("IT", "WHO", "ER", "MA", "AD")
        and before in ("the", "an", "in", "a")
        and (word not in ("IT",) or before in ("in", "an"))
    )


def _dotted(match: re.Match) -> str | None:
    word = match.group("word")
    if word[-1] == " ":
        return spelled(word) + " "
    if word.islower() and word.replace(".", "") not in (
        "am",
        "pm",
        "asap",
        "rsvp",
        "aka",
        "ps",
        "qed",
        "nb",
        "rip",
    ):
        return None
    stop = stop_after(match, ".")
    if stop and word_after(match.string, match.end())[:1].isupper() and not _starts(match):
        stop = ""
    words = (
        spelled(word) if word.isupper() or not word.islower() else " ".join(word.replace(".", ""))
    )
    return words + (match.group("rest") or "").replace("’", "'") + stop


def _starts(match: re.Match) -> bool:
    """Return True where the next word is one that begins sentences, rather than a name."""
    return word_after(match.string, match.end()).lower() in sentence_rules_for("en").starters


def _and(match: re.Match) -> str:
    rest = (match.group("rest") or "").replace("’", "'")
    return f"{spelled(match.group('one'))} and {spelled(match.group('other'))}{rest}"


def _mixed(match: re.Match) -> str:
    return _MIXED[match.group("word")]


RULES = (
    ReadingRule(LETTER, _AND, _and, frozenset("&")),
    ReadingRule(LETTER, _DOTTED, _dotted, frozenset(".")),
    ReadingRule(
        LETTER, _LAST_BARE, lambda match: spelled(match.group("word")) + (match.group("rest") or "")
    ),
    ReadingRule(LETTER, _MIXED_WORD, _mixed),
    ReadingRule(LETTER, _CAPITALS, _capitals),
)
