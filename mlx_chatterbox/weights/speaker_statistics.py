"""Reading of the statistics that ChatTTS's random speakers are drawn from."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np

from ..checks.json_file import read_small
from ..checks.plain import named
from ..checks.safetensors_header import load_safetensors
from ..errors import CheckpointError, SettingError
from ..text.checked_text import described
from ..voices.chattts.random_speaker import HOW_TO_GET, SpeakerStatistics
from .chattts_files import STATISTICS_FILE, STATISTICS_NAME
from .formats.safetensors_file import SafetensorsWriter
from .formats.unpickle import load_torch

_MAX_TEXT_BYTES = 1 << 16
_KEYS = ("std", "mean")
# No file's name is longer.
_LONGEST_NAME = 255


def read_statistics(source: str | Path) -> SpeakerStatistics:
    """Read the statistics that a user names.

    Args:
        source: `spk_stat.pt`, which `torch.save` wrote; `speakers.safetensors` of a converted
            model; a text file that holds upstream's string; a folder of the model, upstream's or
            converted, that has one of the former; or the string itself.

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
        path = statistics_in(path) or path / STATISTICS_FILE
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: no statistics of speakers. {HOW_TO_GET}")
    name = f"the statistics in {path}"
    try:
        if path.suffix.lower() in (".pt", ".pth", ".bin"):
            return SpeakerStatistics.from_values(_tensor(path), name)
        if path.suffix.lower() == ".safetensors":
            return SpeakerStatistics.from_values(_stored(path), name)
        content = read_small(path, _MAX_TEXT_BYTES).decode("utf-8-sig")
        return SpeakerStatistics.from_string(content, name)
    except SettingError as error:
        raise CheckpointError(str(error)) from None
    except UnicodeDecodeError:
        raise CheckpointError(f"{path} is neither a text nor a .pt file. {HOW_TO_GET}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from None


def statistics_in(folder: Path) -> Path | None:
    """Find the statistics in a folder of the model, upstream's or converted; None: it has none."""
    paths = (folder / STATISTICS_NAME, folder / STATISTICS_FILE)
    return next((path for path in paths if path.is_file()), None)


def save_statistics(statistics: SpeakerStatistics, path: Path) -> None:
    """Write statistics as a converted model keeps them: `std` and `mean`, float16."""
    tensors = {key: mx.array(getattr(statistics, key)) for key in _KEYS}
    layout = {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in tensors.items()}
    with SafetensorsWriter(path, layout, {"format": "mlx"}) as writer:
        for key, tensor in tensors.items():
            writer.write(key, tensor)


def _stored(path: Path) -> np.ndarray:
    """Read what `save_statistics` wrote: the deviations, then the means."""
    tensors = load_safetensors(path)
    if tensors.keys() != set(_KEYS):
        raise CheckpointError(
            f"{path} has the tensors {', '.join(map(named, sorted(tensors)[:3])) or 'none'}; "
            f"statistics are {' and '.join(_KEYS)}. {HOW_TO_GET}"
        )
    if any(not mx.issubdtype(tensor.dtype, mx.floating) for tensor in tensors.values()):
        raise CheckpointError(f"{path} holds whole numbers; statistics are floating-point.")
    return np.concatenate([np.array(tensors[key].astype(mx.float32)).reshape(-1) for key in _KEYS])


def _is_string(source: str) -> bool:
    return len(source) > _LONGEST_NAME and "/" not in source and "\\" not in source


def _tensor(path: Path) -> np.ndarray:
    content = load_torch(path)
    if not isinstance(content, np.ndarray):
        raise CheckpointError(f"{path} holds {described(content)}, not one tensor. {HOW_TO_GET}")
    return content
