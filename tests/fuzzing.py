"""A fuzz of whatever reads files: damaged copies of sound ones, read in a process of their own.

A `Reader` is a function of a path that either reads the file or raises one of our own errors, with
sound files to begin with and ways of damaging them. Everything else is a fault: another exception,
death by a signal, no end within a time, more memory than allowed, a file written outside its place.
Input number i of a seed is the same on every machine, so a fault is found again by its number.

Readers are in `tests/fuzz_readers/`, one module a subject. To add one, write there

    READERS = (Reader("voice", read_voice, seeds, (damage_tensors, damage_bytes)),)

The worker imports that module, so what it needs besides a path (a model, say) is made there once,
by a cached function.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib
import json
import os
import pkgutil
import random
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlx_chatterbox.errors import ChatterboxError

CORPUS = Path(__file__).with_name("data") / "fuzz"
# Seconds for one input, and for a worker's start, which may compile kernels.
SECONDS, START_SECONDS = 10.0, 300.0
FIRST_TIMES = 6
MEGABYTES = 2048

Damage = Callable[[random.Random, bytes], bytes]


@dataclass(frozen=True)
class Reader:
    """Reader of files of one kind.

    Attributes:
        read: takes the path of a file in a folder of its own, into which it may also write.
        seeds: makes sound files, which must be read without an error.
        damages: ways of making a bad file of a good one; one is drawn for each input.
        suffix: of the file's name.
        refuses: exceptions that are right answers.
        quick: inputs in the default tests, which should take 2 s at most; 0: it is not in them.
        many: inputs in the slow tests.
        seconds, megabytes: the most that an input may take.
    """

    name: str
    read: Callable[[Path], object]
    seeds: Callable[[], Sequence[bytes]]
    damages: tuple[Damage, ...]
    suffix: str = ""
    refuses: tuple[type[Exception], ...] = (ChatterboxError,)
    quick: int = 100
    many: int = 500
    seconds: float = SECONDS
    megabytes: int = MEGABYTES

    @property
    def module(self) -> str:
        """The module that holds it, for a worker."""
        return self.read.__module__


@dataclass(frozen=True)
class Fault:
    """An input that was neither read nor refused.

    Attributes:
        label: the seed and number of the input, or its name in the corpus.
        what: one line; faults of one line are one fault.
        details: a traceback, where there is one.
    """

    label: str
    what: str
    content: bytes = field(repr=False)
    details: str = field(default="", repr=False)


@dataclass
class Tally:
    """Counts of inputs by result."""

    read: int = 0
    refused: int = 0
    faults: list[Fault] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.read} read, {self.refused} refused, {len(self.faults)} faults"]
        kinds: dict[str, list[Fault]] = {}
        for fault in self.faults:
            kinds.setdefault(fault.what, []).append(fault)
        for what, those in kinds.items():
            lines.append(f"{len(those)} x {what} (first: {those[0].label})")
            lines.append(those[0].details)
        return "\n".join(line for line in lines if line)


def readers() -> dict[str, Reader]:
    """All readers, by name."""
    package = importlib.import_module("tests.fuzz_readers")
    found: dict[str, Reader] = {}
    for module in pkgutil.iter_modules(package.__path__):
        for reader in importlib.import_module(f"{package.__name__}.{module.name}").READERS:
            assert reader.name not in found, f"two readers are called {reader.name}"
            found[reader.name] = reader
    return found


def damaged(reader: Reader, seeds: Sequence[bytes], seed: int, number: int) -> bytes:
    """Input `number` of a seed; one in four is damaged twice."""
    rng = random.Random(f"{reader.name} {seed} {number}")
    content = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 1, 2))):
        content = rng.choice(reader.damages)(rng, content)
    return content


def corpus(reader: Reader) -> Iterator[tuple[str, bytes]]:
    """Inputs that once failed, by name; gzipped, since some are large and repetitive."""
    for path in sorted((CORPUS / reader.name).glob("*.gz")):
        yield path.stem, gzip.decompress(path.read_bytes())


def keep(reader: Reader, name: str, content: bytes) -> Path:
    """Add an input to the corpus."""
    path = CORPUS / reader.name / f"{name}.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 9, mtime=0))
    return path


def fuzz(reader: Reader, count: int, seed: int = 0, first: int = 0, stop_at: int = 50) -> Tally:
    """Read the sound files, the corpus, and `count` damaged files.

    Args:
        stop_at: number of faults after which to stop.
    """
    tally = Tally()
    seeds = list(reader.seeds())
    with Workers(reader) as workers:

        def tried(label: str, content: bytes, must_be_read: bool = False) -> None:
            answer, details = workers.answer(content)
            if answer == "refused" and must_be_read:
                answer = "a sound file was refused"
            if answer == "read":
                tally.read += 1
            elif answer == "refused":
                tally.refused += 1
            else:
                tally.faults.append(Fault(label, answer, content, details))

        for index, content in enumerate(seeds):
            tried(f"sound-{index}", content, must_be_read=True)
        for name, content in corpus(reader):
            tried(name, content)
        for number in range(first, first + count):
            if len(tally.faults) >= stop_at:
                break
            tried(f"{seed}-{number}", damaged(reader, seeds, seed, number))
    return tally


def read_one(reader: Reader, content: bytes) -> tuple[str, str]:
    """ "read", "refused" or a fault, and the message or traceback, of one input."""
    with Workers(reader) as workers:
        return workers.answer(content)


class Workers:
    """A process that reads files, and another one after it has died or was ended."""

    def __init__(self, reader: Reader):
        self._reader = reader
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Workers:
        self._root = Path(tempfile.mkdtemp(prefix="fuzz-"))
        (self._root / "bystander").mkdir()
        (self._root / "bystander" / "kept.txt").write_text("kept")
        self._outside = self._listing()
        return self

    def __exit__(self, *exception) -> None:
        self._end()
        shutil.rmtree(self._root, ignore_errors=True)

    def answer(self, content: bytes) -> tuple[str, str]:
        """Result for one input, as by `read_one`."""
        place = self._root / "place"
        place.mkdir()
        path = place / f"input{self._reader.suffix}"
        path.write_bytes(content)
        try:
            is_new = self._process is None
            if is_new:
                self._start()
            with contextlib.suppress(BrokenPipeError):  # it has died since, which the reply shows
                self._process.stdin.write(f"{path}\n".encode())
                self._process.stdin.flush()
            # The first one also loads what it needs, a model perhaps.
            reply = self._reply(self._reader.seconds * (FIRST_TIMES if is_new else 1))
        finally:
            shutil.rmtree(place, ignore_errors=True)
        if self._listing() != self._outside:
            self._end()
            self.__exit__()
            self.__enter__()
            return "something outside its folder was changed", reply[1]
        return reply

    def _listing(self) -> list[tuple[str, bytes]]:
        return sorted(
            (str(path), path.read_bytes() if path.is_file() else b"")
            for path in self._root.rglob("*")
        )

    def _start(self) -> None:
        command = [sys.executable, "-m", "tests.fuzz_worker", self._reader.module]
        self._process = subprocess.Popen(
            [*command, self._reader.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        started = self._reply(START_SECONDS)
        assert started == ("read", "ready"), f"the worker of {self._reader.name}: {started}"

    def _reply(self, seconds: float) -> tuple[str, str]:
        process = self._process
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        line = process.stdout.readline() if ready else b""
        if line:
            answer, details = json.loads(line)
            if answer.startswith("more than"):
                self._end()
            return answer, details[-3000:]
        if not ready:
            self._end()
            return f"no end within {self._reader.seconds:g} s", ""
        code = process.wait()
        self._end()
        return f"the process died ({code})", ""

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait()
            self._process = None
