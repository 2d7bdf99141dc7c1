"""Trackers, which get the metrics besides `metrics.jsonl`: TensorBoard, Weights & Biases.

Both use their own packages, which are extras.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Protocol
from uuid import uuid4

from ..checks.json_file import read_small
from ..errors import ChatterboxError
from ..runtime.own_files import write_whole
from .config import TrainConfig

WANDB_PROJECT = "mlx-chatterbox"
WANDB_RUN_NAME = "wandb-run.txt"
_LONGEST_RUN_ID = 128
_PATIENCE_S = 30.0
_LOGIN = "Log in with `wandb login` or WANDB_API_KEY, or set wandb.mode: offline."


class MissingExtra(ChatterboxError):
    """An optional package is needed and not installed."""


class Tracker(Protocol):
    """A destination of metrics."""

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Write the numbers of a step."""

    def close(self, failed: bool = False) -> None:
        """Close; `failed`: the run ended by an error."""


class TensorBoard:
    """Writes numbers for TensorBoard, by its own package; PyTorch is not needed.

    Raises:
        MissingExtra: tensorboard is not installed.
    """

    def __init__(self, folder: Path):
        event = _extra("tensorboard", "tensorboard.compat.proto.event_pb2")
        summary = _extra("tensorboard", "tensorboard.compat.proto.summary_pb2")
        writer = _extra("tensorboard", "tensorboard.summary.writer.event_file_writer")
        self._event, self._summary = event.Event, summary.Summary
        self._writer = writer.EventFileWriter(str(folder))

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        points = [self._summary.Value(tag=k, simple_value=v) for k, v in values.items()]
        summary = self._summary(value=points)
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=summary))
        self._writer.flush()

    def close(self, failed: bool = False) -> None:
        self._writer.close()


class WeightsAndBiases:
    """Sends metrics and the configuration to Weights & Biases, or keeps them for `wandb sync`.

    A resumed run continues the same run there, whose id is in the output folder. Steps that are
    trained again after an interruption appear again at their step.

    Args:
        folder: the run's output folder; W&B's own files go to `wandb` in it.
        resumed: continue the folder's run.

    Raises:
        MissingExtra: wandb is not installed.
        ChatterboxError: no login, or wandb refuses the settings.
    """

    def __init__(self, config: TrainConfig, folder: Path, resumed: bool):
        self._wandb = _extra("wandb", "wandb")
        section = config.wandb
        folder.mkdir(parents=True, exist_ok=True)
        values = config.to_dict()
        del values["wandb"]
        settings = {
            "project": section.project or os.environ.get("WANDB_PROJECT") or WANDB_PROJECT,
            "entity": section.entity,
            "name": section.name or os.environ.get("WANDB_NAME") or folder.resolve().name,
            "group": section.group,
            "tags": section.tags or None,
            "notes": section.notes,
            "config": {**values, **section.config},
            "dir": str(folder),
            "id": _run_id(folder, resumed),
            "resume": "allow",
            "allow_val_change": True,
            # No terminal output: a progress bar writes thousands of lines.
            "settings": self._wandb.Settings(console="off", init_timeout=_PATIENCE_S),
        }
        self._run = self._begin(section.mode, settings, folder)
        self._run.define_metric("step")
        # Ordered by step and not by time, since a resumed run repeats steps.
        self._run.define_metric("*", step_metric="step")

    def _begin(self, mode: str | None, settings: dict, folder: Path):
        errors = self._wandb.errors
        try:
            return self._wandb.init(mode=mode, **settings)
        except errors.AuthenticationError as error:
            raise ChatterboxError(f"training.report_to: wandb: {_first_line(error)}") from None
        except errors.CommError as error:
            print(
                f"wandb: cannot be reached ({_first_line(error)}); the run is kept in "
                f"{folder / 'wandb'}, and `wandb sync` sends it later.",
                file=sys.stderr,
            )
            # Otherwise the failed attempt counts as the current run.
            self._wandb.teardown()
            return self._wandb.init(mode="offline", **settings)
        except errors.Error as error:
            raise ChatterboxError(
                f"training.report_to: wandb: {_first_line(error)} {_LOGIN}"
            ) from None

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, "epoch": epoch, **values})

    def close(self, failed: bool = False) -> None:
        self._run.finish(exit_code=1 if failed else 0)


def trackers(config: TrainConfig, folder: Path, resumed: bool) -> list[Tracker]:
    """Open the trackers that the configuration names.

    Raises:
        MissingExtra: a tracker's package is not installed.
    """
    opened: list[Tracker] = []
    if "tensorboard" in config.trackers:
        opened.append(TensorBoard(folder / "tensorboard"))
    if "wandb" in config.trackers:
        opened.append(WeightsAndBiases(config, folder, resumed))
    return opened


def check_trackers(config: TrainConfig) -> None:
    """Check the trackers before any work.

    Raises:
        MissingExtra: a tracker's package is not installed.
        ChatterboxError: no login at Weights & Biases.
    """
    if "tensorboard" in config.trackers:
        _extra("tensorboard", "tensorboard.summary.writer.event_file_writer")
    if "wandb" not in config.trackers:
        return
    wandb = _extra("wandb", "wandb")
    mode = config.wandb.mode or os.environ.get("WANDB_MODE") or "online"
    if mode != "online":
        return
    try:
        logged_in = wandb.login(prompt=False, verify=False)
    except TypeError:  # an older version, which would ask; `init` reports a missing login
        return
    except wandb.errors.Error as error:
        raise ChatterboxError(f"training.report_to: wandb: {_first_line(error)}") from None
    if not logged_in:
        raise ChatterboxError(f"training.report_to: wandb: not logged in. {_LOGIN}")


def _extra(name: str, module: str) -> ModuleType:
    """Import a module of an optional package, whose extra has the package's name."""
    try:
        imported = importlib.import_module(module)
        # A folder `wandb`, such as wandb itself makes, imports as an empty package.
        if getattr(imported, "__file__", None) is None:
            raise ImportError(f"No module named '{name}', only a folder")
    except ImportError as error:
        raise MissingExtra(
            f"training.report_to: {name} is not installed ({error}): "
            f"pip install 'mlx-chatterbox[{name}]'."
        ) from None
    return imported


def _run_id(folder: Path, resumed: bool) -> str:
    """Return the id of the output folder's run, or a new one, which is written there."""
    file = folder / WANDB_RUN_NAME
    if resumed:
        with contextlib.suppress(OSError, ValueError):
            known = read_small(file, _LONGEST_RUN_ID).decode("ascii").strip()
            if known.isalnum():
                return known
    run_id = uuid4().hex[:12]
    write_whole(file, run_id + "\n")
    return run_id


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".") + "."
