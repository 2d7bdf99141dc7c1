"""A model for tests of jobs: as strict as a real one about what must not change, and instant."""

from __future__ import annotations

import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from mlx_chatterbox.errors import CheckpointError, TextError
from mlx_chatterbox.longform.plan import Document, Piece
from mlx_chatterbox.synthesis.result import Outcome

RATE = 24000
SENTENCES = [f"This is sentence number {n}." for n in range(12)]


class StubTTS:
    """Model whose audio of a piece depends on its text, seed, voice and settings.

    Without `invariant` also on the other texts of the call, as rounding does.

    Attributes:
        said: texts of each call.
        settings: those of each text of all calls.
        sounded: the texts that were vocoded, in order.
    """

    sr = RATE

    def __init__(self, folder: Path):
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text("{}")
        config = SimpleNamespace(dtype="float32", variant="english")
        self.checkpoint = SimpleNamespace(folder=folder, config=config)
        self.conds = object()
        self.said: list[list[str]] = []
        self.settings: list[dict] = []
        self.sounded: list[str] = []

    def generate(self, text, temperature=0.8, *, voice=None, seed=None, watermark=None):
        raise NotImplementedError

    def generate_batch(
        self,
        texts,
        *,
        voices,
        seeds,
        batch_size,
        progress,
        finished,
        settings=None,
        invariant=False,
        normalize=None,
        **common,
    ):
        assert batch_size >= 1
        self.said.append(list(texts))
        settings = [{**common, **own} for own in settings or [{}] * len(texts)]
        self.settings += settings
        for text in texts:
            if "unspeakable" in text:
                raise TextError("the model knows none of the letters.")
        company = [] if invariant else list(texts)
        each = zip(texts, voices, settings, seeds, strict=True)
        for index, (text, voice, own, seed) in enumerate(each):
            if "silent" in text:
                raise TextError("none of the tokens has a sound.")
            if "damaged" in text:
                raise CheckpointError("the model's predictions are not numbers.")
            name = None if voice is None else voice.name
            whole = repr((text, seed, name, own.get("temperature", 0.8), company))
            chance = np.random.default_rng(zlib.crc32(whole.encode()))
            tokens = chance.integers(0, 6561, size=2 + len(text) % 5)
            verdict, tries = ("babble", 3) if "babbles" in text else ("", 1)
            waveform = (chance.standard_normal(len(tokens) * 960) * 0.1).astype(np.float32)
            self.sounded.append(text)
            outcome = Outcome(tuple(tokens.tolist()), verdict, tries, seed)
            finished(index, waveform, (outcome,))

    @property
    def texts(self) -> list[str]:
        """All texts of all calls."""
        return [text for texts in self.said for text in texts]


def document(sentences=SENTENCES, pause: float = 0.01) -> Document:
    return Document("A title", None, [Piece(text, pause) for text in sentences])
