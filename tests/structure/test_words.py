"""Words that a reader of plain English would have to read twice, kept out of code and pages."""

from __future__ import annotations

import re

import pytest

from .imports import ROOT, TREES

# The word, its replacement, and contexts in which it is right.
WORDS = [
    (
        r"behind\b|_behind",
        "after",
        r"(left|leaves?|leave nothing else|leave) behind|lags behind"
        r"|behind the (old schoolhouse|\{noun\})",
    ),
    (
        r"\b(is|are|was|were|be|been) (told|said)\b",
        "reported, printed, stated",
        r"\b(is|are|was|were|be|been) told apart|She was told",
    ),
    (r"\b(is|are|was|were|be) sounded\b|\bsounded in\b", "vocoded, played", "^$"),
    (r"samples that are no numbers|loss is no number", "NaN or Inf", "^$"),
]
ENDINGS = {".py", ".c", ".h", ".cpp", ".md"}
FILES = [
    path
    for tree in (*TREES, "docs")
    for path in sorted((ROOT / tree).rglob("*"))
    if path.suffix in ENDINGS
] + sorted(ROOT.glob("*.md"))


@pytest.mark.parametrize(("word", "better", "allowed"), WORDS, ids=lambda value: value[:8])
def test_words_that_say_something_else(word, better, allowed):
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(word, re.sub(allowed, "", line), re.IGNORECASE)
    ]
    assert not found, f"write {better!r}"


def test_there_are_files_to_look_at():
    assert len(FILES) > 400
