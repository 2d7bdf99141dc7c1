"""The files of a model, which no output may overwrite."""

from __future__ import annotations

from pathlib import Path

from ..models.config import CONFIG_NAME
from ..runtime.apart import Named
from .chattts_files import (
    CONFIG_FILE,
    STATISTICS_FILE,
    STATISTICS_NAME,
    TOKENIZER_FILES,
    WEIGHT_FILES,
)
from .checkpoint import VOICE_NAME
from .hub import PARTS_PATTERN, WEIGHTS_NAME, local_folder
from .manifest import MANIFEST_NAME
from .variants import VARIANTS


def model_files(name: str | Path) -> list[Named]:
    """List the files of a model in a folder, for `check_apart`; none for a model on the hub."""
    folder = local_folder(name)
    if folder is None:
        return []
    names = {CONFIG_NAME, MANIFEST_NAME, VOICE_NAME}
    for row in VARIANTS.values():
        names |= {*row.required_files, *row.optional_files, row.voice_file}
    names |= {WEIGHTS_NAME, STATISTICS_NAME, STATISTICS_FILE, CONFIG_FILE, *WEIGHT_FILES}
    names |= {*TOKENIZER_FILES, *TOKENIZER_FILES.values()}
    files = [*(folder / one for one in sorted(names)), *sorted(folder.glob(PARTS_PATTERN))]
    return [(f"{path}, a file of the model", path) for path in files if path.is_file()]
