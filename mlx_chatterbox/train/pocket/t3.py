"""T3: phones and a speaker to speech tokens."""

from __future__ import annotations

from pathlib import Path

import mlx.nn as nn
import numpy as np

from ...models.t3.t3 import T3
from ...text.lexicon import LEXICON_FILE, LexiconTokenizer
from ...text.load import ENGLISH_FILE
from ...text.normalize import punc_norm
from ..tasks.base import generator
from ..tasks.t3 import T3Task
from ..trained import seeded
from . import running, voices
from .corpus import Corpus
from .model import t3_config
from .speakers import Embeddings

NAME = "t3"
STEPS, BATCH = 2000, 16
TEACHERS = ("slt", "rms", "awb")
# Words given as letters in training, so that words which the dictionary lacks can be said at all.
LETTERS_SHARE = 0.05
_LETTERS, _SPEAKER = 101, 102


class _Networks(nn.Module):
    def __init__(self):
        super().__init__()
        with seeded(running.SEED):
            self.t3 = T3(t3_config())


def train(corpus: Corpus, text_folder: Path, folder: Path, steps: int = STEPS) -> None:
    """Train T3, or go on.

    Args:
        text_folder: holds vocabulary and dictionary.
    """
    config = t3_config()
    tokenizer = LexiconTokenizer(text_folder / ENGLISH_FILE, text_folder / LEXICON_FILE)
    embeddings = Embeddings(corpus)
    with seeded(running.SEED):
        task = T3Task(
            config,
            text_dropout=0.05,
            prompt_tokens=0,
            token_noise=0.08,
            phones=len(voices.PHONES),
            weights={"text": 0.0, "phones": 0.3},
        )

    def more(index: int, key: np.ndarray) -> dict:
        clip = corpus.clips[index]
        letters, speaker = generator(key, _LETTERS), generator(key, _SPEAKER)
        text = punc_norm(clip.text)
        ids = tokenizer.encode(text, lambda word: letters.random() < LETTERS_SHARE)
        return {
            "text_tokens": np.array([config.start_text_token, *ids, config.stop_text_token]),
            "speaker_embedding": embeddings.draw(clip.voice, "speaker_embedding", speaker),
        }

    names = ["speech_tokens", "phones"]
    train_samples = corpus.samples(names, BATCH, running.SEED, TEACHERS, more=more)
    evaluation = corpus.samples(names, 16, running.SEED, TEACHERS, "eval", most=96, more=more)
    settings = running.settings(
        folder,
        NAME,
        max_steps=steps,
        learning_rate=1.5e-3,
        warmup_steps=100,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=16,
        compile=True,
    )
    running.run(settings, _Networks(), task, train_samples, evaluation)
