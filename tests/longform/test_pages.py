"""Page numbers in a plain text are neither spoken nor chapters; chapters that are numbers stay."""

from __future__ import annotations

import pytest

from mlx_chatterbox.longform.readers import read_document

A = "The old house stood at the end of the road, and nobody had lived in it for many years."
B = "Every morning somebody brought a town, and the river was as rough as it had ever been."


@pytest.fixture
def read(tmp_path):
    def of(text):
        (tmp_path / "x.txt").write_text(text, encoding="utf-8")
        return read_document(tmp_path / "x.txt")

    return of


def chapters(document):
    return [piece.chapter for piece in document.pieces if piece.chapter]


def spoken(document):
    return " ".join(piece.text for piece in document.pieces)


@pytest.mark.parametrize(
    "number",
    ["12", "- 12 -", "— 12 —", "– 12 –", "Page 12", "page 12 of 300", "12/300", "[12]", "p. 12",
     "[Pg 12]", "12 | P a g e", "• 12 •", "xii", "- xii -", "~ 12 ~", "Seite 12"],
)  # fmt: skip
def test_a_page_number_alone_on_a_line_is_not_spoken(read, number):
    found = read(f"{A}\n\nHe went to the house and\n\n{number}\n\nnobody was there. {B}\n")
    assert spoken(found) == f"{A} He went to the house and nobody was there. {B}"
    assert chapters(found) == []
    assert found.remarks == (f"left out: 1 page number ({number})",)


@pytest.mark.parametrize(
    "text",
    [
        f"{A}\n\n12\n\n{B}\n\n13\n\n{A}",
        f"{A}\n\n12\n\n{B}",
        f"{A}\n\n{B}\n\n12\n",
        f"{A}\n\n1\n\f{B}\n\n2\n\f{A}",
        f"{A}\f12\n\n{B}",
        f"{A}\n                    12\n\n{B}\n\n                    13\n{A}",
        f"{A}\n\n1\n\n{B}\n\n2\n\nHe went there and\n\n3\n\nnobody came.",
        "He went to the old house and\n12\nnobody came.\n\n" + B,
    ],
)
def test_page_numbers_that_nothing_marks(read, text):
    found = read(text)
    assert not any(map(str.isdigit, spoken(found)))
    assert chapters(found) == []
    assert found.remarks


def test_where_chapters_have_headings_numbers_are_pages(read):
    found = read(f"Chapter 1\n\n{A}\n\n1\n\n{B}\n\n2\n\nChapter 2\n\n{A}\n\n3\n\n{B}")
    assert chapters(found) == ["Chapter 1", "Chapter 2"]
    assert spoken(found) == f"Chapter 1 {A} {B} Chapter 2 {A} {B}"
    assert found.remarks == ("left out: 3 page numbers (1 to 3)",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"1\n\n{A}\n\n2\n\n{B}\n\n3\n\n{A}", ["1", "2", "3"]),
        (f"The House\n\n1\n\n{A}\n\n2\n\n{B}", ["1", "2"]),
        (f"12\n\n{A}\n\n13\n\n{B}", ["12", "13"]),
        (f"Part One\n\n1\n\n{A}\n\n2\n\n{B}\n\nPart Two\n\n1\n\n{A}",
         ["Part One", "1", "2", "Part Two", "1"]),
        (f"I\n\n{A}\n\nII\n\n{B}", ["I", "II"]),
    ],
)  # fmt: skip
def test_chapters_that_are_numbers_stay(read, text, expected):
    found = read(text)
    assert chapters(found) == expected
    assert found.remarks == ()


@pytest.mark.parametrize(
    "text",
    [
        "1\n\n2\n\n3",
        f"{A}\n\n1984\n\n{B}",
        f"{A} In\n\n1984.\n\nthat was.",
        f"{A}\n\n- Milk\n\n- 12 eggs\n\n{B}",
        f"{A}\n\n(12)\n\n{B}",
    ],
)
def test_other_numbers_are_spoken(read, text):
    import re

    assert re.findall(r"\d+", spoken(read(text))) == re.findall(r"\d+", text)
