"""Finding and loading of ChatTTS as upstream's `load` names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import SettingError
from ...models.chattts.config import ChatTTSConfig
from ...models.chattts.networks import ChatTTSNetworks
from ...text.chattts.tokenizer import ChatTTSTokenizer
from ...voices.chattts.random_speaker import SpeakerStatistics
from ...weights.speaker_statistics import STATISTICS_FILE, read_statistics

SOURCES = ("huggingface", "local", "custom")


@dataclass(frozen=True, eq=False)
class LoadedChatTTS:
    """A model, ready to speak.

    Attributes:
        statistics: of its speakers; None: unknown, so that none can be drawn.
    """

    config: ChatTTSConfig
    networks: ChatTTSNetworks
    tokenizer: ChatTTSTokenizer
    folder: Path
    statistics: SpeakerStatistics | None = None


def statistics_of(folder: Path, source: str | Path | None) -> SpeakerStatistics | None:
    """Read the statistics that a user names, or else those in a model's folder, if there are any.

    Raises:
        CheckpointError, SettingError: see `read_statistics`.
    """
    if source is not None:
        return read_statistics(source)
    path = folder / STATISTICS_FILE
    return read_statistics(path) if path.is_file() else None


def warn_of_unused(say: Callable[[str], None], **options: tuple[Any, Any]) -> None:
    """Report upstream's options that were set and have no effect.

    Args:
        options: the value of each, and its default.
    """
    unused = [name for name, (value, default) in options.items() if value != default]
    if unused:
        say(f"load: {', '.join(unused)} have no effect here: leave them out.")


def load_chattts(source, force_redownload, custom_path, dtype, speaker_statistics):
    from ...models.chattts.config import BodyConfig, DVAEConfig, GPTConfig, VocosConfig  # TEMP
    from ...weights.chattts import load_upstream
    from mlx_chatterbox.tests_config import CONFIG
    folder = Path(custom_path)
    config, networks = load_upstream(folder, config=CONFIG)
    tokenizer = ChatTTSTokenizer(folder / "asset/tokenizer/tokenizer.json")
    return LoadedChatTTS(config, networks, tokenizer, folder, statistics_of(folder, speaker_statistics))


def download_chattts(*a):
    raise NotImplementedError
