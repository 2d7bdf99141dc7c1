"""A made-up tokenizer of ChatTTS: structure, sizes and tokens in brackets as upstream's, few words.

The reference tensors of ChatTTS were computed with it.
"""

from __future__ import annotations

import json
import string

from mlx_chatterbox.text.chattts.special_tokens import MANNERS, MARKS, SOUNDS

# As many as bert-base-chinese has, and its own marks where that has them.
_SIZE = 21128
_BERT = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
_FIRST_WORD = 104
_WORDS = (
    "hello world the what is your favorite english food chat text speech good morning this again "
    "##ing ##er ##ly"
)
_PUNCTUATION = "!\"'(),-.:;?，。、！？：；"


def tokenizer_files() -> dict[str, str]:
    """Texts of the tokenizer's files by name; the two beside `tokenizer.json` repeat its marks."""
    names = {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    special = {**names, "additional_special_tokens": list(_tokens())}
    settings = {**special, "tokenizer_class": "BertTokenizer", "do_lower_case": True}
    return {
        "tokenizer.json": tokenizer_json(),
        "tokenizer_config.json": json.dumps(settings, indent=2) + "\n",
        "special_tokens_map.json": json.dumps(special, indent=2) + "\n",
    }


def tokenizer_json() -> str:
    """The text of `tokenizer.json`; as upstream's very likely does, it cuts and pads texts."""
    added = {**_BERT, **{_SIZE + i: token for i, token in enumerate(_tokens())}}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": {
                "direction": "Right",
                "max_length": 256,
                "strategy": "LongestFirst",
                "stride": 0,
            },
            "padding": {
                "strategy": "BatchLongest",
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "[PAD]",
            },
            "added_tokens": [_added(id_, token) for id_, token in added.items()],
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": True,
                "handle_chinese_chars": True,
                "strip_accents": None,
                "lowercase": True,
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": _between_marks(),
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
            "model": {
                "type": "WordPiece",
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": _vocabulary(),
            },
        },
        ensure_ascii=False,
    )


def _tokens() -> tuple[str, ...]:
    """The tokens in brackets after BERT's vocabulary, in the order of their ids."""
    marks = [mark for mark in MARKS if mark not in _BERT.values()]
    speakers, sounds = marks[-2:], SOUNDS[:6]
    return (*marks[:-2], *sounds, *speakers, *SOUNDS[6:], *MANNERS)


def _vocabulary() -> dict[str, int]:
    letters = string.ascii_lowercase
    words = [*_PUNCTUATION, *string.digits, *letters, *(f"##{one}" for one in letters)]
    words += _WORDS.split()
    words += map(chr, range(0x4E00, 0xA000))
    first = [_BERT.get(i, f"[unused{i}]") for i in range(_FIRST_WORD)]
    return {word: i for i, word in enumerate((first + words)[:_SIZE])}


def _added(id_: int, token: str) -> dict:
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    return {"id": id_, "content": token, **flags, "special": True}


def _between_marks() -> dict:
    """The template that puts BERT's marks around a text, which the model does not want."""
    marks = {"[CLS]": 101, "[SEP]": 102}

    def mark(token: str, kind: int = 0) -> dict:
        return {"SpecialToken": {"id": token, "type_id": kind}}

    single = [mark("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, mark("[SEP]")]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}, mark("[SEP]", 1)],
        "special_tokens": {
            token: {"id": token, "ids": [id_], "tokens": [token]} for token, id_ in marks.items()
        },
    }
