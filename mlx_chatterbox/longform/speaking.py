"""Speaking of pieces: the one place where a job calls the model.

T3 decodes pieces in units, several together, and a unit is fixed before it is started (`job.py`):
rounding in a matrix product depends on its number of rows, so only the same unit is certain to give
the same tokens again, bit for bit. Each piece is stored as soon as it is finished, before the next
is vocoded. After an interruption all tokens of a unit are decoded again, and only the missing
pieces are vocoded.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..audio.stretch import checked_speed
from ..errors import AudioError, SettingError, TextError
from ..harmless import shortened
from ..runtime.memory import give_back_memory
from ..synthesis.result import Outcome
from ..text.unread import merged, not_read
from ..voices.voice import Voice
from .fit import trimmed
from .level import loudness_of
from .store import encode

# Saved voices that are kept in memory, the most recently used ones.
_VOICES = 8


@dataclass(frozen=True)
class VoiceSettings:
    """The voice and settings of pieces; pieces with equal ones can be decoded together.

    Attributes:
        settings: keyword arguments of `generate_batch`, without seeds.
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
        alone: whether it is decoded by itself, as are pieces that were ordered again.
        record: its `SpokenPiece.record` if it is on disk.
        left_out: parts of the document's text that `text` lacks, because there are no words for
            them.
    """

    key: str
    text: str
    seed: int
    voice_settings: VoiceSettings
    alone: bool = False
    record: Mapping[str, Any] | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class SpokenPiece:
    """A piece that was spoken, or the reason why it was not.

    Attributes:
        audio: a FLAC file; empty if it was not spoken.
        record: samples, loudness (LUFS), tokens, seed, tries, outcome; `unread` if the model does
            not know all of its letters; `stopped`, false, if it was cut off by the limit of tokens;
            `alone` if it was spoken by itself because its unit could not be.
        failure: one line; "" if it was spoken.
    """

    key: str
    audio: bytes = b""
    record: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


# Called with each piece when it is finished; perhaps from two threads at a time.
Store = Callable[[SpokenPiece], None]


class Speaker:
    """A model that speaks units of pieces."""

    def __init__(self, tts):
        # With scipy 40 MB, which `loudness_of` needs: imported before the first unit, not after.
        import pyloudnorm  # noqa: F401

        self.tts = tts
        # The texts of a job were written out when they were planned.
        text = getattr(tts.checkpoint.config, "text", None)
        self._as_written = {"normalize": False} if text is not None and text.normalize else {}
        self._voices: OrderedDict[Path, Voice] = OrderedDict()

    def speak(self, unit: Sequence[Wanted], store: Store) -> None:
        """Speak the missing pieces of a unit, which has one voice and settings.

        If one of them cannot be spoken, each that is not finished by then is tried alone.
        """
        finished: set[str] = set()
        try:
            self._together(unit, store, finished)
            give_back_memory()
        except (TextError, AudioError, SettingError) as error:
            if len(unit) == 1:
                store(SpokenPiece(unit[0].key, failure=str(error)))
                return
            for wanted in unit:
                if wanted.key not in finished and wanted.record is None:
                    self.speak([wanted], lambda spoken: store(_alone(spoken)))

    def _together(self, unit: Sequence[Wanted], store: Store, finished: set[str]) -> None:
        """Speak a unit; adds the keys of stored pieces to `finished`."""

        def keep(index: int, waveform: np.ndarray, outcomes: Sequence[Outcome]) -> None:
            store(self._spoken(unit[index], waveform, outcomes))
            finished.add(unit[index].key)

        voice_settings = unit[0].voice_settings
        self.tts.generate_batch(
            [wanted.text for wanted in unit],
            seeds=[wanted.seed for wanted in unit],
            voice=self._voice(voice_settings.voice),
            batch_size=len(unit),
            progress=_between_pieces,
            finished=keep,
            decode_only=_decode_only(unit),
            **self._as_written,
            **voice_settings.settings,
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
            "tokens": [int(token) for outcome in outcomes for token in outcome.tokens],
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
            self._voices[path] = Voice.load(path)
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


def _decode_only(unit: Sequence[Wanted]) -> set[int]:
    """The indices of pieces that are decoded but not vocoded again, because they are on disk.

    Empty if one of them was spoken more than once: second attempts are decoded together too, and
    the last bits of each can depend on the others. Empty also if one was spoken alone because the
    unit could not be.
    """
    records = {index: piece.record for index, piece in enumerate(unit) if piece.record is not None}
    is_plain = all(record["tries"] == 1 and not record.get("alone") for record in records.values())
    return set(records) if is_plain else set()


def _alone(spoken: SpokenPiece) -> SpokenPiece:
    return replace(spoken, record={**spoken.record, "alone": True})


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
    elif language and language.lower() != "en":
        variant = tts.checkpoint.config.variant
        raise SettingError(f"{variant} speaks only English, not {shortened(language)!r}.")
    return settings
