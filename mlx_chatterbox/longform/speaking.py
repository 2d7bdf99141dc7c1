"""Speaking of pieces: the one place where a job calls the model.

A call of the model speaks a chunk of pieces, each in its own voice and with its own settings. So
many are decoded at a time, and where one ends the next joins the others. No piece depends on those
that are decoded with it, to the bit: after an interruption only what is missing is spoken, in
whatever company. Each piece is stored as soon as it is finished, before the next is vocoded.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..audio.stretch import checked_speed
from ..errors import AudioError, CheckpointError, SettingError, TextError
from ..harmless import shortened
from ..runtime.memory import give_back_memory
from ..synthesis.result import Outcome
from ..text.unread import merged, not_read
from ..voices.voice import Voice
from .fit import trimmed
from .level import loudness_of
from .store import encode

# Pieces of a chunk for each one that is decoded at a time. Only at the end of a chunk no piece is
# left to join the others; what a chunk leaves in memory grows with it.
ROUNDS = 3
# Saved voices that are kept in memory, the most recently used ones; some 160 kB each.
_VOICES = 32
# Settings of Flash by which a text is written out: that of a job is, when it is planned.
_OF_SINGLE_TEXTS = frozenset({"upstream_exact", "normalize_text"})


@dataclass(frozen=True)
class VoiceSettings:
    """The voice and settings of pieces.

    Attributes:
        settings: keyword arguments of `generate`, without seed and voice.
        voice: a saved voice; None: the model's own.
        voice_hash: hash of the file that the voice was made from.
        model_hash: hash of the model's files.
        identity: hash of the settings, the model and the voice.
    """

    settings: Mapping[str, Any]
    voice: Path | None
    voice_hash: str
    model_hash: str
    identity: str

    @property
    def speed(self) -> float:
        """The speaking rate; 1 is the model's own."""
        return checked_speed(self.settings.get("speed"))


@dataclass(frozen=True)
class Wanted:
    """A piece to be spoken.

    Attributes:
        key: the name under which it is stored.
        left_out: parts of the document's text that `text` lacks, because there are no words for
            them.
    """

    key: str
    text: str
    seed: int
    voice_settings: VoiceSettings
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class SpokenPiece:
    """A piece that was spoken, or the reason why it was not.

    Attributes:
        audio: a FLAC file; empty if it was not spoken.
        record: samples, loudness (LUFS), tokens, seed, tries, outcome; `unread` if the model does
            not know all of its letters; `stopped`, false, if it was cut off by the limit of tokens.
        failure: one line; "" if it was spoken.
    """

    key: str
    audio: bytes = b""
    record: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


# Called with each piece when it is finished; perhaps from two threads at a time.
Store = Callable[[SpokenPiece], None]


class Speaker:
    """A model that speaks chunks of pieces."""

    def __init__(self, tts):
        # With scipy 40 MB, which `loudness_of` needs: imported before the first piece, not after.
        import pyloudnorm  # noqa: F401

        self.tts = tts
        # The texts of a job were written out when they were planned.
        text = getattr(tts.checkpoint.config, "text", None)
        self._as_written = {"normalize": False} if text is not None and text.normalize else {}
        self._voices: OrderedDict[Path, Voice] = OrderedDict()

    def speak(self, pieces: Sequence[Wanted], batch_size: int, store: Store) -> None:
        """Speak pieces, `batch_size` of them at a time.

        If one of them cannot be spoken, those that are not finished by then are spoken in two
        halves, until it is alone.
        """
        finished: set[str] = set()
        failure = None
        try:
            self._together(pieces, batch_size, store, finished)
        except (TextError, AudioError, SettingError, CheckpointError) as error:
            failure = str(error)
        give_back_memory()
        if failure is None:
            return
        if len(pieces) == 1:
            store(SpokenPiece(pieces[0].key, failure=failure))
            return
        left = [piece for piece in pieces if piece.key not in finished]
        for half in in_chunks(left, -(-len(left) // 2)):
            self.speak(half, batch_size, store)

    def _together(
        self, pieces: Sequence[Wanted], batch_size: int, store: Store, finished: set[str]
    ) -> None:
        """Speak pieces; adds the keys of stored ones to `finished`."""

        def keep(index: int, waveform: np.ndarray, outcomes: Sequence[Outcome]) -> None:
            store(self._spoken(pieces[index], waveform, outcomes))
            finished.add(pieces[index].key)

        each = [dict(piece.voice_settings.settings) for piece in pieces]
        is_common = all(settings == each[0] for settings in each)
        self.tts.generate_batch(
            [piece.text for piece in pieces],
            voices=[self._voice(piece.voice_settings.voice) for piece in pieces],
            settings=None if is_common else each,
            seeds=[piece.seed for piece in pieces],
            batch_size=batch_size,
            invariant=True,
            progress=_between_pieces,
            finished=keep,
            **{**(each[0] if is_common else {}), **self._as_written},
        )

    def _spoken(
        self, wanted: Wanted, waveform: np.ndarray, outcomes: Sequence[Outcome]
    ) -> SpokenPiece:
        """Make the result of a piece; there are several outcomes if the model cut its text."""
        rate = self.tts.sr
        is_one = len(outcomes) == 1
        verdicts = dict.fromkeys(outcome.verdict for outcome in outcomes if outcome.verdict)
        record = {
            "text": wanted.text,
            "seed": outcomes[0].seed if is_one else wanted.seed,
            "tries": max(outcome.tries for outcome in outcomes),
            "outcome": "; ".join(verdicts),
            "samples": len(waveform),
            "loudness": loudness_of(trimmed(waveform, rate), rate),
            # Of ChatTTS four numbers a step.
            "tokens": [int(n) for one in outcomes for token in one.tokens for n in np.ravel(token)],
        }
        # Only if there is something to report, so that other records stay as in older versions.
        unread = merged([wanted.left_out, *(outcome.unread for outcome in outcomes)])
        if unread:
            record["unread"] = list(unread)
        if not all(outcome.stopped for outcome in outcomes):
            record["stopped"] = False
        return SpokenPiece(wanted.key, encode(waveform, rate), record)

    def _voice(self, path: Path | None) -> Voice | None:
        if path is None:
            return None
        if path not in self._voices:
            # ChatTTS's are other ones.
            self._voices[path] = getattr(self.tts, "load_voice", Voice.load)(path)
            while len(self._voices) > _VOICES:
                self._voices.popitem(last=False)
        self._voices.move_to_end(path)
        return self._voices[path]


def remarks_on(where: str, record: Mapping[str, Any]) -> list[str]:
    """Report on a piece that was spoken, except for faults that stayed; a line for each remark.

    Args:
        where: the name of the piece in the lines.
        record: its `SpokenPiece.record`.
    """
    lines = []
    if record["tries"] > 1 and not record["outcome"]:
        lines.append(
            f"guard: {where} was spoken again with another seed, now without a fault (seed "
            f"{record['seed']})"
        )
    if record.get("unread"):
        lines.append(not_read(where, record["unread"]))
    if not record.get("stopped", True) and not record["outcome"]:
        lines.append(f"{where} was not finished within its limit of tokens (--max-new-tokens)")
    return lines


def in_chunks(pieces: Sequence[Wanted], size: int) -> Iterator[Sequence[Wanted]]:
    """Cut pieces into chunks of `size`; the last may have fewer."""
    for first in range(0, len(pieces), size):
        yield pieces[first : first + size]


def _between_pieces(what: str, done: int, total: int) -> None:
    """Progress callback: free the memory of a piece's flow, which the next piece cannot use."""
    if what == "flow" and done == total:
        give_back_memory()


def checked_settings(tts, settings: Mapping[str, Any], language: str | None) -> dict[str, Any]:
    """Check settings for the model's `generate`, and add the language if it takes one.

    Raises:
        SettingError: the model has no such setting, or needs a language; a speed out of range.
        TextError: the model does not speak the language.
    """
    known = inspect.signature(tts.generate).parameters
    settings = {name: value for name, value in settings.items() if value is not None}
    # A speed of 1 is left out: pieces that were spoken without one are the same.
    if checked_speed(settings.get("speed")) == 1.0:
        settings.pop("speed", None)
    foreign = sorted(set(settings) - set(known))
    if foreign:
        raise SettingError(f"{tts.checkpoint.config.variant} has no {', '.join(foreign)}.")
    for name in sorted(_OF_SINGLE_TEXTS & settings.keys()):
        raise SettingError(f"a job has no {name}: it is for single texts.")
    if "language_id" in known:
        languages = tts.checkpoint.tokenizer.languages
        if not language:
            raise SettingError(f"the language is missing: one of {', '.join(languages)}.")
        if language.lower() not in languages:
            raise TextError(
                f"the model does not speak {shortened(language)!r}; it speaks "
                f"{', '.join(languages)}."
            )
        settings["language_id"] = language.lower()
    elif "lang" in known:
        if language:
            settings["lang"] = language.lower()
    elif language and language.lower() != "en":
        variant = tts.checkpoint.config.variant
        raise SettingError(f"{variant} speaks only English, not {shortened(language)!r}.")
    return settings
