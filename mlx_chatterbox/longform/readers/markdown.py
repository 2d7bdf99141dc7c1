"""Markdown, parsed by markdown-it-py after CommonMark.

Headings and their levels, paragraphs, lists and quotations are spoken, the words of links and
emphasis without their marks. Code blocks, tables, HTML, pictures, footnotes' marks and a front
matter (`---` at the top; its title and author are the document's) are left out.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..blocks import Block, plan_blocks
from ..plan import Document
from .plain import characters_of

_FRONT_MATTER = re.compile(r"---[^\S\n]*\n(.*?)\n(?:---|\.\.\.)[^\S\n]*(?:\n|$)", re.DOTALL)
_FIELD = re.compile(r"^(title|author)[^\S\n]*:[^\S\n]*(\S.*)$", re.IGNORECASE | re.MULTILINE)
_FOOTNOTE = re.compile(r"\[\^[^\]\s]{1,80}\](?::[^\n]*)?")
_NOTE = re.compile(r"^\[\^[^\]\s]{1,80}\]:", re.MULTILINE)
_LEFT_OUT = {
    "table_open": "table",
    "fence": "block of code",
    "code_block": "block of code",
    "html_block": "block of HTML",
    "image": "picture",
}
# Marks that begin or end something within a paragraph; a long one has some hundreds.
_MARKS = re.compile(r"[*_`\[\]<!&\\]|~~")
_EMPHASIS = re.compile(r"[*_`]+|~~")
MOST_MARKS = 2000
_OVERFULL = "overfull paragraph's markup"
_ADDRESS = re.compile(r"(?<!\s)\s*(?:https?://|www\.)\S*[^\s.,;:!?)]")


def read_markdown(path: Path, language: str | None, longest: int) -> Document:
    """Read Markdown; see `read_document`.

    If no front matter names a title, it is the heading of level 1, if there is exactly one.
    """
    text, guessed = characters_of(path, language)
    fields: dict[str, str] = {}
    if (front := _FRONT_MATTER.match(text)) is not None:
        # The first of equal names counts.
        pairs = reversed(_FIELD.findall(front.group(1)))
        fields = {name.lower(): value.strip().strip("\"'") for name, value in pairs}
        text = text[front.end() :]
    left_out: Counter[str] = Counter()
    blocks = list(markdown_blocks(text, left_out))
    highest = [block.text for block in blocks if block.kind == "heading" and block.level == 1]
    title = fields.get("title") or (highest[0] if len(highest) == 1 else None)
    pieces = plan_blocks(blocks, language, longest)
    parts = [
        f"{count} {_many(what) if count > 1 else what}"
        for what, count in sorted(left_out.items())
        if count
    ]
    remarks = (*guessed, *([f"left out: {', '.join(parts)}"] if parts else []))
    return Document(title, fields.get("author"), pieces, remarks=remarks)


def markdown_blocks(text: str, left_out: Counter[str] | None = None) -> Iterator[Block]:
    """Yield the blocks of a Markdown text in order.

    Args:
        left_out: counts the things that are not spoken.
    """
    from markdown_it import MarkdownIt

    counted = Counter() if left_out is None else left_out
    counted["note"] += len(_NOTE.findall(text))
    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.at("inline", _parse_inline)
    overfull = {_OVERFULL: 0}
    tokens = parser.parse(_FOOTNOTE.sub("", text), overfull)
    counted.update(overfull)
    level = in_table = 0
    for token in tokens:
        counted.update(_left_out(token))
        if token.type in ("table_open", "table_close"):
            in_table += token.nesting
        elif token.type == "heading_open":
            level = int(token.tag[1:])
        elif token.type == "heading_close":
            level = 0
        elif token.type == "hr":
            yield Block("break")
        elif token.type == "inline" and not in_table:
            words = _spoken(token.children or [])
            if words:
                yield Block("heading", words, level) if level else Block("paragraph", words)


def _parse_inline(state) -> None:
    """Parse emphasis and links as the library does.

    The library's time is quadratic in the number of marks; a paragraph with thousands of them gives
    only its words.
    """
    from markdown_it.token import Token

    for token in state.tokens:
        if token.type != "inline":
            continue
        if len(_MARKS.findall(token.content)) > MOST_MARKS:
            words = html.unescape(_EMPHASIS.sub("", token.content))
            token.children = [Token("text", "", 0, content=words)]
            state.env[_OVERFULL] += 1
        else:
            state.md.inline.parse(token.content, state.md, state.env, token.children)


def _left_out(token) -> Iterator[str]:
    """Yield names of the parts of a token that are not spoken."""
    if token.type in _LEFT_OUT:
        yield _LEFT_OUT[token.type]
    yield from (_LEFT_OUT["image"] for child in token.children or () if child.type == "image")


def _many(what: str) -> str:
    return what.replace("block", "blocks") if what.startswith("block") else f"{what}s"


def _spoken(tokens: list) -> str:
    """The words of a line: its text and inline code; no pictures, no HTML, no bare addresses."""
    words = []
    for token in tokens:
        if token.type in ("text", "code_inline"):
            words.append(token.content)
        elif token.type in ("softbreak", "hardbreak"):
            words.append("\n")
    return _ADDRESS.sub("", "".join(words)).strip()
