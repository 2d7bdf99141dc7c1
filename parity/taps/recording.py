"""Recording of every layer's inputs and outputs, on either side, and tap files.

A tap is one call of a layer or function: its name (the layer's key in `model.safetensors`, without
the tensor), which call it was (name#k), inputs and outputs in our layout, channels last. The list
of a stage is in the order in which calls ended, so that a layer stands before what contains it; a
stage itself is the last, without inputs, because both sides got the same.

Neither MLX nor PyTorch is imported: `mlx_taps` and `torch_taps` fill the recorder, and files are
compared where neither is installed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .. import COMMAND
from ..dumps import read_dump_with_metadata, write_dump
from ..errors import DumpError
from .names import CALLS, EMBEDDINGS, MORE_CALLS

FORMAT = "parity-taps-1"

Arrays = dict[str, np.ndarray]


@dataclass
class Tap:
    """A recorded call.

    Attributes:
        stage: the parity stage that it belongs to.
        name: path of the layer, module and name of the function, or the stage.
        call: counted from 1 in the stage.
        parent: `name#call` of the tap that called it; empty for a stage.
        started: order in which the stage's calls began, from 0.
        inputs, outputs: arrays by the name that both sides use for them.
    """

    stage: str
    name: str
    call: int
    parent: str
    started: int
    inputs: Arrays = field(default_factory=dict)
    outputs: Arrays = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name and call number, `name#call`."""
        return f"{self.name}#{self.call}"

    @property
    def is_stage(self) -> bool:
        return not self.parent


class Recorder:
    """A collector of taps, stage by stage.

    Args:
        calls: how many calls of a layer are kept in a stage. The steps of the flow and of decoding
            repeat the same layers; two show what one step does and what it leaves to the next.
        unlimited: a pattern for names of which all calls are kept.
    """

    def __init__(self, calls: int = CALLS, unlimited: str = r"(?!)"):
        self.taps: list[Tap] = []
        self._limit = calls
        self._unlimited = re.compile(unlimited)
        self._stage: str | None = None
        self._stack: list[Tap] = []
        self._calls: dict[str, int] = {}
        self._started = 0
        self._current: list[Tap] = []

    @property
    def innermost(self) -> Tap | None:
        """The tap whose call is running."""
        return self._stack[-1] if self._stack else None

    @property
    def stack(self) -> Sequence[Tap]:
        """Taps whose calls are running, from the stage inwards."""
        return self._stack

    def enter(self, name: str, inputs: Arrays) -> Tap | None:
        """Begin a call; None outside of a stage, where nothing is recorded."""
        if self._stage is None:
            return None
        self._calls[name] = call = self._calls.get(name, 0) + 1
        parent = self._stack[-1].key if self._stack else ""
        tap = Tap(self._stage, name, call, parent, self._started, inputs)
        self._started += 1
        self._stack.append(tap)
        return tap

    def leave(self, tap: Tap | None, outputs: Arrays) -> None:
        """End a call."""
        if tap is None:
            return
        self._stack.remove(tap)
        tap.outputs = outputs
        limit = self._limit + MORE_CALLS.get(tap.stage, 0)
        if tap.call <= limit or self._unlimited.search(tap.name):
            self._current.append(tap)

    def note(self, name: str, outputs: Arrays, inputs: Arrays | None = None) -> None:
        """Record a result that no call of its own made."""
        self.leave(self.enter(name, inputs or {}), outputs)

    @contextmanager
    def stage(self, name: str) -> Iterator[Tap]:
        """Record a stage; its own tap is yielded, to be given the outputs."""
        self._stage, self._calls, self._started, self._current = name, {}, 0, []
        root = self.enter(name, {})
        try:
            yield root
            self.leave(root, root.outputs)
            self.taps += self.finished(self._current)
        finally:
            self._stage, self._stack, self._current = None, [], []

    def finished(self, taps: list[Tap]) -> list[Tap]:
        """A stage's taps as they are kept: a side that calls otherwise than the other changes them
        here."""
        return taps


def renumbered(taps: list[Tap]) -> list[Tap]:
    """The taps with their calls counted anew, after some were taken out or joined."""
    counts: dict[str, int] = {}
    for tap in sorted(taps, key=lambda tap: tap.started):
        counts[tap.name] = tap.call = counts.get(tap.name, 0) + 1
    return taps


def without_repeats(taps: list[Tap]) -> list[Tap]:
    """Merge embeddings that are looked up twice in a row for the same tokens."""
    kept, last = [], {}
    for tap in taps:
        if EMBEDDINGS.search(tap.name):
            tokens = next(iter(tap.inputs.values())).reshape(-1)
            before = last.get(tap.name)
            last[tap.name] = tokens
            if before is not None and _same_tokens(before, tokens):
                continue
        kept.append(tap)
    return renumbered(kept)


def _same_tokens(before: np.ndarray, tokens: np.ndarray) -> bool:
    """True for a start token each, in one row or two, or for equal tokens."""
    return np.array_equal(before, tokens) or len({*before.tolist(), *tokens.tolist()}) == 1


@dataclass
class TapFile:
    """Content of a tap file: the taps, the inputs of the stages, and its metadata."""

    taps: list[Tap]
    inputs: Arrays
    metadata: dict[str, str]


def write_taps(
    path: str | Path,
    taps: Sequence[Tap],
    inputs: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a tap file: safetensors, equal arrays once, the order and roles as JSON beside them.

    Args:
        inputs: the dump that the stages read, so that another machine needs this file alone.

    Raises:
        DumpError: the folder does not exist or cannot be written.
    """
    tensors = {f"inputs/{name}": array for name, array in inputs.items()}
    keys: dict[str, str] = {}

    def stored(tap: Tap, role: str, arrays: Arrays) -> dict[str, str]:
        names = {}
        for name, array in arrays.items():
            array = np.ascontiguousarray(array)
            key = f"{tap.stage}/{tap.key}/{role}.{name}"
            kind = f"{array.dtype}{array.shape}".encode()
            digest = hashlib.blake2b(kind + array.tobytes(), digest_size=16).hexdigest()
            names[name] = keys.setdefault(digest, key)
            if names[name] == key:
                tensors[key] = array
        return names

    rows = [
        {
            "stage": tap.stage,
            "name": tap.name,
            "call": tap.call,
            "parent": tap.parent,
            "started": tap.started,
            "inputs": stored(tap, "in", tap.inputs),
            "outputs": stored(tap, "out", tap.outputs),
        }
        for tap in taps
    ]
    return write_dump(
        path, tensors, {**(metadata or {}), "format": FORMAT, "taps": json.dumps(rows)}
    )


_FIELDS = {"stage": str, "name": str, "call": int, "parent": str, "started": int}


def _tap(row: object, tensors: Arrays) -> Tap:
    """A tap as it is stored.

    Raises:
        KeyError, ValueError: it is none, or names a tensor that is not there.
    """
    kinds = {**_FIELDS, "inputs": dict, "outputs": dict}
    if not isinstance(row, dict) or any(
        type(row[name]) is not kind for name, kind in kinds.items()
    ):
        raise ValueError("a row is no layer's call")
    arrays = (
        {n: tensors[str(key)] for n, key in row[way].items()} for way in ("inputs", "outputs")
    )
    return Tap(*(row[name] for name in _FIELDS), *arrays)


def read_taps(path: str | Path) -> TapFile:
    """The taps of a file.

    Raises:
        DumpError: no such file, or none of taps.
    """
    tensors, metadata = read_dump_with_metadata(path)
    if metadata.pop("format", None) != FORMAT:
        raise DumpError(f"{path} is not a tap file: `{COMMAND} dump --taps` writes one.")
    try:
        taps = [_tap(row, tensors) for row in json.loads(metadata.pop("taps"))]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DumpError(f"{path} is a damaged file of taps: {reason}.") from error
    inputs = {
        name.removeprefix("inputs/"): array
        for name, array in tensors.items()
        if name.startswith("inputs/")
    }
    return TapFile(taps, inputs, metadata)
