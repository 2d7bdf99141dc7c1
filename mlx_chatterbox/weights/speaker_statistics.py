"""Reading of the statistics that ChatTTS's random speakers are drawn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..checks.json_file import read_small
from ..errors import CheckpointError, SettingError
from ..text.checked_text import described
from ..voices.chattts.random_speaker import HOW_TO_GET, SpeakerStatistics
from .formats.unpickle import load_torch

# Within a folder of the model, where it has one.
STATISTICS_FILE = "asset/spk_stat.pt"
_MAX_TEXT_BYTES = 1 << 16
# No file's name is longer.
_LONGEST_NAME = 255


def read_statistics(source: str | Path) -> SpeakerStatistics:
    """Read the statistics that a user names.

    Args:
        source: `spk_stat.pt`, which `torch.save` wrote; a text file that holds upstream's string;
            a folder of the model that has the former; or the string itself.

    Raises:
        CheckpointError: there is no such file, or it holds something else. No code is run from it.
        SettingError: neither a path nor a string of statistics.
    """
    if isinstance(source, str) and _is_string(source):
        return SpeakerStatistics.from_string(source)
    if not isinstance(source, (str, Path)) or not str(source).strip():
        raise SettingError(
            f"the statistics of speakers are a path or a string; got {described(source)}. "
            f"{HOW_TO_GET}"
        )
    path = Path(source)
    if path.is_dir():
        path = path / STATISTICS_FILE
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: no statistics of speakers. {HOW_TO_GET}")
    name = f"the statistics in {path}"
    try:
        if path.suffix.lower() in (".pt", ".pth", ".bin"):
            return SpeakerStatistics.from_values(_tensor(path), name)
        content = read_small(path, _MAX_TEXT_BYTES).decode("utf-8-sig")
        return SpeakerStatistics.from_string(content, name)
    except SettingError as error:
        raise CheckpointError(str(error)) from None
    except UnicodeDecodeError:
        raise CheckpointError(f"{path} is neither a text nor a .pt file. {HOW_TO_GET}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from None


def _is_string(source: str) -> bool:
    return len(source) > _LONGEST_NAME and "/" not in source and "\\" not in source


def _tensor(path: Path) -> np.ndarray:
    content = load_torch(path)
    if not isinstance(content, np.ndarray):
        raise CheckpointError(f"{path} holds {described(content)}, not one tensor. {HOW_TO_GET}")
    return content
