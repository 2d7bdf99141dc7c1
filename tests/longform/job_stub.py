"""A model for tests of jobs: as strict as a real one about what must not change, and instant."""

from __future__ import annotations

import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from mlx_chatterbox.errors import TextError
from mlx_chatterbox.longform.plan import Document, Piece
from mlx_chatterbox.synthesis.result import Outcome

RATE = 24000
SENTENCES = [f"This is sentence number {n}." for n in range(12)]


class StubTTS:
    """Model whose audio of a piece depends on its text, its seed and the other texts of its batch.

    Attributes:
        said: texts of each call.
        sounded: those of them that were vocoded, in order.
    """

    sr = RATE

    def __init__(self, folder: Path):
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text("{}")
        config = SimpleNamespace(dtype="float32", variant="english")
        self.checkpoint = SimpleNamespace(folder=folder, config=config)
        self.conds = object()
        self.said: list[list[str]] = []
        self.sounded: list[str] = []

    def generate(self, text, temperature=0.8, *, voice=None, seed=None, watermark=None):
        raise NotImplementedError

    def generate_batch(
        self,
        texts,
        *,
        seeds,
        batch_size,
        progress,
        finished,
        decode_only,
        voice=None,
        temperature=0.8,
        watermark=None,
        normalize=None,
    ):
        assert batch_size >= len(texts)
        self.said.append(list(texts))
        if any("unspeakable" in text for text in texts):
            raise TextError("the model knows none of the letters.")
        # Retries are decoded together, and their results depend on which of them there are.
        again = [t for i, t in enumerate(texts) if is_retried(t) and i not in decode_only]
        for index, (text, seed) in enumerate(zip(texts, seeds, strict=True)):
            if index in decode_only:
                continue
            company = [list(texts), again] if is_retried(text) else [list(texts)]
            whole = repr((text, seed, company, temperature))
            chance = np.random.default_rng(zlib.crc32(whole.encode()))
            tokens = chance.integers(0, 6561, size=2 + len(text) % 5)
            verdict, tries = ("babble", 3) if "babbles" in text else ("", 1)
            tries = 2 if "stammers" in text else tries
            waveform = (chance.standard_normal(len(tokens) * 960) * 0.1).astype(np.float32)
            self.sounded.append(text)
            outcome = Outcome(tuple(tokens.tolist()), verdict, tries, seed)
            finished(index, waveform, (outcome,))

    @property
    def texts(self) -> list[str]:
        """All texts of all calls."""
        return [text for texts in self.said for text in texts]


def is_retried(text: str) -> bool:
    """Tell whether the guards reject the first attempt."""
    return "babbles" in text or "stammers" in text


def document(sentences=SENTENCES, pause: float = 0.01) -> Document:
    return Document("A title", None, [Piece(text, pause) for text in sentences])
