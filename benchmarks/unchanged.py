"""Compare speech with that of another commit, to the bit.

    python -m benchmarks.unchanged --against main

For changes that are to change nothing. One program (`unchanged_probe.py`), which knows the public
names alone, runs in this working tree and in a temporary worktree of the other commit, each in a
process of its own with the same environment and the same models: pocket, and a small one of each
variant that is made on the spot. Tokens, outcomes, hashes of waveforms and files, and error
messages must be equal. Nothing is compared with numbers of another machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlx_chatterbox.commands.cli import add_verbose
from mlx_chatterbox.runtime.program import run_program

from .errors import BenchmarkError

PROBE = Path(__file__).with_name("unchanged_probe.py")
HERE = Path(__file__).resolve().parents[1]
VARIANTS = ("english", "multilingual", "turbo", "nano")
SMALL_LIMIT = 60
SHOWN = 20


@contextmanager
def worktree_of(commit: str, folder: Path) -> Iterator[Path]:
    """The files of a commit, for as long as they are needed.

    Raises:
        BenchmarkError: there is no such commit, or no git.
    """
    tree = folder / "tree"
    _git("worktree", "add", "--detach", str(tree), commit)
    try:
        yield tree
    finally:
        _git("worktree", "remove", "--force", str(tree))


def commit_of(name: str) -> str:
    """The hash of a commit.

    Raises:
        BenchmarkError: there is no such commit, or no git.
    """
    return _git("rev-parse", "--verify", f"{name}^{{commit}}")


def _git(*words: str) -> str:
    command = ["git", "-C", str(HERE), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BenchmarkError("git is needed, to have the files of another commit.") from None
    if done.returncode:
        raise BenchmarkError(f"git {' '.join(words)}: {' '.join(done.stderr.split())}")
    return done.stdout.strip()


def make_models(folder: Path) -> None:
    """A converted folder of a small model with seeded weights for each variant."""
    from mlx_chatterbox.weights.conversion.core import convert_folder
    from parity.fabricate.checkpoint import fabricate
    from parity.fabricate.small import small_config

    for variant in VARIANTS:
        config = small_config(variant)
        # Short, since their tokens are noise, which has no end.
        config.generation.max_new_tokens = SMALL_LIMIT
        upstream = fabricate(folder / "upstream" / variant, variant=variant, config=config)
        convert_folder(upstream, folder / variant, variant=variant, config=config)


def probed(tree: Path, models: Path, work: Path) -> dict[str, Any]:
    """Run the probe in a tree; return what it finds.

    Raises:
        BenchmarkError: it does not run there.
    """
    work.mkdir()
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-", str(models), str(work)]
    with PROBE.open(encoding="utf-8") as program:
        done = subprocess.run(
            command, stdin=program, stdout=subprocess.PIPE, cwd=tree, env=environment, check=False
        )
    if done.returncode:
        raise BenchmarkError(f"the probe failed in {tree} (exit code {done.returncode}).")
    return json.loads(done.stdout)


def differences(ours: Any, theirs: Any, where: str = "") -> Iterator[str]:
    """Yield a line for each place where two results are not equal."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in [*ours, *(name for name in theirs if name not in ours)]:
            place = f"{where}: {name}" if where else name
            yield from differences(ours.get(name), theirs.get(name), place)
    elif ours != theirs:
        yield f"{where}: {_short(theirs)} became {_short(ours)}"


def _short(value: Any, most: int = 120) -> str:
    words = json.dumps(value, ensure_ascii=False)
    return words if len(words) <= most else f"{words[:most]}..."


def count(results: Any) -> int:
    """Count the values that were compared."""
    return sum(map(count, results.values())) if isinstance(results, dict) else 1


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.unchanged",
        description=__doc__,
        epilog="exit codes: 0 nothing changed, 1 something did or the probe failed, 2 wrong use",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--against", metavar="COMMIT", default="main", help="compare with it (default: main)"
    )
    add_verbose(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run_program(build_parser(), argv, _work, name="unchanged")


def _work(arguments: argparse.Namespace) -> int:
    commit = commit_of(arguments.against)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = folder / "models"
        models.mkdir()
        make_models(models)
        # One after the other: work on two cores is rounded otherwise than on one.
        with worktree_of(commit, folder) as tree:
            theirs = probed(tree, models, folder / "theirs")
        ours = probed(HERE, models, folder / "ours")
    lines = list(differences(ours, theirs))
    for line in lines[:SHOWN]:
        print(line)
    if len(lines) > SHOWN:
        print(f"and {len(lines) - SHOWN} more")
    seconds = time.perf_counter() - started
    print(f"{len(lines)} of {count(ours)} values differ from {commit[:12]} ({seconds:.0f} s)")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
