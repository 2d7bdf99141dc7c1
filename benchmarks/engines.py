"""The processes that are timed: a worker for each engine, and new processes for what starts one."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parity.errors import PeerError
from parity.peers.processes import output_of, peer_environment
from parity.upstream.interpreter import module_command

from .errors import BenchmarkError

PACKAGES = ("parity", "benchmarks")


@dataclass(frozen=True)
class Place:
    """An engine's interpreter, the folder that it reads, and its device."""

    engine: str
    python: str
    folder: Path
    device: str

    def command(self, module: str, arguments: list[str]) -> list[str]:
        return module_command(self.python, module, [self.engine, *arguments], PACKAGES)

    def environment(self) -> dict[str, str]:
        """Environment variables of its process."""
        return peer_environment(self.engine)


class Worker:
    """An engine that waits for work.

    Raises:
        BenchmarkError: it failed; its own message, or the last that it printed.
    """

    def __init__(self, process: subprocess.Popen, errors):
        self._process, self._errors = process, errors
        self.groups: list[str] = self._answer()["ready"]

    def run(self, group: str, steps: int) -> dict[str, float]:
        """Stage -> seconds, of the stages that a group times."""
        return self._ask({"run": group, "steps": steps})["seconds"]

    def memory(self) -> int:
        """Peak memory so far, in bytes."""
        return self._ask({"memory": True})["memory"]

    def logits(self, file: Path):
        """T3's first logits on the inputs, (2, vocabulary)."""
        self._ask({"logits": str(file)})
        return np.load(file)

    def _ask(self, request: dict) -> dict:
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise BenchmarkError(self._last_words()) from error
        return self._answer()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(self._last_words())
        message = json.loads(line)
        if "error" in message:
            raise BenchmarkError(message["error"])
        return message

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = [line for line in self._errors.read().splitlines() if line.strip()]
        return f"its process ended, exit code {code}: {''.join(lines[-1:]) or 'it printed nothing'}"


@contextmanager
def worker(place: Place, inputs: Path, variant: str) -> Iterator[Worker]:
    """Start a worker and end it.

    Raises:
        BenchmarkError: it cannot start or load its model.
    """
    arguments = [str(place.folder), str(inputs), "--variant", variant, "--device", place.device]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            place.command("benchmarks.worker", arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=place.environment(),
        )
        try:
            yield Worker(process, errors)
        finally:
            process.stdin.close()
            process.wait()
            process.stdout.close()


def in_new_process(place: Place, what: str) -> dict[str, float]:
    """Seconds of "import" or "load", or the "limits", which only ours measures.

    Raises:
        BenchmarkError: it failed.
    """
    command = place.command("benchmarks.startup", [what, str(place.folder), place.device])
    try:
        return json.loads(output_of(command, place.environment()))
    except PeerError as error:
        raise BenchmarkError(str(error)) from error
