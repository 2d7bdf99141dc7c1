"""ChatTTS's folders: its own files, and checkpoints that were converted from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlx_chatterbox.models.chattts.config import ChatTTSConfig
from mlx_chatterbox.models.chattts.networks import ChatTTSNetworks
from mlx_chatterbox.weights.chattts import load_converted_chattts, load_upstream
from mlx_chatterbox.weights.chattts_files import TOKENIZER_FILES, TOKENIZER_NAME, has_chattts_files
from mlx_chatterbox.weights.conversion.chattts import read_config
from mlx_chatterbox.weights.conversion.chattts_folder import chattts_source
from mlx_chatterbox.weights.hub import family_of
from mlx_chatterbox.weights.source_paths import recall

from ..errors import ParityError
from ..tables.stage import CHATTTS


@dataclass(frozen=True)
class ChatTTSCheckpoint:
    """Networks of a folder, and what they are made of; as `weights.checkpoint.Checkpoint`."""

    folder: Path
    config: ChatTTSConfig
    networks: ChatTTSNetworks


def load_chattts(folder: str | Path) -> ChatTTSCheckpoint:
    """Load the networks of a folder of ChatTTS, converted or not.

    Raises:
        CheckpointError: it is no such folder, or damaged.
    """
    folder = Path(folder)
    if family_of(folder) == CHATTTS:
        model = load_converted_chattts(folder)
        return ChatTTSCheckpoint(folder, model.config, model.networks)
    config, networks = load_upstream(folder, config=_sizes(folder))
    return ChatTTSCheckpoint(folder, config, networks)


def own_files(folder: str | Path) -> tuple[Path, ChatTTSConfig]:
    """Find the files in ChatTTS's own format that a folder has or was converted from, with sizes.

    Raises:
        ParityError: they are not on this machine.
        CheckpointError: the folder is damaged.
    """
    folder = Path(folder)
    if family_of(folder) != CHATTTS:
        return folder, _sizes(folder)
    config = ChatTTSConfig.load(folder)
    source = recall(config.source)
    if source is None or not has_chattts_files(source):
        raise ParityError(
            f"{folder} is a converted checkpoint and its original files are not here; NumPy reads "
            "a folder with ChatTTS's own files (asset/...)."
        )
    return source, config


def _sizes(folder: Path) -> ChatTTSConfig:
    """Sizes of ChatTTS's own files; without a tokenizer, whose tokens tell more, as published."""
    if (folder / TOKENIZER_FILES[TOKENIZER_NAME]).is_file():
        config = chattts_source(folder).config
        assert isinstance(config, ChatTTSConfig)
        return config
    return read_config(folder)
