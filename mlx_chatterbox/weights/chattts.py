"""Loading of ChatTTS from a name, folder or repository: every tensor must be there and fit.

Upstream's own files are converted on first use and kept in the user's cache, as Chatterbox's are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from ..errors import CheckpointError
from ..models.chattts.config import ChatTTSConfig
from ..models.chattts.networks import ChatTTSNetworks
from ..models.config import DTYPES
from ..runtime import device, linux_cpu
from ..runtime.memory import bound_cache
from ..text.chattts.tokenizer import ChatTTSTokenizer
from ..voices.chattts.random_speaker import SpeakerStatistics
from .chattts_files import CONFIG_FILE, STATISTICS_FILE, TOKENIZER_FILES, TOKENIZER_NAME
from .checkpoint import cast, converted_copy, load_weights_strictly, map_weights, with_stage
from .conversion.chattts import RULES, read_config, read_tensors
from .hub import CHATTTS, is_converted, resolve_chattts
from .manifest import check_manifest
from .quantization import quantize_networks
from .shards import files_of
from .speaker_statistics import read_statistics, statistics_in


@dataclass
class ChatTTSModel:
    """A ChatTTS ready to use.

    Attributes:
        folder: the converted checkpoint.
        statistics: of speakers, where the checkpoint has them.
    """

    folder: Path
    config: ChatTTSConfig
    networks: ChatTTSNetworks
    tokenizer: ChatTTSTokenizer
    statistics: SpeakerStatistics | None


def load_chattts(
    name: str | Path = CHATTTS,
    dtype: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    check: bool = False,
    cache_dir: str | Path | None = None,
) -> ChatTTSModel:
    """Load a ChatTTS.

    Args:
        name: a converted folder, one with upstream's `asset/`, OWNER/NAME, or "chattts", which is
            2Noise/ChatTTS.
        dtype: "float32", "float16" or "bfloat16"; None keeps the checkpoint's own, float32 for
            upstream's files.
        progress: callback(stage, done, total), in bytes: "converting" while upstream's files are
            converted on first use, "checking" with `check`.
        check: compare every file with the folder's manifest first.
        cache_dir: where downloads are kept; None: the hub's own cache.

    Raises:
        CheckpointError: there is no such model, it is another, or it is damaged or incomplete.
        HubError: it cannot be downloaded.
    """
    if dtype is not None and dtype not in DTYPES:
        raise CheckpointError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}.")
    folder = resolve_chattts(name, cache_dir)
    if not is_converted(folder):
        files = _upstream_files(folder)
        folder = converted_copy(
            folder, files, dtype, verify=verify_chattts, progress=progress, variant=CHATTTS
        )
    if check:
        check_manifest(folder, with_stage(progress, "checking"))
    return load_converted_chattts(folder, dtype)


def load_converted_chattts(folder: Path, dtype: str | None = None) -> ChatTTSModel:
    """Load a converted checkpoint folder; see `load_chattts`."""
    config = ChatTTSConfig.load(folder)
    networks = _networks(config, folder)
    if dtype is not None and dtype != config.dtype:
        cast(networks, config, dtype)
    tokenizer = _tokenizer(config, folder)
    statistics = statistics_in(folder)
    linux_cpu.warn_if_slow(device.on_cpu())
    bound_cache()
    return ChatTTSModel(
        folder=folder,
        config=config,
        networks=networks,
        tokenizer=tokenizer,
        statistics=None if statistics is None else read_statistics(statistics),
    )


def verify_chattts(folder: Path) -> None:
    """Raise CheckpointError unless a converted ChatTTS can be loaded."""
    config = ChatTTSConfig.load(folder)
    _networks(config, folder)
    _tokenizer(config, folder)
    if (statistics := statistics_in(folder)) is not None:
        read_statistics(statistics)


def _networks(config: ChatTTSConfig, folder: Path) -> ChatTTSNetworks:
    """Build the networks with a converted folder's weights, each read when it is used."""
    weights = map_weights(folder)
    config.check_layers(len(weights), folder)
    networks = ChatTTSNetworks(config)
    quantize_networks(networks, config)
    load_weights_strictly(networks, weights, folder)
    networks.eval()
    return networks


def _tokenizer(config: ChatTTSConfig, folder: Path) -> ChatTTSTokenizer:
    tokenizer = ChatTTSTokenizer(folder / TOKENIZER_NAME)
    config.check_tokenizer(tokenizer.speaker_id, tokenizer.end_id, len(tokenizer), folder)
    return tokenizer


def _upstream_files(folder: Path) -> list[Path]:
    """List the files of upstream's in a folder by which a change is noticed."""
    weights = [path for name in RULES for path in files_of(folder / name)]
    others = [folder / name for name in (*TOKENIZER_FILES.values(), STATISTICS_FILE, CONFIG_FILE)]
    return [path for path in (*weights, *others) if path.is_file()]


def load_upstream(
    folder: str | Path, dtype: mx.Dtype = mx.float32, config: ChatTTSConfig | None = None
) -> tuple[ChatTTSConfig, ChatTTSNetworks]:
    """Load the networks of a folder with `asset/` as they are, in evaluation mode.

    Args:
        config: sizes; by default GPT's are read from the folder and the others are the published.

    Raises:
        CheckpointError: a file is missing or damaged, has a tensor that no network has, or lacks
            one.
    """
    folder = Path(folder)
    config = read_config(folder) if config is None else config
    tensors = read_tensors(folder, dtype)
    config.check_layers(len(tensors), folder)
    networks = ChatTTSNetworks(config)
    load_weights_strictly(networks, tensors, folder)
    networks.eval()
    return config, networks
