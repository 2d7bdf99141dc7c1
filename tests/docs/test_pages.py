"""The README is short, links lead to what is there, and the index has every page."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, name_of

README = ROOT / "README.md"
MOST_WORDS = 1500
# Written by our programs, so not in the repository.
GENERATED = {"reproduce.py"}
FOLDERS = ("mlx_chatterbox", "convert", "parity", "benchmarks", "tests", "docs", ".ci")
SOURCES = ["/pyproject.toml"] + [
    f"/{path.relative_to(ROOT).as_posix()}"
    for name in FOLDERS
    for path in (ROOT / name).rglob("*.*")
]
_SOURCE = re.compile(r"`([\w./]+\.(?:py|c|cpp|toml)\b[^`\s]*)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(path) -> str:
    """A page without its fenced blocks and code spans."""
    text = path.read_text(encoding="utf-8")
    for block in blocks(path):
        text = text.replace(block.code, "")
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(path) -> set[str]:
    """Anchors that the repository's site makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.strip().lower()) for heading in headings)
    return {text.replace(" ", "-") for text in plain}


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").split()) <= MOST_WORDS


def test_the_readme_has_what_a_newcomer_looks_for_in_order():
    headings = re.findall(r"^## (.+)$", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == [
        *("Install", "Speak", "Python", "Models", "Features", "Proof", "Speed", "Limits"),
        *("File tree", "Consent", "Licence"),
    ]


def test_the_readme_has_the_two_commands_that_ci_reads():
    """The main job, and the tests, each from nothing on a line of its own."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert r"s/^\(python3 -m venv \.venv.*pytest.*\)$/\1/p" in script
    lines = README.read_text(encoding="utf-8").splitlines()
    main, tests = (line for line in lines if line.startswith("python3 -m venv .venv"))
    assert "pytest" in tests
    assert "pytest" not in main
    assert ".venv/bin/mlx-chatterbox --text" in main


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_what_is_there(page):
    lost = []
    for link in _LINK.findall(prose(page)):
        target, _, anchor = link.partition("#")
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            lost.append(link)
    assert not lost


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_source_files_that_are_named_are_there(page):
    """Files are named by the end of their paths: `nn/conv.py`, or `conv.py` alone."""
    text = page.read_text(encoding="utf-8")
    named = {span.partition("::")[0] for span in _SOURCE.findall(text)} - GENERATED
    assert not [name for name in named if not any(path.endswith(f"/{name}") for path in SOURCES)]


def test_the_index_has_every_page():
    index = ROOT / "docs" / "README.md"
    linked = {
        (index.parent / link.partition("#")[0]).resolve() for link in _LINK.findall(prose(index))
    }
    assert {path for path in PAGES if path != index} <= linked


def test_each_sound_has_its_command():
    folder = ROOT / "docs" / "sounds"
    page = (folder / "README.md").read_text(encoding="utf-8")
    made = [path for path in folder.iterdir() if path.suffix in (".mp3", ".mp4", ".png")]
    assert len([path for path in made if path.suffix == ".mp3"]) == 2
    assert all(f"docs/sounds/{path.name}" in page for path in made)
    assert all(f"docs/sounds/{path.name}" in README.read_text(encoding="utf-8") for path in made)
