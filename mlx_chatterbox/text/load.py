"""The tokenizer that a checkpoint's configuration asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..checks.git_lfs import refuse_pointer
from ..errors import CheckpointError
from ..weights.variants import VARIANTS
from .gpt2 import GPT2Tokenizer
from .lexicon import LEXICON_FILE, LexiconTokenizer
from .multilingual import MultilingualTokenizer
from .tokenizer import EnglishTokenizer

if TYPE_CHECKING:
    from ..models.config import TextConfig

ENGLISH_FILE = "tokenizer.json"
MULTILINGUAL_FILE = "grapheme_mtl_merged_expanded_v1.json"

Tokenizer = EnglishTokenizer | MultilingualTokenizer | GPT2Tokenizer


def load_tokenizer(folder: str | Path, config: TextConfig) -> Tokenizer:
    """Read it from upstream's own file names.

    Args:
        config: its `tokenizer` is "english", "multilingual" or "gpt2"; its `preprocessing` and
            `languages` are the multilingual tokenizer's.

    Raises:
        CheckpointError: a file is missing or damaged, or the configuration names no tokenizer.
    """
    folder = Path(folder)
    for row in VARIANTS.values():
        for name in (*row.tokenizer_files, *row.optional_files, LEXICON_FILE):
            refuse_pointer(folder / name)
    if config.tokenizer == "english" and config.lexicon:
        return LexiconTokenizer(folder / ENGLISH_FILE, folder / LEXICON_FILE)
    if config.tokenizer == "english":
        return EnglishTokenizer(folder / ENGLISH_FILE)
    if config.tokenizer == "multilingual":
        return MultilingualTokenizer(
            folder / MULTILINGUAL_FILE,
            preprocessing=config.preprocessing,
            languages=config.languages,
        )
    if config.tokenizer == "gpt2":
        return GPT2Tokenizer(folder)
    raise CheckpointError(
        f"unknown tokenizer {config.tokenizer!r}; known are english, multilingual and gpt2."
    )
