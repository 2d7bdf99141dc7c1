"""Checkpoints: everything that a run needs to continue as if it had not stopped.

A checkpoint folder is written under a temporary name and renamed when every byte is on disk, so a
folder called `checkpoint-N` is complete, whenever the process was killed. It holds:

- `weights.safetensors` or, with LoRA, `adapters.safetensors`: the trained weights, in float32,
  under the keys of `model.safetensors`; heads that only serve training under `extra.`
- `optimizer.safetensors`: moments and counters
- `state.json`: step, place in the data, loss scales, the best evaluation, sums not yet logged
- `config.yaml`: the configuration
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_type_hints

import mlx.core as mx

from ..checks.json_file import parse_json, read_small
from ..checks.plain import named, typed
from ..checks.safetensors_header import load_safetensors
from ..errors import CheckpointError
from ..runtime.own_files import sync
from ..runtime.saving import save_arrays
from .config import TrainConfig
from .loading import save_config

WEIGHTS, ADAPTERS = "weights.safetensors", "adapters.safetensors"
OPTIMIZER, STATE, CONFIG = "optimizer.safetensors", "state.json", "config.yaml"
# Names of the folders that a killed process leaves of `new_folder` (earlier versions: no number).
_LEFT = re.compile(r"\.(.+?)(?:\.[0-9a-f]{16})?\.(tmp|old)")
VERSION = 2
_NAMED = re.compile(r"(checkpoint|best)-(\d+)")


@dataclass
class RunState:
    """The progress of a run.

    Attributes:
        step: optimizer steps done.
        epoch, batch: the place in the data: `batch` global batches of `epoch` have been used.
        clips: clips seen.
        best_metric, best_step: of the best evaluation so far.
        waited: evaluations since then.
        window: sums of the metrics since the last line was logged.
        loss_scales: of each task.
        metrics_bytes: length of `metrics.jsonl`.
        finished: the run came to its end.
        version: of the meaning of a run's settings; in 1 `trim_margin_s` had no effect (0.1 s), and
            texts were not normalised.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    clips: int = 0
    best_metric: float | None = None
    best_step: int | None = None
    waited: int = 0
    window: dict[str, float] = field(default_factory=dict)
    loss_scales: dict[str, dict[str, float]] = field(default_factory=dict)
    metrics_bytes: int = 0
    finished: bool = False
    version: int = VERSION

    def to_json(self) -> str:
        # Python writes floats so that they are read back exactly.
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> RunState:
        """Read what `to_json` wrote.

        Raises:
            ValueError, RecursionError: it did not.
        """
        values, hints = parse_json(text), get_type_hints(cls)
        unknown = sorted(values.keys() - hints.keys())
        if unknown:
            raise ValueError(f"unknown key(s) {', '.join(map(named, unknown[:3]))}")
        for name, value in values.items():
            if name == "window":
                _check_numbers(value, name)
            elif name == "loss_scales":
                for key, scales in typed(value, dict, name).items():
                    _check_numbers(scales, f"{name}.{named(key)}")
            elif not (name == "best_metric" and type(value) is float):  # which may be NaN
                typed(value, hints[name], name)
        return cls(**{"version": 1, **values})


def _check_numbers(values: object, name: str) -> None:
    if not all(type(value) in (int, float) for value in typed(values, dict, name).values()):
        raise ValueError(f"{name} has a value that is not a number")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder to write into, which is renamed to `target` at the end.

    An existing folder is replaced. Temporary folders of killed processes are removed.
    """
    temporary = target.with_name(f".{target.name}.{os.urandom(8).hex()}.tmp")
    old = target.with_name(f".{target.name}.old")
    target.parent.mkdir(parents=True, exist_ok=True)
    for path in target.parent.glob(".*"):
        left = _LEFT.fullmatch(path.name)
        if left is not None and left[1] == target.name and left[2] == "tmp":
            _remove(path)
    temporary.mkdir()
    try:
        yield temporary
        for path in temporary.iterdir():
            sync(path)
        sync(temporary)
        _remove(old)
        if target.exists():
            os.rename(target, old)
        os.rename(temporary, target)
        sync(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove(path: Path) -> None:
    """Remove a folder with its content, or a link but not its target."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def link(name: Path, target: Path) -> None:
    """Make `name` a link to `target` in the same folder, atomically."""
    temporary = name.with_name(f".{name.name}.{os.urandom(8).hex()}.link")
    for path in name.parent.glob(f".{name.name}*.link"):  # of a killed process
        if path.is_symlink():
            path.unlink(missing_ok=True)
    os.symlink(target.name, temporary)
    try:
        os.replace(temporary, name)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_arrays(path: Path) -> dict[str, mx.array]:
    """Read the tensors of a checkpoint's file.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        return load_safetensors(path)
    except CheckpointError as error:
        raise CheckpointError(f"{path} is missing or damaged: {error}") from None


def read_state(folder: Path) -> RunState:
    """Read the progress of a checkpoint's run.

    Raises:
        CheckpointError: the folder is no checkpoint of a training run.
    """
    try:
        return RunState.from_json(read_small(folder / STATE))
    except RecursionError:
        raise CheckpointError(f"{folder / STATE} is nested too deeply.") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} is not a checkpoint of a training run: {error}.") from None


def check_keys(folder: Path, stored: dict, expected: dict) -> None:
    """Raise CheckpointError unless a checkpoint has the run's tensors, in the same shapes.

    Args:
        stored: the checkpoint's tensors by key.
        expected: the run's.
    """
    missing = sorted(expected.keys() - stored.keys())
    unknown = sorted(stored.keys() - expected.keys())
    common = expected.keys() & stored.keys()
    shapes = [key for key in common if expected[key].shape != stored[key].shape]
    if missing or unknown or shapes:
        first = (missing + unknown + shapes)[0]
        raise CheckpointError(
            f"{folder} belongs to another run: {len(missing)} tensor(s) missing, "
            f"{len(unknown)} unknown, {len(shapes)} of another shape (the first: {first})."
        )


def weights_file(folder: Path) -> Path:
    """Return the path of the checkpoint's weights or adapters.

    Raises:
        CheckpointError: it has neither.
    """
    for name in (WEIGHTS, ADAPTERS):
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(f"{folder} has neither {WEIGHTS} nor {ADAPTERS}: no training checkpoint.")


def find_checkpoint(path: str | Path) -> Path:
    """Return a path if it is a checkpoint, else the newest checkpoint of an output folder.

    Raises:
        CheckpointError: there is no checkpoint.
    """
    path = Path(path).expanduser()
    if (path / STATE).is_file():
        return path.resolve()
    newest = Checkpoints(path).newest()
    if newest is None:
        raise CheckpointError(f"{path} is not a checkpoint and contains none: nothing to resume.")
    return newest.resolve()


class Checkpoints:
    """The checkpoints of an output folder.

    `checkpoint-N` can be resumed; `best-N` has only the weights of the best evaluation. `last` and
    `best` are links to the newest ones.

    Args:
        limit: how many `checkpoint-N` are kept; None keeps all.
    """

    def __init__(self, folder: Path, limit: int | None = None):
        self.folder = Path(folder)
        self._limit = limit

    def newest(self) -> Path | None:
        """Return the checkpoint of the highest step, or None."""
        steps = self._all("checkpoint")
        return self.folder / f"checkpoint-{max(steps)}" if steps else None

    def best(self, step: int | None) -> Path | None:
        """Return the folder with the weights of the evaluation at a step, or None."""
        path = self.folder / f"best-{step}"
        return path if path.is_dir() else None

    def save(
        self,
        state: RunState,
        weights: Mapping[str, mx.array],
        optimizer: Mapping[str, mx.array],
        config: TrainConfig,
        adapters: bool,
    ) -> Path:
        """Write `checkpoint-N`, then remove the oldest ones over the limit."""
        target = self.folder / f"checkpoint-{state.step}"
        with new_folder(target) as folder:
            self._write(folder, state, weights, config, adapters)
            save_arrays(folder / OPTIMIZER, optimizer)
        link(self.folder / "last", target)
        self._prune(state)
        return target

    def save_best(
        self,
        state: RunState,
        weights: Mapping[str, mx.array],
        config: TrainConfig,
        adapters: bool,
    ) -> Path:
        """Write `best-N`. Earlier ones stay until a checkpoint refers to the new one."""
        target = self.folder / f"best-{state.step}"
        with new_folder(target) as folder:
            self._write(folder, state, weights, config, adapters)
        link(self.folder / "best", target)
        return target

    def go_back_to(self, state: RunState) -> None:
        """Remove all that is newer than a resumed checkpoint, and the rests of killed processes."""
        for path in self.folder.glob(".*"):
            left = _LEFT.fullmatch(path.name)
            if left is None or not _NAMED.fullmatch(left[1]):
                continue
            if path.is_symlink() or not path.is_dir():
                continue
            if left[2] == "tmp":
                shutil.rmtree(path, ignore_errors=True)
            else:
                # Killed between two renames: the old folder is the only copy.
                target = path.with_name(left[1])
                if target.exists():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    os.rename(path, target)
        for kind in ("checkpoint", "best"):
            for step in self._all(kind):
                if step > state.step:
                    shutil.rmtree(self.folder / f"{kind}-{step}")
        best = self.best(state.best_step)
        if best is not None:
            link(self.folder / "best", best)
        else:
            (self.folder / "best").unlink(missing_ok=True)
        newest = self.newest()
        if newest is not None:
            link(self.folder / "last", newest)

    def _write(self, folder: Path, state: RunState, weights, config, adapters: bool) -> None:
        metadata = {"format": "mlx", "step": str(state.step)}
        name = ADAPTERS if adapters else WEIGHTS
        save_arrays(folder / name, weights, metadata)
        save_config(config, folder / CONFIG)
        (folder / STATE).write_text(state.to_json(), encoding="utf-8")

    def _prune(self, state: RunState) -> None:
        steps = sorted(self._all("checkpoint"), reverse=True)
        if self._limit is not None:
            for step in steps[self._limit :]:
                shutil.rmtree(self.folder / f"checkpoint-{step}")
            steps = steps[: self._limit]
        # A resumed checkpoint needs the best weights that its state refers to.
        needed = {read_state(self.folder / f"checkpoint-{step}").best_step for step in steps}
        for step in self._all("best") - needed - {state.best_step}:
            shutil.rmtree(self.folder / f"best-{step}")

    def _all(self, kind: str) -> set[int]:
        if not self.folder.is_dir():
            return set()
        matches = (_NAMED.fullmatch(path.name) for path in self.folder.iterdir())
        return {int(match[2]) for match in matches if match and match[1] == kind}
