"""All text readers take at most linear time; each of these inputs took minutes, or never ended."""

from __future__ import annotations

import pytest

from tests.growth import functions, too_slow

# Function, pattern and how long the text is.
SLOW_ONCE = [
    ("guards", "Wait", 4),
    ("guards", ".", 80_000),
    ("guards", "…", 80_000),
    ("guards", "—", 80_000),
    ("guards", "\n", 80_000),
    ("respelling", "中", 80_000),
    ("respelling", "ก", 80_000),
    ("respelling", "カ", 80_000),
    ("srt-cue", "\\N", 120_000),
    ("srt-cue", "\n", 120_000),
    ("srt-cue", " ", 120_000),
    ("srt-cue", "<!--", 120_000),
    ("srt-cue", "00:00:01,000 --> 00:00:02,000\na\n\n", 1_900_000),
    ("srt-cue-no-sdh", "(a) ", 400_000),
    ("srt-cue-no-sdh", "\\N", 120_000),
    ("markdown", "*a **a ", 140_000),
    ("markdown", "a" + " " * 60_000 + "b", 60_002),
    ("markdown-front", "title: a" + " " * 60_000 + "b\n", 60_010),
    ("yaml-number", "_1", 100_000),
    ("xhtml-style-attribute", "a:b;", 400_000),
]


@pytest.mark.parametrize(("name", "pattern", "length"), SLOW_ONCE)
def test_former_slow_inputs_are_fast(name, pattern, length):
    assert not too_slow([name], [pattern], [length])


def test_many_tags_take_linear_time():
    """A pattern of all tags would be tried at each."""
    import time

    from mlx_chatterbox.text.tags import without

    names = [
        f"[{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}{'x' * (n // 676)}]" for n in range(40_000)
    ]
    text = " ".join(names)
    started = time.process_time()
    assert without(text, names) == ""
    assert without("a [x]" + " " * 80_000 + "b", ["[x]"]) == "a b"
    assert time.process_time() - started < 2.0


def test_what_is_quoted_of_a_text_is_short(tmp_path):
    from mlx_chatterbox.errors import TextError
    from mlx_chatterbox.longform.rows import read_rows
    from mlx_chatterbox.text.pauses import at_pauses
    from mlx_chatterbox.text.respelling import Respelling

    path = tmp_path / "a.csv"
    path.write_text(f"text,{'x' * 40_000}\na,b\n", encoding="utf-8")
    with pytest.raises(TextError, match="columns are") as caught:
        read_rows(path, tmp_path / "out", None, "en", "wav")
    assert len(str(caught.value)) < 600
    for line in ("x" * 40_000 + "\t", "x" * 40_000 + "\ta\n" + "x" * 40_000 + "\tb"):
        path.write_text(line, encoding="utf-8")
        with pytest.raises(TextError, match="respelling") as caught:
            Respelling.read(path)
        assert len(str(caught.value)) < 300
    path.write_text(f"text,output\na,{'../x' * 10_000}\nb,{'x' * 40_000}\n", encoding="utf-8")
    for row in read_rows(path, tmp_path / "out", None, "en", "wav"):
        assert 0 < len(row.problem) < 600
    with pytest.raises(TextError) as caught:
        at_pauses("[pause " + "x" * 40_000 + " 99s]" + "[pause xyz]")
    assert len(str(caught.value)) < 300


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(functions()))
def test_time_is_linear_in_the_text(name):
    """150 patterns at 5,000 to 80,000 characters."""
    assert not too_slow([name])
