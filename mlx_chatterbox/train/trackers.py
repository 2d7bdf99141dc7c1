"""Where metrics go besides `metrics.jsonl`: TensorBoard, Weights & Biases.

Both by their own packages, which are extras.
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
_LOGIN = "Log in by `wandb login` or WANDB_API_KEY, or write wandb.mode: offline."


class MissingExtra(ChatterboxError):
    """Something optional was asked for that is not installed."""


class Tracker(Protocol):
    """What is told of metrics."""

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Take the numbers of a step."""

    def close(self, failed: bool = False) -> None:
        """End; `failed`: the run did not come to its end."""


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

    A run that is gone on from is the same run there: its id lies in the output folder. Steps that
    are trained again after a stop are shown again at their step.

    Args:
        folder: the run's output folder; W&B's own files go to `wandb` in it.
        resumed: whether the run of the folder is gone on from.

    Raises:
        MissingExtra: wandb is not installed.
        ChatterboxError: nobody is logged in, or wandb refuses the settings.
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
            # The terminal's lines stand in no metrics, and a bar makes thousands of them.
            "settings": self._wandb.Settings(console="off", init_timeout=_PATIENCE_S),
        }
        self._run = self._begin(section.mode, settings, folder)
        self._run.define_metric("step")
        # By the step instead of by the order of writing, which a resumed run goes back in.
        self._run.define_metric("*", step_metric="step")

    def _begin(self, mode: str | None, settings: dict, folder: Path):
        errors = self._wandb.errors
        try:
            return self._wandb.init(mode=mode, **settings)
        except errors.AuthenticationError as error:
            raise ChatterboxError(f"training.report_to: wandb: {_first_line(error)}") from None
        except errors.CommError as error:
            print(
                f"wandb: out of reach ({_first_line(error)}); the run is kept in "
                f"{folder / 'wandb'}, and `wandb sync` sends it later.",
                file=sys.stderr,
            )
            # What is left of the first attempt would be taken for the run that is on.
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
    """What the configuration asks for.

    Raises:
        MissingExtra: something that is not installed.
    """
    wanted = config.trackers
    found: list[Tracker] = []
    if "tensorboard" in wanted:
        found.append(TensorBoard(folder / "tensorboard"))
    if "wandb" in wanted:
        found.append(WeightsAndBiases(config, folder, resumed))
    return found


def check_trackers(config: TrainConfig) -> None:
    """Refuse what could only fail after everything is computed.

    Raises:
        MissingExtra: something is not installed.
        ChatterboxError: nobody is logged in at Weights & Biases.
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
    except TypeError:  # an older one, which would ask; `init` says it
        return
    except wandb.errors.Error as error:
        raise ChatterboxError(f"training.report_to: wandb: {_first_line(error)}") from None
    if not logged_in:
        raise ChatterboxError(f"training.report_to: wandb: nobody is logged in. {_LOGIN}")


def _extra(name: str, module: str) -> ModuleType:
    """A module of an optional package, of the extra of the same name."""
    try:
        found = importlib.import_module(module)
        # A folder `wandb`, as wandb makes them itself, is a package with nothing in it.
        if getattr(found, "__file__", None) is None:
            raise ImportError(f"No module named '{name}', only a folder")
    except ImportError as error:
        raise MissingExtra(
            f"training.report_to: {name} is not installed ({error}): "
            f"pip install 'mlx-chatterbox[{name}]'."
        ) from None
    return found


def _run_id(folder: Path, resumed: bool) -> str:
    """The id of the output folder's run: the one it has, or a new one that is kept there."""
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
