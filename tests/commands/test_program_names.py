"""Names that programs give themselves where they can be started in several ways."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.structure.imports import ROOT

# Started as by the script that pip writes: `main`, with the script's path as the first argument.
SCRIPT = (
    "import sys; sys.argv[0] = '/somewhere/bin/{script}'; "
    "from mlx_chatterbox.{package}.__main__ import main; sys.exit(main())"
)


def run(package: str, start: str, *arguments: str) -> subprocess.CompletedProcess:
    command = {
        f"mlx-chatterbox-{package}": [
            *("-c", SCRIPT.format(package=package, script=f"mlx-chatterbox-{package}")),
        ],
        f"python -m mlx_chatterbox.{package}": ["-m", f"mlx_chatterbox.{package}"],
        f"python -m {package}": ["-m", package],
    }[start]
    return subprocess.run(
        [sys.executable, *command, *arguments], cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.parametrize("package", ["convert", "parity"])
@pytest.mark.parametrize(
    "start", ["mlx-chatterbox-{}", "python -m mlx_chatterbox.{}", "python -m {}"]
)
def test_help_and_errors_name_the_program_that_was_started(package, start):
    name = start.format(package)
    shown = run(package, name, "--help").stdout
    assert shown.startswith(f"usage: {name} ")
    # The examples of one program start the other in the same way.
    programs = re.findall(r"^ +(?:python -m )?\S*(?:convert|parity)(?= )", shown, re.MULTILINE)
    assert len(programs) > 10
    allowed = {name, start.format("convert"), start.format("parity")}
    assert {program.strip() for program in programs} <= allowed
    wrong = run(package, name, "--no-such-option")
    assert wrong.returncode == 2
    assert f"{name}: error: " in wrong.stderr


def test_what_has_no_script_of_its_own_is_named_by_its_module():
    shown = run("convert", "mlx-chatterbox-convert", "--help").stdout
    assert "  python -m mlx_chatterbox.convert.damage pocket" in shown
