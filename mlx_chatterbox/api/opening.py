"""Loading of any model by its name, of either family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import HubError
from ..runtime.device_argument import on_device
from ..synthesis.request import Progress
from ..weights.chattts_files import PUBLISHED
from ..weights.hub import (
    CHATTTS,
    holds_chattts,
    is_known,
    local_folder,
    repository_of,
    resolve_texts,
)


def is_chattts(name: str | Path) -> bool:
    """Tell whether a name, folder or repository is a ChatTTS; weights are not downloaded for it."""
    if name == CHATTTS or str(name) == PUBLISHED.repo:
        return True
    folder = local_folder(name)
    if folder is None:
        if is_known(name) or repository_of(str(name)) is None:
            return False
        try:
            folder = resolve_texts(name)
        except HubError:
            return False  # loading reports it
    return holds_chattts(folder)


def open_any(
    name: str | Path,
    device: str | None = None,
    dtype: str | None = None,
    progress: Progress | None = None,
    check: bool = False,
) -> Any:
    """Load a model: an object of its class, or for ChatTTS a `ChatTTSSpeech`; see `open_model`."""
    # Only here: the networks take a second to import, and a text is shown without them.
    if not is_chattts(name):
        from .tts import open_model

        return open_model(name, device=device, dtype=dtype, progress=progress, check=check)
    from ..weights.chattts import load_chattts
    from .chattts.speech import ChatTTSSpeech

    with on_device(device):
        return ChatTTSSpeech(load_chattts(name, dtype, progress, check), device)
