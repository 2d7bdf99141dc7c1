"""Tables of 22 languages: how they write numbers, and the words that CLDR's rules lack."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """The way a language writes numbers, and the words that CLDR's rules lack.

    Attributes:
        decimal: the mark before decimals; `group`: marks between groups of three digits.
        point: the word for the mark.
        counting: CLDR's rules for numbers before a noun; `alone`: for others.
        ordinals: marks after a number that make it one, and the rules for it.
        to: the word in "5-10"; "" leaves the dash.
        hour: the word after the hours of a time.
        ampersand: the word for "&".
    """

    decimal: str
    group: str
    point: str
    counting: str
    alone: str = "spellout-numbering"
    ordinals: tuple[tuple[str, str], ...] = ()
    to: str = ""
    hour: str = ""
    ampersand: str = ""
    minus: str = "minus"


_MASCULINE, _CARDINAL = "spellout-cardinal-masculine", "spellout-cardinal"
_ORDINAL_M, _ORDINAL_F = "spellout-ordinal-masculine", "spellout-ordinal-feminine"
_ROMANCE = (("º|o(?=\\b)|°", _ORDINAL_M), ("ª|a(?=\\b)", _ORDINAL_F))
LANGUAGES = {
    "ar": Language("٫.", "٬,", "فاصل", "spellout-numbering", to="إلى", ampersand="و", minus="ناقص"),
    "da": Language(
        ",", ".", "komma", "spellout-cardinal-common", to="til", hour="", ampersand="og"
    ),
    "de": Language(",", ".'", "Komma", _MASCULINE, to="bis", hour="Uhr", ampersand="und"),
    "el": Language(
        ",", ".", "κόμμα", "spellout-cardinal-neuter", to="έως", ampersand="και", minus="μείον",
        ordinals=(("ος", _ORDINAL_M), ("η", _ORDINAL_F), ("ο", "spellout-ordinal-neuter")),
    ),
    "es": Language(
        ",", ".", "coma", _MASCULINE, to="a", ampersand="y", minus="menos",
        ordinals=(("er", f"{_ORDINAL_M}-adjective"), *_ROMANCE),
    ),
    "fi": Language(",", ".", "pilkku", _CARDINAL, ampersand="ja", minus="miinus"),
    "fr": Language(
        ",", ".", "virgule", _MASCULINE, to="à", hour="heures", ampersand="et", minus="moins",
        ordinals=(("ers?", _ORDINAL_M), ("[eè]?res?", _ORDINAL_F),
                  ("(?:[iè]?[eè]me|nde?|e)s?", _ORDINAL_M)),
    ),
    "he": Language(".", ",", "נקודה", "spellout-numbering", to="עד", ampersand="ו", minus="מינוס"),
    "hi": Language(".", ",", "दशमलव", _CARDINAL, to="से", ampersand="और", minus="ऋण"),
    "it": Language(
        ",", ".", "virgola", _MASCULINE, to="a", ampersand="e", minus="meno", ordinals=_ROMANCE
    ),
    "ja": Language(
        ".", ",", "点", "spellout-numbering", to="から", ampersand="と", minus="マイナス"
    ),
    "ko": Language(
        ".", ",", "점", "spellout-cardinal-sinokorean", "spellout-cardinal-sinokorean", to="에서",
        ampersand="와", minus="마이너스",
    ),
    "ms": Language(
        ".", ",", "perpuluhan", _CARDINAL, to="hingga", ampersand="dan", minus="negatif"
    ),
    "nl": Language(
        ",", ".", "komma", _CARDINAL, to="tot", hour="uur", ampersand="en", minus="min",
        ordinals=(("de|ste|e", "spellout-ordinal"),),
    ),
    "no": Language(",", ".", "komma", _MASCULINE, to="til", ampersand="og"),
    "pl": Language(",", ".", "przecinek", _MASCULINE, to="do", ampersand="i"),
    "pt": Language(
        ",", ".", "vírgula", _MASCULINE, to="a", ampersand="e", minus="menos", ordinals=_ROMANCE
    ),
    "ru": Language(
        ",", ".", "запятая", _MASCULINE, to="до", ampersand="и", minus="минус",
        ordinals=(("-?(?:ый|ой|ий|й)", _ORDINAL_M), ("-?(?:ая|я)", _ORDINAL_F),
                  ("-?(?:ое|е)", "spellout-ordinal-neuter")),
    ),
    "sv": Language(
        ",", ".", "komma", "spellout-cardinal-reale", to="till", ampersand="och",
        ordinals=((":[ae]", "spellout-ordinal-neuter"),),
    ),
    "sw": Language(".", ",", "nukta", _CARDINAL, to="hadi", ampersand="na", minus="kasoro"),
    "tr": Language(
        ",", ".", "virgül", _CARDINAL, ampersand="ve", minus="eksi",
        ordinals=(("['’]?(?:inci|ıncı|uncu|üncü|nci|ncı|ncu|ncü)", "spellout-ordinal"),),
    ),
    "zh": Language(
        ".", ",", "点", _CARDINAL, _CARDINAL, to="到", ampersand="和", minus="负"
    ),
}  # fmt: skip
# Units in other scripts, as names.json has them.
OWN_UNITS = {
    "ru": {
        "км": "km", "м": "m", "см": "cm", "мм": "mm", "кг": "kg", "г": "g", "мг": "mg", "л": "l",
        "мл": "ml", "км/ч": "km/h", "мин": "min", "сек": "s", "ГБ": "GB", "МБ": "MB", "га": "ha",
        "кВт": "kW", "Вт": "W", "Гц": "Hz",
    },
    "el": {"χλμ": "km", "μ": "m", "εκ": "cm", "κιλ": "kg", "γρ": "g", "χλμ/ώρα": "km/h"},
    "ar": {"كم": "km", "كغ": "kg", "كجم": "kg", "سم": "cm", "م": "m"},
    "he": {'ק"מ': "km", 'ק"ג': "kg", 'ס"מ': "cm"},
    "hi": {"किमी": "km", "किग्रा": "kg", "मी": "m", "सेमी": "cm"},
}  # fmt: skip
