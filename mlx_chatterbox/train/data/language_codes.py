"""Language codes as tables write them: "EN", "en-US", "JP", "English"."""

from __future__ import annotations

from collections.abc import Collection

from ...text.multilingual import SUPPORTED_LANGUAGES

# ISO 639-1.
_ISO = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy "
    "da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu "
    "hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb "
    "lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om "
    "or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw "
    "ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)
_CODES = frozenset(_ISO.split())
# Country codes in place of languages, older and three-letter codes.
_ALIASES = (
    "jp:ja cn:zh kr:ko iw:he nb:no nn:no in:id cmn:zh zho:zh chi:zh yue:yue eng:en deu:de "
    "ger:de fra:fr fre:fr spa:es ita:it jpn:ja kor:ko por:pt rus:ru nld:nl dut:nl swe:sv "
    "tur:tr ara:ar hin:hi pol:pl dan:da fin:fi ell:el gre:el heb:he msa:ms may:ms nor:no "
    "nob:no nno:no swa:sw swh:sw"
)
_OTHER = dict(pair.split(":") for pair in _ALIASES.split())
_NAMES = {name.lower(): code for code, name in SUPPORTED_LANGUAGES.items()}


def is_language(value: str) -> bool:
    """True if a cell is a language: a code, with or without a region, or a name."""
    value = value.strip().lower().replace("_", "-")
    base, _, region = value.partition("-")
    if value in _NAMES or value in _OTHER:
        return True
    return base in _CODES | set(_OTHER) and (not region or (region.isalnum() and len(region) <= 4))


def known_language(value: str | None, known: Collection[str]) -> str | None:
    """Return the model's code for a table's language; the table's own word if there is none.

    Args:
        known: the model's codes, in lower case.
    """
    if not value:
        return None
    lower = value.strip().lower()
    base = lower.replace("_", "-").partition("-")[0]
    tries = (lower, _OTHER.get(lower), _NAMES.get(lower), base, _OTHER.get(base))
    return next((code for code in tries if code in known), value.strip())
