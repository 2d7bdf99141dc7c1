"""Contents of the documentation: pages, fenced blocks, commands in blocks and in running text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SHELL, PYTHON, SETTINGS = "bash", "python", "yaml"
# The first words of our commands in running text.
_OURS = re.compile(r"(mlx-chatterbox|python -m |\.ci/|pip install )")
_FENCE = re.compile(r"( *)(`{3,})(\w*) *")
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_OPERATORS = ("|", "||", "&&", ";")
_REDIRECTIONS = ("<", ">", ">>")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: its path from the repository's root.
        line: of its first line of code, from 1.
        language: what the fence says, "" for nothing.
    """

    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One line of a shell.

    Attributes:
        where: page and line.
        text: without its comment, continued lines joined.
        inline: it stands in running text, where it may lack what a reader has to add.
    """

    where: str
    text: str
    inline: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"

    def programs(self) -> list[list[str]]:
        """The words of each simple command, without redirections."""
        lexer = shlex.shlex(self.text, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        lexer.commenters = ""
        found, words = [[]], iter(lexer)
        for word in words:
            if word in _OPERATORS:
                found.append([])
            elif word in _REDIRECTIONS:
                next(words)
            else:
                found[-1].append(word)
        return [words for words in found if words]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page, in order.

    Raises:
        ValueError: one has no end.
    """
    found, opened, code = [], None, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fence = _FENCE.fullmatch(line)
        if opened is None:
            if fence:
                opened, code = (*fence.groups(), number + 1), []
            continue
        indent, mark, language, first = opened
        if fence and fence[2] == mark and not fence[3]:
            text = "".join(f"{each}\n" for each in code)
            found.append(Block(name_of(path), first, language, text))
            opened = None
        else:
            code.append(line.removeprefix(indent))
    if opened is not None:
        raise ValueError(f"{name_of(path)}:{opened[3] - 1}: a block without an end")
    return found


def commands(block: Block) -> list[Command]:
    """The commands of a shell block, comments and empty lines left out."""
    found, text, first = [], "", 0
    for number, line in enumerate(block.code.splitlines(), start=block.line):
        first = first if text else number
        text += without_comment(line).strip()
        if text.endswith("\\"):
            text = text[:-1]
        elif text:
            found.append(Command(f"{block.page}:{first}", text))
            text = ""
    return found


def without_comment(line: str) -> str:
    """A line of a shell up to the `#` that begins a comment."""
    quote = ""
    for place, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and (place == 0 or line[place - 1].isspace()):
            return line[:place]
    return line


def inline_commands(path: Path) -> list[Command]:
    """Our commands in running text and tables; a program's name alone does not count."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for block in blocks(path):
        length = block.code.count("\n")
        lines[block.line - 2 : block.line + length] = [""] * (length + 2)
    text, found = "\n".join(lines), []
    for match in _INLINE.finditer(text):
        words = " ".join(match[1].split())
        if _OURS.match(words) and "\n\n" not in match[1] and len(words.split()) > 1:
            where = f"{name_of(path)}:{text.count(chr(10), 0, match.start()) + 1}"
            found.append(Command(where, words, inline=True))
    return found


def all_blocks(language: str) -> Iterator[Block]:
    for path in PAGES:
        yield from (block for block in blocks(path) if block.language == language)
