"""A job: its folder, its lock, its state, and the work that is left.

    book.m4b.job/
      job.json         seed, number of times each piece was ordered again (this file)
      pieces/KEY.flac  finished pieces, and KEY.json with tokens, seed, outcome (`store.py`)
      voices/HASH.safetensors   the voice as it was first encoded
      manifest.json    everything about the result, for people and programs (`manifest.py`)

The same command reads the folder and does the rest. No file in the folder is ever half written.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import IO, Any

from ..errors import JobError
from ..runtime.locks import try_lock
from ..runtime.own_files import open_lock, own_folder, remove_named
from .records import is_state
from .speaking import SpokenPiece, Store, Wanted
from .store import SAMPLE_RATE, PieceStore, disk_error, read_json_or_none, write_json

VERSION = 1
STATE_NAME = "job.json"
# Temporary files of a killed process (of older versions: no number).
_LEFT = re.compile(r"\.[^/]+\.json(?:\.[0-9a-f]{16})?\.tmp")

# Speaks pieces, so many at a time, and stores each as soon as it is finished, in any order and from
# any thread.
Executor = Callable[[Sequence[Wanted], int, Store], None]


class Job:
    """A job's folder, locked for this process while the context lasts.

    Attributes:
        pieces: the finished pieces.
        seed: the seed from which those of all pieces are derived.
        normalizes: whether texts are written out in words; None before it is chosen. A job from
            before there was a choice keeps its texts as they are.
        files: hashes of files that were read before (`identity.file_hash`).
        chapters: numbers of the chapters that the output has; [] for all.

    Args:
        rate: samples a second of its pieces.

    Raises:
        JobError: another process is using it, it cannot be written to, or it has a link where a
            file or folder of its own must be.
    """

    def __init__(self, folder: Path, rate: int = SAMPLE_RATE):
        self.folder, self._rate = folder, rate
        self._lock: IO[str]  # open while the context lasts

    def __enter__(self) -> Job:
        try:
            own_folder(self.folder)
            self._lock = os.fdopen(
                open_lock(self.folder / "lock"), "r+", encoding="utf-8", errors="replace"
            )
        except OSError as error:
            raise disk_error(Path(error.filename or self.folder), error) from None
        self._take_lock()
        try:
            self._open()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._lock.close()

    def _take_lock(self) -> None:
        if try_lock(self._lock) is False:
            self._lock.seek(0)
            who = self._lock.read(20).strip()
            who = who if who.isdigit() else ""
            self._lock.close()
            raise JobError(
                f"another run{f' (process {who})' if who else ''} is using {self.folder}: wait for "
                "it, or write to another --output."
            )
        self._lock.truncate(0)
        self._lock.seek(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def _open(self) -> None:
        path = self.folder / STATE_NAME
        remove_named(self.folder, _LEFT.fullmatch)
        state = read_json_or_none(path)
        if state is None and not os.path.lexists(path):
            state = {}
        if not isinstance(state, dict):
            raise _damaged(path)
        if state.get("version", VERSION) != VERSION:
            raise JobError(
                f"{path} was written by another version of this program: finish the job with that "
                f"version, or remove {self.folder} to start over."
            )
        if not is_state(state):
            raise _damaged(path)
        self.seed: int | None = state.get("seed")
        self.normalizes = _recorded(state)
        self.files: dict[str, list] = state.get("files", {})
        self._takes: dict[str, int] = state.get("takes", {})
        self._again: list[str] = state.get("again", [])
        self.chapters: list[int] = state.get("chapters", [])
        self.pieces = PieceStore(self.folder / "pieces", self._rate)

    def save(self) -> None:
        """Write the job's state to its folder.

        Raises:
            JobError: the disk is full.
        """
        state: dict[str, Any] = {
            "version": VERSION,
            "seed": self.seed,
            "normalize": self.normalizes,
            "takes": self._takes,
            "again": self._again,
            "files": self.files,
        }
        if self.chapters:
            state["chapters"] = self.chapters
        write_json(self.folder / STATE_NAME, state)

    def choose_seed(self, asked: int | None) -> int:
        """Set and return the seed: the one asked for, else the job's, else a new one."""
        if asked is not None:
            self.seed = asked
        elif self.seed is None:
            self.seed = secrets.randbits(63)
        return self.seed

    def choose_writing(self, asked: bool | None, usual: bool) -> bool:
        """Set and return whether texts are written out: as asked for, as before, or as usual."""
        if asked is not None:
            self.normalizes = asked
        elif self.normalizes is None:
            self.normalizes = usual
        return self.normalizes

    def take(self, name: str) -> int:
        """The number of times that a piece, named by `identity.occurrences`, was ordered again."""
        return self._takes.get(name, 0)

    def speak_again(self, names: Iterable[str]) -> None:
        """Order pieces again, with other seeds; repeating an unfinished order has no effect."""
        for name in names:
            if name not in self._again:
                self._takes[name] = self.take(name) + 1
                self._again.append(name)

    def missing(self, wanted: Iterable[Wanted], unneeded: Collection[str] = ()) -> list[Wanted]:
        """List the pieces that are left to speak, in order; reads all that are on disk.

        Args:
            unneeded: keys of pieces whose output exists already.
        """
        by_key = {piece.key: piece for piece in wanted}
        return [
            piece
            for key, piece in by_key.items()
            if key not in unneeded and not self.pieces.is_done(key)
        ]

    def run(
        self,
        pieces: Sequence[Wanted],
        batch_size: int,
        executor: Executor,
        report: Callable[[SpokenPiece], None],
    ) -> None:
        """Speak pieces; each is written to disk as soon as it is finished.

        Args:
            batch_size: number of pieces that are decoded at a time.
            report: called with each piece that is on disk or could not be spoken, one at a time,
                in the thread that finished it. An exception from it ends the run.

        Raises:
            JobError: the disk is full; finished pieces are kept.
        """
        self.save()
        one_at_a_time = Lock()

        def store(spoken: SpokenPiece) -> None:
            with one_at_a_time:
                if not spoken.failure:
                    self.pieces.write(spoken.key, spoken.audio, spoken.record)
                report(spoken)

        if pieces:
            executor(pieces, batch_size, store)

    def finished(self, keys: Iterable[str]) -> None:
        """Note that the output is written: remove everything but the pieces of these keys."""
        self._again = []
        self.save()
        self.pieces.keep_only(keys)


def job_folder(output: Path) -> Path:
    """The folder of an output's job, beside the output."""
    return output.with_name(f"{output.name}.job")


def writing_before(folder: Path) -> bool | None:
    """Tell whether a job in a folder writes its texts out; None if there is no job."""
    state = read_json_or_none(folder / STATE_NAME)
    return _recorded(state) if is_state(state) else None


def _damaged(path: Path) -> JobError:
    return JobError(f"{path} is damaged: remove {path.parent} to start over.")


def _recorded(state: dict[str, Any]) -> bool | None:
    return state.get("normalize", False) if state else None
