"""The gender of a number, guessed from the word after it: veintiuna casas, eine Woche."""

from __future__ import annotations

from .european_words import WORDS

# The gender of a number is guessed from the ending of the next word; these are exceptions.
_FEMININE_ENDINGS = {
    "es": ("a", "as", "ción", "ciones", "dad", "dades"),
    "pt": ("a", "as", "ção", "ções", "dade", "dades"),
    "it": ("a", "zione", "tà"),
}
_NOT_FEMININE = tuple("ma mas día días dia dias mapa mapas eta etas ista istas".split())
_GERMAN_FEMININE = tuple(
    "ung heit keit schaft tion tät Frau Uhr nacht Woche Person Seite Katze Minute Sekunde Tonne "
    "Frage "
    "Straße Stadt Hand".split()
)
# Words with which a heading or a sentence goes on after its number.
_GERMAN_BEGINNINGS = frozenset(
    "Der Die Das Den Dem Ein Eine Im In Am An Auf Aus Bei Es Er Sie Wir Ich Ihr Du Und Oder Zu Zum "
    "Zur Von Vom Wie Was Wer Wo Wann Warum Mit Nach Über Unter Vor Für".split()
)
_FRENCH_FEMININE = frozenset(
    "année semaine journée foi personne femme fille page maison voiture question ville chose "
    "place pièce partie nuit soirée image victoire défaite lettre langue école équipe".split()
)
_NO_NOUNS = frozenset(
    "de del y e o u a al en con por para que es son fue era se no más menos sobre entre sin hasta "
    "desde como si da do di dal em no na ao com que são foi mas por ou per su tra fra ed od sono "
    "ha "
    "ai alla della delle dei degli una uma la las gli le il lo los el os as um un pero ma cuando "
    "esta está estaba era para cada toda todas contra ya ainda já".split()
)


def counting_rules(code: str, before: str, after: str) -> str | None:
    """The rules of CLDR for a number before a noun, where the words around tell: veintiuna casas.

    None where they do not: the number is then spoken in its default form.
    """
    if code == "de":
        if not after[:1].isupper() or before[:1].isupper() or after in _GERMAN_BEGINNINGS:
            return None
        is_feminine = after in WORDS[code].feminine or after.endswith(_GERMAN_FEMININE)
        return f"spellout-cardinal-{'feminine' if is_feminine else 'masculine'}"
    if code == "fr":
        singular = after.removesuffix("s")
        is_feminine = singular in _FRENCH_FEMININE or singular in WORDS[code].feminine
        return "spellout-cardinal-feminine" if is_feminine or singular.endswith("tion") else None
    if code not in _FEMININE_ENDINGS or not after.islower() or after in _NO_NOUNS:
        return None
    if after.endswith(_FEMININE_ENDINGS[code]) and not after.endswith(_NOT_FEMININE):
        return "spellout-cardinal-feminine"
    # Before a masculine noun, in the plural or after 1: veintiún libros; else it may not be a noun.
    return "spellout-cardinal-masculine" if after.endswith(("o", "os", "es", "i", "e")) else None
