"""Finding and loading of ChatTTS as upstream's `load` names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...checks.plain import shown
from ...errors import SettingError
from ...runtime.progress import Bars
from ...weights.chattts import ChatTTSModel, load_chattts
from ...weights.hub import CHATTTS, holds_chattts, on_this_machine, resolve_chattts
from ...weights.speaker_statistics import read_statistics

HUGGINGFACE, LOCAL, CUSTOM = SOURCES = ("huggingface", "local", "custom")


def find_model(
    source: str, force_redownload: bool = False, custom_path: str | Path | None = None
) -> Path:
    """Find the folder of a model, and download it if it is not on this machine; see `Chat.load`.

    Raises:
        SettingError: an unknown source, or no folder for "custom".
        CheckpointError, HubError: there is no such folder, or it cannot be downloaded.
    """
    if isinstance(source, str) and "/" in source:
        return resolve_chattts(source)
    if source not in SOURCES:
        raise SettingError(
            f"source must be one of {', '.join(SOURCES)}, or OWNER/REPOSITORY; got {shown(source)}."
        )
    if source == CUSTOM and custom_path is None:
        raise SettingError("source 'custom' needs custom_path, the folder that holds asset/.")
    if source != HUGGINGFACE and custom_path is not None:
        # As a path, never as the name of a repository.
        return resolve_chattts(Path(custom_path))
    if source == LOCAL and holds_chattts(Path.cwd()):
        return Path.cwd()
    cache = custom_path if source == HUGGINGFACE else None
    here = None if force_redownload else on_this_machine(CHATTTS, cache)
    return resolve_chattts(CHATTTS, cache) if here is None else here


def load_model(
    folder: Path, dtype: str | None, speaker_statistics: str | Path | None
) -> ChatTTSModel:
    """Load a model, with the statistics that a user names in place of its own.

    Raises:
        CheckpointError, SettingError: see `load_chattts` and `read_statistics`.
    """
    named = None if speaker_statistics is None else read_statistics(speaker_statistics)
    bars = Bars()
    try:
        model = load_chattts(folder, dtype, bars)
    finally:
        bars.close()
    return model if named is None else replace(model, statistics=named)


def warn_of_unused(say: Callable[[str], None], **options: tuple[Any, Any]) -> None:
    """Report upstream's options that were set and have no effect.

    Args:
        options: the value of each, and its default.
    """
    unused = [name for name, (value, default) in options.items() if value != default]
    if unused:
        verb = "has" if len(unused) == 1 else "have"
        say(f"load: {', '.join(unused)} {verb} no effect here: leave it out.")
