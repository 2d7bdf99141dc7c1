"""The stage that trains pocket's T3: phones and a speaker embedding to speech tokens."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...models.t3.t3 import T3
from ...text.files import ENGLISH_FILE, LEXICON_FILE
from ...text.lexicon import LexiconTokenizer
from ...text.normalize import punc_norm
from ..sections import Component
from ..tasks.base import generator
from ..tasks.t3 import T3Task
from ..trained import seeded
from .corpus import Corpus
from .model import t3_config
from .speakers import Embeddings
from .stage import SEED, run_stage, stage_config
from .synthesisers import PHONES

NAME: Component = "t3"
STEPS, BATCH = 6500, 16
# Longer sentences are split at clauses when they are spoken, and cost ten times a short one's step.
LONGEST = 224
TEACHERS = ("slt", "rms", "awb")
# Share of words spelled in letters, so that T3 learns to speak words outside the dictionary.
LETTERS_SHARE = 0.05
_LETTERS, _SPEAKER = 101, 102
# Text tokens to a speech token in the corpus, and the lag of the text: speech begins with a pause.
_TEXT_PER_SPEECH, _LEADING_TEXT = 0.58, 3.0
# As large as the tokens' own embeddings.
_POSITION_SIZE = 0.1


class _T3Networks(nn.Module):
    def __init__(self):
        super().__init__()
        with seeded(SEED):
            self.t3 = T3(t3_config())
        _align_positions(self.t3)


def _align_positions(t3: T3) -> None:
    """Set first weights by which a speech token attends to about the text that it belongs to.

    Position embeddings start as sinusoids of time instead of at random, those of speech on the
    text's scale, and key projections equal the query projections, so that text and speech of the
    same time match. From random positions T3 took a thousand steps to learn this.
    """
    width = t3.config.hidden_size
    waves = 2 * np.pi / np.geomspace(6.0, 600.0, width // 2)

    def sinusoids(times: np.ndarray) -> mx.array:
        angles = times[:, None] * waves
        rows = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
        return mx.array((_POSITION_SIZE * rows).astype(np.float32))

    text, speech = t3.text_pos_emb.emb, t3.speech_pos_emb.emb
    text.weight = sinusoids(np.arange(text.weight.shape[0]))
    speech_positions = np.arange(speech.weight.shape[0])
    speech.weight = sinusoids(_TEXT_PER_SPEECH * speech_positions - _LEADING_TEXT)
    for layer in t3.tfmr.model.layers:
        layer.self_attn.k_proj.weight = mx.array(layer.self_attn.q_proj.weight)


def train_t3(corpus: Corpus, text_folder: Path, folder: Path, steps: int = STEPS) -> None:
    """Train T3, resuming a run that `folder` holds.

    Args:
        text_folder: holds vocabulary and dictionary.
    """
    config = t3_config()
    tokenizer = LexiconTokenizer(text_folder / ENGLISH_FILE, text_folder / LEXICON_FILE)
    embeddings = Embeddings(corpus)
    with seeded(SEED):
        task = T3Task(
            config,
            text_dropout=0.05,
            prompt_tokens=0,
            token_noise=0.08,
            phones=len(PHONES),
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
    train_samples = corpus.samples(names, BATCH, SEED, TEACHERS, longest=LONGEST, more=more)
    evaluation = corpus.samples(
        names, 16, SEED, TEACHERS, "eval", most=96, longest=LONGEST, more=more
    )
    settings = stage_config(
        folder,
        NAME,
        max_steps=steps,
        learning_rate=1.5e-3,
        warmup_steps=100,
        save_steps=100,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=16,
        compile=True,
    )
    run_stage(settings, _T3Networks(), task, train_samples, evaluation)
