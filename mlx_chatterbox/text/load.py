"""Loading of the tokenizer that a checkpoint's configuration names."""

from __future__ import annotations

from pathlib import Path

from ..checks.git_lfs import refuse_pointer
from ..errors import CheckpointError
from ..models.config import TextConfig
from .files import ENGLISH_FILE, LEXICON_FILE, MULTILINGUAL_FILE, TOKENIZER_FILES
from .gpt2 import GPT2Tokenizer
from .lexicon import LexiconTokenizer
from .multilingual import MultilingualTokenizer
from .tokenizer import EnglishTokenizer

Tokenizer = EnglishTokenizer | MultilingualTokenizer | GPT2Tokenizer


def load_tokenizer(folder: str | Path, config: TextConfig) -> Tokenizer:
    """Read a checkpoint's tokenizer from files with upstream's names.

    Args:
        config: its `tokenizer` is "english", "multilingual" or "gpt2"; its `preprocessing` and
            `languages` are the multilingual tokenizer's.

    Raises:
        CheckpointError: a file is missing or damaged, or the configuration names no tokenizer.
    """
    folder = Path(folder)
    for name in TOKENIZER_FILES:
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
