"""Folders of ChatTTS's own files (`chattts.py`), as a source of a conversion."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from mlx_chatterbox.checks.git_lfs import refuse_pointer
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import CHATTTS_TYPE
from mlx_chatterbox.text.chattts.tokenizer import ChatTTSTokenizer
from mlx_chatterbox.weights.shards import is_there

from ..chattts_files import (
    CONFIG_FILE,
    STATISTICS_FILE,
    TOKENIZER_FILES,
    TOKENIZER_NAME,
    WEIGHT_FILES,
    has_chattts_files,
)
from .chattts import check_plan, read_gpt_config
from .chattts_layout import config_of
from .model_source import UPSTREAM, Source, first_present
from .sources import open_weights


def chattts_source(folder: Path) -> Source:
    """Describe a folder of ChatTTS's own files.

    Raises:
        CheckpointError: files are missing or damaged, or do not fit each other.
    """
    _refuse_incomplete(folder)
    weights = {name: folder / name for name in WEIGHT_FILES}
    texts = {own: folder / theirs for own, theirs in TOKENIZER_FILES.items()}
    tokenizer = ChatTTSTokenizer(texts[TOKENIZER_NAME])
    # The GPT's configuration does not state these.
    tokens = {"speaker_token": tokenizer.speaker_id, "stop_text_token": tokenizer.end_id}
    gpt = read_gpt_config(folder, **tokens)
    available = {}
    for name, path in weights.items():
        with closing(open_weights(path)) as reader:
            available[name] = reader.shapes
    config = config_of(gpt, available)
    return Source(
        layout=UPSTREAM,
        variant=CHATTTS_TYPE,
        weights=weights,
        texts={own: path for own, path in texts.items() if path.is_file()},
        voice=None,
        config=config,
        plan=lambda shapes: check_plan(config, shapes, folder),
        open=lambda name: open_weights(weights[name]),
        statistics=first_present(folder, (STATISTICS_FILE,)),
    )


def _refuse_incomplete(folder: Path) -> None:
    names = (CONFIG_FILE, TOKENIZER_FILES[TOKENIZER_NAME])
    missing = [name for name in WEIGHT_FILES if not is_there(folder / name)]
    missing += [name for name in names if not (folder / name).is_file()]
    if missing:
        hint = f" Name {folder.parent}." if has_chattts_files(folder.parent) else ""
        raise CheckpointError(f"{folder} is no whole ChatTTS: it lacks {', '.join(missing)}.{hint}")
    for name in (*WEIGHT_FILES, *names):
        refuse_pointer(folder / name)
