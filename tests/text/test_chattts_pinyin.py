"""The table of homophones that is made from pypinyin's dictionaries."""

from __future__ import annotations

import sys

import pytest

from mlx_chatterbox.errors import TextError
from mlx_chatterbox.text.chattts import pinyin
from mlx_chatterbox.text.chattts.normalize import ChatTTSNormalizer


def test_without_pypinyin_there_is_an_error_with_a_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "pypinyin.phrases_dict", None)
    pinyin.pinyin_homophones.cache_clear()
    with pytest.raises(TextError, match=r"pip install 'mlx-chatterbox\[zh\]'"):
        pinyin.pinyin_homophones()


def test_common_characters_are_those_of_the_first_level():
    common = pinyin._common_characters()
    assert (len(common), len(set(common))) == (3755, 3755)
    assert (common[0], common[-1]) == ("啊", "座")
    assert {"的", "是", "中", "国", "好"} <= set(common)


def test_a_rare_character_becomes_a_common_one_of_the_same_sound_and_tone():
    pypinyin = pytest.importorskip("pypinyin")
    table = pinyin.pinyin_homophones()
    assert len(table) > 15000
    common = set(pinyin._common_characters())
    rare = [chr(code) for code in range(0x4E00, 0xA000) if chr(code) not in common]
    changed = [one for one in rare if table(one) != one]
    assert len(changed) == len(table)
    assert {table(one) for one in changed} <= common
    assert all(table(one) == one for one in common)
    for one in ("驫", "囍", "犇", "龘"):
        assert pypinyin.pinyin(table(one)) == pypinyin.pinyin(one)
    text = ChatTTSNormalizer(table)("囍事，好").text
    assert text != "囍事，好"
    assert text.endswith("事，好")
