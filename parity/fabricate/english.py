"""Text tokenizers in upstream's formats, composed in code; here the English `tokenizer.json`.

704 entries: the special tokens upstream's code relies on, at upstream's ids; punctuation, digits
and letters; and pairs and triples of letters that are common in English, made up by rule.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Iterator, Sequence

SIZE = 704
STOP, UNK, SPACE, START = "[STOP]", "[UNK]", "[SPACE]", "[START]"
START_ID = 255

_FIRST = (STOP, UNK, SPACE)
_OTHERS = ("[UH]", "[UM]", "[laughter]", "[sigh]", "[PAD]", "[SEP]", "[CLS]", "[MASK]")
_COMMON_PAIRS = (
    "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le "
    "ve co me de hi ri ro ic ne ea ra ce li ch ll be ma si om ur ca el ta la ns ge ly ei us ec wh"
)
_COMMON_TRIPLES = "the ing and ion ent for tio ere her ate ver ter all ati hat ers his res ill are"
_VOWELS, _CONSONANTS = "aeiou", "tnsrhldcmfpgwybvkxjqz"


def tokenizer_json() -> str:
    """The whole file; the same on every call."""
    merges = _merges(SIZE - len(_FIRST) - 1 - len(_OTHERS) - len(_characters()))
    ordinary = [*_characters(), *("".join(merge) for merge in merges)]
    before = START_ID - len(_FIRST)
    order = [*_FIRST, *ordinary[:before], START, *ordinary[before:], *_OTHERS]
    return tokenizer_file(order, merges, (*_FIRST, START, *_OTHERS))


def tokenizer_file(
    order: Sequence[str], merges: Sequence[tuple[str, str]], special: Iterable[str]
) -> str:
    """The `tokenizers` library's JSON: byte pairs over `order`, whose places are the ids."""
    vocab = {token: index for index, token in enumerate(order)}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": UNK,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "vocab": vocab,
        "merges": [" ".join(merge) for merge in merges],
    }
    file = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(token, vocab[token]) for token in special],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": model,
    }
    return json.dumps(file, ensure_ascii=False, indent=2) + "\n"


def _added(token: str, index: int) -> dict:
    return {
        "id": index,
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _characters() -> list[str]:
    return [*string.punctuation, *string.digits, *string.ascii_lowercase, *string.ascii_uppercase]


def _merges(count: int) -> list[tuple[str, str]]:
    return choose_merges(_characters(), english_candidates(), count)


def choose_merges(
    characters: Iterable[str], candidates: Iterable[tuple[str, str]], count: int
) -> list[tuple[str, str]]:
    """The first `count` candidates of two pieces that are there before them and make a new one."""
    pieces = set(characters)
    merges: list[tuple[str, str]] = []
    for left, right in candidates:
        if len(merges) == count:
            return merges
        if left in pieces and right in pieces and left + right not in pieces:
            merges.append((left, right))
            pieces.add(left + right)
    if len(merges) < count:
        raise AssertionError("too few candidates for the vocabulary")
    return merges


def english_candidates() -> Iterator[tuple[str, str]]:
    """Pairs of pieces that are common in English, the commonest first."""
    pairs = _COMMON_PAIRS.split()
    yield from ((pair[0], pair[1]) for pair in pairs)
    yield from ((triple[:2], triple[2]) for triple in _COMMON_TRIPLES.split())
    yield from ((triple[0], triple[1:]) for triple in _COMMON_TRIPLES.split())
    yield from (("o", "u"), ("ti", "on"), ("ou", "ld"), ("in", "gs"), ("wh", "at"))
    yield from ((vowel, consonant) for vowel in _VOWELS for consonant in _CONSONANTS)
    yield from ((consonant, vowel) for consonant in _CONSONANTS for vowel in _VOWELS)
    yield from ((pair[0].upper(), pair[1]) for pair in pairs)
    yield from ((pair, letter) for letter in "nrstdl" for pair in pairs)
    yield from ((letter, pair) for letter in "st" for pair in pairs)
