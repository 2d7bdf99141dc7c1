"""The names of ChatTTS's files, upstream's and those of a checkpoint of ours."""

from __future__ import annotations

from pathlib import Path

from .hub_files import HubFiles
from .shards import is_there

CONFIG_FILE = "asset/gpt/config.json"
GPT_FILE = "asset/gpt/model.safetensors"
EMBED_FILE = "asset/Embed.safetensors"
DECODER_FILE = "asset/Decoder.safetensors"
DVAE_FILE = "asset/DVAE.safetensors"
VOCOS_FILE = "asset/Vocos.safetensors"
WEIGHT_FILES = (GPT_FILE, EMBED_FILE, DECODER_FILE, DVAE_FILE, VOCOS_FILE)
# `torch.save`d, where a folder has it; the published one is within upstream's code.
STATISTICS_FILE = "asset/spk_stat.pt"

TOKENIZER_NAME = "tokenizer.json"
# In a folder of upstream's, by their names in a checkpoint of ours.
TOKENIZER_FILES = {
    name: f"asset/tokenizer/{name}"
    for name in (TOKENIZER_NAME, "tokenizer_config.json", "special_tokens_map.json")
}
STATISTICS_NAME = "speakers.safetensors"

PUBLISHED = HubFiles(
    repo="2Noise/ChatTTS",
    required=(CONFIG_FILE, *WEIGHT_FILES, TOKENIZER_FILES[TOKENIZER_NAME]),
    patterns=("*.yaml", "*.json", "*.safetensors", STATISTICS_FILE),
    terms="ChatTTS's weights are licensed CC BY-NC 4.0: not for commercial use, and whoever passes "
    "them on names their makers (https://creativecommons.org/licenses/by-nc/4.0/).",
)


def has_chattts_files(folder: Path) -> bool:
    """Tell whether a folder has any of ChatTTS's own files."""
    return any(is_there(folder / name) for name in WEIGHT_FILES) or (
        (folder / CONFIG_FILE).is_file()
    )
