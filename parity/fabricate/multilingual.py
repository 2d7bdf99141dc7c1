"""The multilingual tokenizer's two files in upstream's formats, composed in code.

- `grapheme_mtl_merged_expanded_v1.json`: 2454 entries. The special tokens at the English
  vocabulary's ids, tags of the 23 languages, keys of Cangjie codes, letters and signs of every
  script, and merges by rule.
- `Cangjie5_TC.json`: "character<TAB>keys" of some five hundred characters. The keys are made up,
  and many characters share theirs, so that their places among equals count.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from itertools import chain, product, zip_longest
from unicodedata import category

from .english import (
    SPACE,
    START,
    START_ID,
    STOP,
    UNK,
    choose_merges,
    english_candidates,
    tokenizer_file,
)

SIZE = 2454
VOCABULARY_FILE, CANGJIE_FILE = "grapheme_mtl_merged_expanded_v1.json", "Cangjie5_TC.json"
LANGUAGES = tuple(
    "ar da de el en es fi fr he hi it ja ko ms nl no pl pt ru sv sw tr zh".split()  # noqa: SIM905
)
CANGJIE_KEYS = (*string.ascii_lowercase, *string.digits, ".")

_FIRST = (STOP, UNK, SPACE)
_OTHERS = ("[UH]", "[UM]", "[laughter]", "[sigh]", "[PAD]", "[SEP]", "[CLS]", "[MASK]")
# First and last code point of the letters and signs of each script.
_RANGES = {
    "latin": ((0x00C0, 0x00FF), (0x0100, 0x017F), (0x0300, 0x0345)),
    "greek": ((0x0386, 0x03CE),),
    "cyrillic": ((0x0410, 0x044F), (0x0401, 0x0401), (0x0451, 0x0451)),
    "hebrew": ((0x05B0, 0x05BC), (0x05C1, 0x05C2), (0x05C7, 0x05C7), (0x05D0, 0x05EA)),
    "arabic": ((0x0621, 0x063A), (0x0641, 0x0652), (0x0660, 0x0669)),
    "devanagari": ((0x0900, 0x094D), (0x0964, 0x096F)),
    "initials": ((0x1100, 0x1112),),
    "medials": ((0x1161, 0x1175),),
    "finals": ((0x11A8, 0x11C2),),
    "hiragana": ((0x3041, 0x3096), (0x3099, 0x309A)),
    "katakana": ((0x30A1, 0x30FC),),
}
_PUNCTUATION = "、。，！？；：「」『』《》“”‘’«»¿¡…—–·।؟،؛"
_COMMON_CHARACTERS = (
    "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可"
    "她里后小么心多天而能好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三"
    "已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声全工己话儿者向情部正名定女"
    "问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信北少关并内加化由"
    "却代军产入先山五太水万市眼体别处总才场师书比住员九笑性通目华报立马命张活难神数件安表原车白应路"
    "期叫死常提感金何更反合放做系计或司利受光王果亲界及今京务制解各任至清物台象记边共风战干接它许八"
    "特觉望直服毛林题建南度统色字请交爱让认算论百吃义科怎元社术结六功指思非流每青管夫连远资队跟带花"
    "快条院变联言权往展该领传近留红治决周保达办运武半候七必城父强步完革深区即求品士转量空甚众技轻程"
    "告江语英基派满式李息写呢识极令黄德收脸钱党倒未持取设始版双历越史商千片容研像找友孩站广改议形委"
    "早房音火际则首单据导影失拿网香似斯专石若兵弟谁校读志飞观争究包组造落视济喜离虽坏兴罗"
    "國學來說時會這們話愛東車馬長門開關見書語讀寫聽貓狗雨雪春夏秋冬茶飯"
)


def files() -> dict[str, str]:
    """The two files by name; the same on every call."""
    return {VOCABULARY_FILE: vocabulary_json(), CANGJIE_FILE: cangjie_json()}


def vocabulary_json() -> str:
    """The vocabulary, in the format of the `tokenizers` library."""
    tags = [f"[{name}]" for name in LANGUAGES] + [f"[cj_{key}]" for key in CANGJIE_KEYS]
    characters = _characters()
    count = SIZE - len(_FIRST) - 1 - len(_OTHERS) - len(tags) - len(characters)
    merges = choose_merges(characters, _interleaved(_candidates()), count)
    ordinary = [*characters, *("".join(merge) for merge in merges)]
    before = START_ID - len(_FIRST)
    order = [*_FIRST, *ordinary[:before], START, *ordinary[before:], *_OTHERS, *tags]
    return tokenizer_file(order, merges, (*_FIRST, START, *_OTHERS, *tags))


def cangjie_json() -> str:
    """The table of codes: two to four keys, from so few codes that most are shared."""
    characters = dict.fromkeys(_COMMON_CHARACTERS)
    entries = [f"{character}\t{_keys(ord(character))}" for character in characters]
    return json.dumps(entries, ensure_ascii=False, indent=0) + "\n"


def _keys(number: int) -> str:
    letters = string.ascii_lowercase[:24]
    code = number * 7919 % 90
    keys = (code % 24, 5 * (code // 24) + 2, 11 * code % 24, 7 * code % 24)
    return "".join(letters[key] for key in keys[: 2 + code % 3])


def _script(name: str) -> list[str]:
    points = chain.from_iterable(range(first, last + 1) for first, last in _RANGES[name])
    return [chr(point) for point in points if category(chr(point)) != "Cn"]


def _characters() -> list[str]:
    ascii_characters = (
        string.punctuation + string.digits + string.ascii_lowercase + string.ascii_uppercase
    )
    scripts = chain.from_iterable(map(_script, _RANGES))
    return list(dict.fromkeys(chain(ascii_characters, _PUNCTUATION, scripts)))


def _candidates() -> list[Iterator[tuple[str, str]]]:
    """Pairs of pieces by script."""
    marks = ("\u0300", "\u0301", "\u0302", "\u0303", "\u0308", "\u030a", "\u030c", "\u0327")
    devanagari = _script("devanagari")
    signs = [sign for sign in devanagari if category(sign) in ("Mn", "Mc")]
    letters = [letter for letter in devanagari if category(letter) == "Lo"]
    return [
        english_candidates(),
        product("aeiouncsyz", marks),
        product("αεηιουωντσρκλμπ", "αεηιουωςν\u0301"),
        product("бвгдзклмнпрстхч", "аеиоуыья"),
        product("аеиоу", "нтрлсмдвк\u0301"),
        product("אהוילמנרשת", "אהוילמנרשתבד"),
        product("ابتدرسعفقلمنهوي", "اويةنلم\u064e\u0650"),
        product(letters, signs),
        product(_script("initials"), _script("medials")),
        product(_script("medials"), _script("finals")),
        product("かきくけこさしすせそたちつてと", "うんいはの\u3099"),
        product("カキクケコサシスセソタチツテト", "ーンル\u3099"),
    ]


def _interleaved(candidates: list[Iterator[tuple[str, str]]]) -> Iterator[tuple[str, str]]:
    """Pairs of all scripts in turn, so that each has its share of the vocabulary."""
    for row in zip_longest(*candidates):
        yield from (pair for pair in row if pair is not None)
