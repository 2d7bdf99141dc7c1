"""Bytes as characters and back."""

from __future__ import annotations

import numpy as np
import pytest

from mlx_chatterbox.errors import SettingError
from mlx_chatterbox.voices.base16384 import from_base16384, to_base16384
from tests.chattts_reference import reference, text


@pytest.mark.parametrize("length", range(1, 15))
def test_strings_are_upstreams(length):
    data = bytes(reference()[f"base16384/bytes_{length}"])
    assert to_base16384(data) == text(f"base16384/string_{length}")
    assert from_base16384(text(f"base16384/string_{length}")) == data


@pytest.mark.parametrize("length", [0, 1, 6, 7, 8, 13, 1000, 3071, 3072])
def test_bytes_come_back(length):
    for data in (
        np.random.default_rng(length).bytes(length),
        bytes(length),
        b"\xff" * length,
    ):
        string = to_base16384(data)
        assert from_base16384(string) == data
        assert from_base16384(f"  {string}\n") == data
        assert all("\u3d01" <= one <= "\u3d06" or "\u4e00" <= one <= "\u8dff" for one in string)


@pytest.mark.parametrize("length", range(1, 15))
def test_a_string_that_is_cut_short_is_refused(length):
    """Unless the cut is between groups, where nothing shows it."""
    string = to_base16384(bytes(range(length)))
    for cut in range(1, len(string)):
        if cut % 4:
            with pytest.raises(SettingError, match="the voice is cut short"):
                from_base16384(string[:cut], "the voice")
    with pytest.raises(SettingError, match="cut short"):
        from_base16384("\u3d01")


@pytest.mark.parametrize("wrong", ["a", "\u4dff", "\u8e00", "\u3d07", "\u3d00", "\U00020000", " "])
def test_other_characters_are_refused(wrong):
    string = to_base16384(bytes(range(14)))
    with pytest.raises(SettingError, match=r"character 4 is U\+[0-9A-F]{4,5}"):
        from_base16384(string[:3] + wrong + string[4:])


def test_a_tail_within_the_string_is_refused():
    with pytest.raises(SettingError, match=r"character 2 is U\+3D01"):
        from_base16384("\u4e00\u3d01\u4e00\u4e00")
