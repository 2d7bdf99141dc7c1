"""`mlx-chatterbox doctor`, or `python -m mlx_chatterbox.doctor`."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from ..errors import Interrupted
from ..runtime.number_options import real
from ..runtime.program import run_program

# In the order in which they run: what is cheap and proves something comes before what is dear.
CHECKS = ("machine", "limits", "correctness", "threads", "processes", "memory", "t3", "s3gen")

DESCRIPTION = """\
Find out what this machine can do, whether all is right on it, and how fast each model will speak.

Offline: nothing is downloaded and nothing is sent. The networks are of full size, but their
weights are made up, except the pocket model's, which are in the package. The report comes on
standard output as Markdown, and as JSON in a file; neither has names or paths in it.
"""
EPILOG = """\
examples:
  mlx-chatterbox doctor
      two minutes; then doctor.json is in this folder
  mlx-chatterbox doctor --minutes 5 > doctor.md
      with more time less is left out
  mlx-chatterbox doctor --memory 1.5
      never take more than 1.5 GB beyond what is in use
  mlx-chatterbox doctor --short
      half a minute, for CI: every subject, less of each

exit codes: 0 everything that was checked is right, 1 something failed, 2 wrong use, 130 Ctrl-C.
What each line of the report tells is in docs/doctor.md.
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
        help="take about so long at most; what does not fit is left out, and said so (default: 2)",
    )
    parser.add_argument(
        "--memory",
        type=real(0, 1e6, above=True),
        metavar="GB",
        help="take so much at most (default: four fifths of what is free)",
    )
    parser.add_argument("--short", action="store_true", help="less of everything, for CI")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("doctor.json"),
        metavar="FILE",
        help="where the JSON goes (default: doctor.json)",
    )
    from ..commands.cli import add_verbose, add_version

    add_verbose(parser)
    add_version(parser)
    return parser


def run_checks(exam, tell, names: Sequence[str] | None = None) -> None:
    """Run checks one after the other, and tell of each as soon as it is over.

    Should one of them end the whole process, what was found before has been told.
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
            tell(section_text(section))
            bar.update()


def _note_warnings(section, warned) -> None:
    from .private import anonymous

    texts = dict.fromkeys(
        " ".join(anonymous(one.message).split())
        for one in warned
        if not issubclass(one.category, (DeprecationWarning, PendingDeprecationWarning))
    )
    for index, text in enumerate(texts, start=1):
        section.figure(f"warning_{index}", "warning", None, note=text[:300])


def _tell(text: str) -> None:
    print(text, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = build_parser()
    return run_program(parser, argv, lambda arguments: run(parser, arguments))


def run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Do what the command line says; the exit code."""
    if not arguments.minutes > 0:
        parser.error(f"--minutes must be above 0; got {arguments.minutes}")
    if arguments.memory is not None and not arguments.memory > 0:
        parser.error(f"--memory must be above 0; got {arguments.memory}")
    if not arguments.output.parent.is_dir() or arguments.output.is_dir():
        parser.error(f"--output {arguments.output}: its folder must exist, and it be no folder")

    from .budget import Budget
    from .examination import Examination
    from .report import heading, issue_text, verdict_text, write
    from .verdict import judge

    memory = None if arguments.memory is None else 1e9 * arguments.memory
    exam = Examination(Budget(60.0 * arguments.minutes, memory), arguments.short)
    try:
        _tell(heading(exam))
        run_checks(exam, _tell)
        verdict = judge(exam)
        _tell(verdict_text(exam, verdict))
        _tell(issue_text(exam, verdict))
    except KeyboardInterrupt:
        raise Interrupted("interrupted; no JSON was written") from None
    write(arguments.output, exam, verdict)
    return 1 if verdict.failed else 0


if __name__ == "__main__":
    sys.exit(main())
