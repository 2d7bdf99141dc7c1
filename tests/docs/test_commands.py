"""Every command, Python block and configuration of the documentation is accepted, not run."""

from __future__ import annotations

import re

import pytest

from tests.docs.acceptance import accepted, scripts
from tests.docs.not_run import NOT_RUN
from tests.docs.pages import (
    PAGES,
    PYTHON,
    SETTINGS,
    SHELL,
    Command,
    all_blocks,
    blocks,
    commands,
    inline_commands,
)
from tests.docs.python_blocks import faults

SHELL_COMMANDS = [command for block in all_blocks(SHELL) for command in commands(block)]
# An example in a program's help: a command at the beginning of an indented line.
_EXAMPLE = re.compile(r"  (mlx-chatterbox|python -m|echo) ")
INLINE_COMMANDS = [command for path in PAGES for command in inline_commands(path)]


def test_every_command_of_a_block_is_accepted_by_its_parser(monkeypatch):
    assert len(SHELL_COMMANDS) > 80
    refused = {str(command): accepted(command, monkeypatch) for command in SHELL_COMMANDS}
    assert not {command: why for command, why in refused.items() if why}


def test_every_command_in_running_text_is_accepted_by_its_parser(monkeypatch):
    assert len(INLINE_COMMANDS) > 30
    refused = {str(command): accepted(command, monkeypatch) for command in INLINE_COMMANDS}
    assert not {command: why for command, why in refused.items() if why}


@pytest.mark.parametrize("block", [*all_blocks(PYTHON)], ids=str)
def test_every_python_block_imports_what_is_there(block):
    assert not faults(block.code)


@pytest.mark.parametrize("block", [*all_blocks(SETTINGS)], ids=str)
def test_every_configuration_is_read(block, tmp_path):
    """Parts of one are read with the data set that every configuration has."""
    from mlx_chatterbox.train.loading import load_config

    file = tmp_path / "voice.yaml"
    file.write_text(block.code, encoding="utf-8")
    whole = "dataset_path" in block.code or "dataset_name" in block.code
    assert load_config(file, [] if whole else ["dataset.dataset_path=./voice_data"])


PROGRAMS = [
    *scripts(),
    *("python -m mlx_chatterbox.vc", "python -m mlx_chatterbox.doctor"),
    *("python -m benchmarks", "python -m convert.damage", "python -m parity bisect"),
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_example_of_the_help_is_accepted_by_its_parser(program, monkeypatch, capsys):
    assert accepted(Command(program, f"{program} --help"), monkeypatch) == ""
    lines = re.sub(r" *\\\n *", " ", capsys.readouterr().out).splitlines()
    # A description may follow after two spaces.
    shown = [re.split(" {2,}|#", line.strip())[0].strip() for line in lines if _EXAMPLE.match(line)]
    examples = [Command(program, line) for line in shown if " " in line]
    assert examples or program.endswith(".doctor")
    refused = {str(example): accepted(example, monkeypatch) for example in examples}
    assert not {example: why for example, why in refused.items() if why}


def test_commands_that_are_not_run_exist_and_have_a_reason():
    texts = {command.text for command in SHELL_COMMANDS}
    unneeded = [entry.pattern for entry in NOT_RUN if not any(map(entry.matches, texts))]
    assert not unneeded
    assert all(len(entry.reason.split()) >= 3 for entry in NOT_RUN)


def test_shell_blocks_name_their_language():
    """A block without a language that begins like a command would be read by no test."""
    plain = [block for block in all_blocks("") if block.code.startswith(("mlx-", "python", "pip"))]
    others = [block for name in ("sh", "shell", "console", "py") for block in all_blocks(name)]
    assert not [*plain, *others]


# --- What these tests would find -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mlx-chatterbox --text x --no-such-option", "unrecognized arguments: --no-such-option"),
        ("mlx-chatterbox --text x | mlx-chatterbox --cfm-steps many", "is not a whole number"),
        ("python -m mlx_chatterbox.train.nothing", "No module named"),
        ("mlx-chatterbox-cook --text x", "no program that is known here"),
        ("pip install 'mlx-chatterbox[cooking]'", "there is no extra cooking"),
        ("python -m pytest tests/nowhere", "there is no tests/nowhere"),
        (".ci/nothing", "there is no nothing"),
        ("mlx-chatterbox doctor --minutes long", "is not a number"),
        ("mlx.launch -n 2 -- python -m mlx_chatterbox.train --confg x", "invalid choice"),
        ("mlx-chatterbox --output x.wav", "is required"),
    ],
)
def test_a_wrong_command_is_found(text, told, monkeypatch):
    assert told in accepted(Command("here", text), monkeypatch)


def test_a_command_in_running_text_may_lack_what_a_reader_adds(monkeypatch):
    assert accepted(Command("here", "python -m parity dump", inline=True), monkeypatch) == ""
    assert accepted(Command("here", "python -m parity dmup", inline=True), monkeypatch)


def test_faults_of_python_blocks_are_found():
    code = "from mlx_chatterbox import Nothing\nfor chunk in Nothing():\n    play(chunk)\n"
    assert faults(code) == ["line 1: mlx_chatterbox has no Nothing", "line 3: play is not defined"]
    with pytest.raises(SyntaxError):
        faults("tts.generate(")


PAGE = """\
See `python -m parity
mutate`, not `mlx-chatterbox`.

````markdown
```bash
none
```
````

* a list

  ```bash
  one --a 'x # y' \\
      --b    # why

  # alone
  two < x | three
  ```
"""


def test_blocks_and_commands_are_found_as_they_are_written(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    monkeypatch.setattr("tests.docs.pages.ROOT", tmp_path)
    outer, inner = blocks(page)
    assert (outer.language, outer.code) == ("markdown", "```bash\nnone\n```\n")
    first, second = commands(inner)
    assert str(first) == "page.md:13: one --a 'x # y' --b"
    assert first.programs() == [["one", "--a", "x # y", "--b"]]
    assert second.programs() == [["two"], ["three"]]
    assert [str(each) for each in inline_commands(page)] == ["page.md:1: python -m parity mutate"]
