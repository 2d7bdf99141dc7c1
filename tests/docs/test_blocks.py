"""The blocks of each page, run in order as a reader would; what is not run is in `not_run.py`."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.docs.not_run import reason
from tests.docs.pages import PAGES, PYTHON, SHELL, Block, Command, blocks, commands, name_of
from tests.docs.world import world

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made


def is_run(block: Block) -> bool:
    if block.language == SHELL:
        return any(not reason(command.text) for command in commands(block))
    return block.language == PYTHON


def expected(block: Block, number: int) -> str:
    """The output that a comment on the line after a command states."""
    each = commands(block)
    line = int(each[number].where.rpartition(":")[2]) - block.line + 1
    lines = block.code.splitlines()
    return lines[line][2:] if line < len(lines) and lines[line].startswith("# ") else ""


def lacking(command: Command, folder: Path) -> list[str]:
    """Outputs that a command names and did not write."""
    words = [word for program in command.programs() for word in program]
    outputs = [after for word, after in pairwise(words) if word in ("--output", "--output-dir")]
    return [name for name in outputs if name != "-" and not (folder / name).exists()]


RUN = [path for path in PAGES if any(map(is_run, blocks(path)))]


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_blocks_do_what_the_page_states(page, place, tmp_path):
    run = [block for block in blocks(page) if is_run(block)]
    place.prepare(tmp_path / "here", "\n".join(block.code for block in run))
    for block in run:
        if block.language == PYTHON:
            place.python(block.code, str(block))
            continue
        for number, command in enumerate(commands(block)):
            if not reason(command.text):
                printed = place.shell(command)
                assert expected(block, number) in printed, command
                assert not lacking(command, place.folder), command
