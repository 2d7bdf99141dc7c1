"""`mlx-chatterbox doctor`, or `python -m mlx_chatterbox.doctor`."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Interrupted
from ..runtime.number_options import real
from ..runtime.program import run_program

if TYPE_CHECKING:
    from .examination import Examination
    from .findings import Section

# In the order in which they run: cheap checks that prove something come before expensive ones.
CHECKS = (
    "machine", "limits", "correctness", "blocks", "invariance", "threads", "processes", "memory",
    "t3", "s3gen",
)  # fmt: skip

DESCRIPTION = """\
Measure this machine, check that everything computes correctly on it, and estimate how fast each
model will speak.

Works offline: nothing is downloaded and nothing is sent. The networks are of full size with random
weights; only the pocket model, which is part of the package, has trained ones. The report is
printed to standard output as Markdown and written to a file as JSON. It contains no user names,
machine names or paths.
"""
EPILOG = """\
examples:
  mlx-chatterbox doctor
      takes two minutes and writes doctor.json into the current folder
  mlx-chatterbox doctor --minutes 5 > doctor.md
      allow more time, so that fewer checks are skipped
  mlx-chatterbox doctor --memory 1.5
      take at most 1.5 GB of memory beyond what is already in use
  mlx-chatterbox doctor --short
      half a minute, for CI: every check, on less data

exit codes: 0 all checks passed, 1 a check failed, 2 wrong use, 130 Ctrl-C.
docs/doctor.md explains each line of the report.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlx-chatterbox doctor",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--minutes",
        type=real(0, 1e5, above=True),
        default=2.0,
        metavar="N",
        help="approximate time limit; the report lists the checks that did not fit (default: 2)",
    )
    parser.add_argument(
        "--memory",
        type=real(0, 1e6, above=True),
        metavar="GB",
        help="memory limit (default: four fifths of the free memory)",
    )
    parser.add_argument("--short", action="store_true", help="run every check on less data, for CI")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("doctor.json"),
        metavar="FILE",
        help="file to write the JSON report to (default: doctor.json)",
    )
    from ..commands.cli import add_verbose, add_version

    add_verbose(parser)
    add_version(parser)
    return parser


def run_checks(
    exam: Examination, report: Callable[[str], None], names: Sequence[str] | None = None
) -> None:
    """Run checks one after the other, and report each as soon as it is over.

    If one of them ends the whole process, the results before it have been printed.

    Args:
        report: prints a text.
    """
    from tqdm import tqdm

    from .findings import Section
    from .report import section_text

    names = CHECKS if names is None else names
    # None: shown on a terminal only.
    with tqdm(total=len(names), unit="check", disable=None, leave=False, file=sys.stderr) as bar:
        for name in names:
            bar.set_description(name)
            module = import_module(f".{name}", __package__)
            section = Section(name, module.TITLE)
            exam.sections.append(section)
            began = time.perf_counter()
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                with section.guarded(name, f"all of {module.TITLE!r}"):
                    if exam.allows(section, name, f"all of {module.TITLE!r}", module.LEAST):
                        module.examine(exam, section)
            _note_warnings(section, warned)
            section.seconds = time.perf_counter() - began
            bar.clear()
            report(section_text(section))
            bar.update()


def _note_warnings(section: Section, warned: Sequence[warnings.WarningMessage]) -> None:
    from .private import anonymous

    texts = dict.fromkeys(
        " ".join(anonymous(one.message).split())
        for one in warned
        if not issubclass(one.category, (DeprecationWarning, PendingDeprecationWarning))
    )
    for index, text in enumerate(texts, start=1):
        section.figure(f"warning_{index}", "warning", None, note=text[:300])


def _print(text: str) -> None:
    print(text, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = build_parser()
    return run_program(parser, argv, lambda arguments: run(parser, arguments))


def run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run the doctor with parsed arguments; returns the exit code."""
    if not arguments.minutes > 0:
        parser.error(f"--minutes must be above 0; got {arguments.minutes}")
    if arguments.memory is not None and not arguments.memory > 0:
        parser.error(f"--memory must be above 0; got {arguments.memory}")
    if not arguments.output.parent.is_dir() or arguments.output.is_dir():
        parser.error(f"--output {arguments.output}: must be a file in an existing folder")

    from .budget import Budget
    from .examination import Examination
    from .report import heading, issue_text, verdict_text, write
    from .verdict import judge

    memory = None if arguments.memory is None else 1e9 * arguments.memory
    exam = Examination(Budget(60.0 * arguments.minutes, memory), arguments.short)
    try:
        _print(heading(exam))
        run_checks(exam, _print)
        verdict = judge(exam)
        _print(verdict_text(exam, verdict))
        _print(issue_text(exam, verdict))
    except KeyboardInterrupt:
        raise Interrupted("interrupted; no JSON was written") from None
    write(arguments.output, exam, verdict)
    return 1 if verdict.failed else 0


if __name__ == "__main__":
    sys.exit(main())
