"""Turbo's and Nano's tokenizer files in upstream's formats, composed in code.

50257 entries like GPT-2's (256 bytes, 50000 merges, the end of text), then the 19 tags of the
published model. The merges are made up by rule: letters, digits, and bytes of what is not ASCII.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from itertools import chain, product

from .english import choose_merges, english_candidates

BASE_SIZE, SIZE = 50257, 50276
END_OF_TEXT = "<|endoftext|>"
TAGS = (
    *("[angry]", "[fear]", "[surprised]", "[whispering]", "[advertisement]", "[dramatic]"),
    *("[narration]", "[crying]", "[happy]", "[sarcastic]", "[clear throat]", "[sigh]", "[shush]"),
    *("[cough]", "[groan]", "[sniff]", "[gasp]", "[chuckle]", "[laugh]"),
)
MAX_LENGTH = 1024


def files() -> dict[str, str]:
    """The five files, by name; the same on every call."""
    alphabet = _alphabet()
    merges = choose_merges(alphabet.values(), _candidates(alphabet), BASE_SIZE - 256 - 1)
    order = [*alphabet.values(), *("".join(merge) for merge in merges), END_OF_TEXT]
    names = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT)
    added = {tag: BASE_SIZE + index for index, tag in enumerate(TAGS)}
    settings = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(index): _described(token, special=token == END_OF_TEXT)
            for token, index in {END_OF_TEXT: BASE_SIZE - 1, **added}.items()
        },
        **names,
        "errors": "replace",
        "model_max_length": MAX_LENGTH,
        "pad_token": None,
        "tokenizer_class": "GPT2Tokenizer",
    }
    return {
        "vocab.json": _json({token: index for index, token in enumerate(order)}),
        "merges.txt": "\n".join(["#version: 0.2", *(" ".join(merge) for merge in merges), ""]),
        "added_tokens.json": _json(added),
        "special_tokens_map.json": _json(names),
        "tokenizer_config.json": _json(settings),
    }


def _json(content: dict) -> str:
    return json.dumps(content, ensure_ascii=False, indent=0) + "\n"


def _described(token: str, special: bool) -> dict:
    flags = dict.fromkeys(("lstrip", "rstrip", "single_word"), False)
    return {"content": token, **flags, "normalized": True, "special": special}


def _alphabet() -> dict[int, str]:
    """Visible character of each byte, in GPT-2's order."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    shown = {byte: chr(byte) for byte in visible}
    return shown | {byte: chr(256 + index) for index, byte in enumerate(hidden)}


def _candidates(alphabet: dict[int, str]) -> Iterator[tuple[str, str]]:
    space = alphabet[0x20]
    lower, upper = string.ascii_lowercase, string.ascii_uppercase
    pairs = ["".join(pair) for pair in product(lower, lower)]
    # Two bytes of UTF-8: a lead and what follows it; then the third of the commonest emoji.
    leads, trails = range(0xC2, 0xF1), range(0x80, 0xC0)
    emoji = alphabet[0xF0] + alphabet[0x9F]
    return chain(
        english_candidates(),
        ((space, letter) for letter in lower + upper + string.digits),
        ((alphabet[lead], alphabet[trail]) for lead, trail in product(leads, trails)),
        ((emoji, alphabet[byte]) for byte in trails),
        product(lower, lower),
        ((space + pair[0], pair[1]) for pair in pairs),
        product(upper, lower),
        product(string.digits, string.digits),
        product(string.punctuation, string.punctuation),
        product(pairs, lower),
        ((space + pair, letter) for pair, letter in product(pairs, lower)),
        product(pairs, pairs),
    )
