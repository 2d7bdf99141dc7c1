"""A name means one thing, and a docstring begins with what it documents."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

import pytest

from .imports import LIBRARY, ROOT

TREES = (LIBRARY, "convert")
FILES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for tree in TREES
    for path in sorted((ROOT / tree).rglob("*.py"))
}
# A question or a preposition leaves the subject to be guessed.
GUESSED = re.compile(r"(What|Which|Whether|Who|Whose|Where|When|How|Of|As|Without|Only|Not|No)\b")
# The history of a value, not its content.
HISTORY = {"given", "found", "told", "said", "heard"}


def test_there_are_files_to_look_at():
    assert len(FILES) > 350
    assert any(path.startswith("convert/") for path in FILES)


def test_no_two_classes_of_the_library_have_one_name():
    places = defaultdict(list)
    for path, tree in FILES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path)
    assert not {name: paths for name, paths in places.items() if len(paths) > 1}


def documented(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield getattr(node, "lineno", 1), text


def test_docstrings_begin_with_a_verb_or_a_noun():
    problems = [
        f"{path}:{line}: {text.splitlines()[0]}"
        for path, tree in FILES.items()
        for line, text in documented(tree)
        if GUESSED.match(text)
    ]
    assert not problems


@pytest.mark.parametrize("text", ["Whether it is", "What a model has", "Of a voice: its mel"])
def test_what_is_guessed_is_seen(text):
    assert GUESSED.match(text)


def test_variables_are_named_for_their_content():
    problems = [
        f"{path}:{node.lineno}: {name}"
        for path, tree in FILES.items()
        for node in ast.walk(tree)
        if (name := variable(node)) in HISTORY
    ]
    assert not problems


def variable(node: ast.AST) -> str | None:
    """The name of a variable or an argument where it gets its value."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    return node.arg if isinstance(node, ast.arg) else None


def test_the_tests_read_what_they_are_to_read():
    tree = ast.parse('def f(given):\n    """Which."""\n    found, a = 1, 2\n')
    names = [variable(node) for node in ast.walk(tree)]
    assert {"given", "found", "a"} <= set(names)
    assert list(documented(tree)) == [(1, "Which.")]
