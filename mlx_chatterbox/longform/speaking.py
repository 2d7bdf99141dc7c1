"""Speaking pieces: the one place where a job meets the model.

Pieces are written by T3 in units, several together, and a unit is fixed before it is begun
(`job.py`): rounding in a matrix product depends on how many rows it has, so only the same unit
again is certain to give the same tokens, bit for bit. Each piece is handed on when it is itself
finished, before the next is sounded; of a unit that was interrupted all tokens are written again,
and only what is missing is sounded.
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

# Saved voices that are held in memory, last used first.
_VOICES = 8


@dataclass(frozen=True)
class VoiceSettings:
    """How pieces are spoken; those with equal ones can be decoded together.

    Attributes:
        settings: keyword arguments of `generate_batch`, without seeds.
        voice: a saved voice; None: the model's own.
        voice_hash: of the file that the voice came from.
        model_hash: of the model's files.
        identity: hash of all of it, with the model's and the voice's contents.
    """

    settings: Mapping[str, Any]
    voice: Path | None
    voice_hash: str
    model_hash: str
    identity: str

    @property
    def speed(self) -> float:
        """How much faster than it was spoken."""
        return checked_speed(self.settings.get("speed"))


@dataclass(frozen=True)
class Wanted:
    """A piece that is to be spoken.

    Attributes:
        key: what it is stored under.
        alone: it is written by itself, as pieces are that are spoken again.
        record: what is remembered of it (`Spoken.record`) if it is on disk.
        left_out: what the document's text has and this one has not, because it has no words.
    """

    key: str
    text: str
    seed: int
    voice_settings: VoiceSettings
    alone: bool = False
    record: Mapping[str, Any] | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spoken:
    """A piece that was spoken, or why it was not.

    Attributes:
        audio: a FLAC file; empty if it was not.
        record: samples, loudness (LUFS), tokens, seed, tries, outcome; `unread` if the model did
            not know all of it; `stopped`, false, if its limit came first; `alone` if it was spoken
            by itself because its unit could not be.
        failure: one line; "" if it was spoken.
    """

    key: str
    audio: bytes = b""
    record: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


# Takes each piece when it is finished; perhaps two at a time, from two threads.
Store = Callable[[Spoken], None]


class Speaker:
    """A model that speaks units of pieces."""

    def __init__(self, tts):
        # 40 MB with scipy, which `loudness_of` needs: taken before the first unit, not after it.
        import pyloudnorm  # noqa: F401

        self.tts = tts
        # The texts of a job are written out when they are planned, and not again.
        text = getattr(tts.checkpoint.config, "text", None)
        self._as_written = {"normalize": False} if text is not None and text.normalize else {}
        self._voices: OrderedDict[Path, Voice] = OrderedDict()

    def speak(self, unit: Sequence[Wanted], store: Store) -> None:
        """Speak what is missing of pieces of one voice and settings, decoded together.

        Where one of them cannot be spoken each that is not finished by then is tried alone, so
        that the others are.
        """
        finished: set[str] = set()
        try:
            self._together(unit, store, finished)
            give_back_memory()
        except (TextError, AudioError, SettingError) as error:
            if len(unit) == 1:
                store(Spoken(unit[0].key, failure=str(error)))
                return
            for wanted in unit:
                if wanted.key not in finished and wanted.record is None:
                    self.speak([wanted], lambda spoken: store(_alone(spoken)))

    def _together(self, unit: Sequence[Wanted], store: Store, finished: set[str]) -> None:
        """Speak a unit; `finished` comes to hold the keys of what was stored."""

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

    def _spoken(self, wanted: Wanted, waveform: np.ndarray, outcomes: Sequence[Outcome]) -> Spoken:
        """A piece; `outcomes` are several where the model spoke it in several."""
        rate = self.tts.sr
        is_one = len(outcomes) == 1
        verdicts = dict.fromkeys(one.verdict for one in outcomes if one.verdict)
        record = {
            "text": wanted.text,
            "seed": outcomes[0].seed if is_one else wanted.seed,
            "tries": max(one.tries for one in outcomes),
            "outcome": "; ".join(verdicts),
            "samples": len(waveform),
            "loudness": loudness_of(trimmed(waveform, rate), rate),
            "tokens": [int(token) for one in outcomes for token in one.tokens],
        }
        # Only where there is something to say: other records are as they always were.
        unread = merged([wanted.left_out, *(one.unread for one in outcomes)])
        if unread:
            record["unread"] = list(unread)
        if not all(one.stopped for one in outcomes):
            record["stopped"] = False
        return Spoken(wanted.key, encode(waveform, rate), record)

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
    """Lines for people about a piece that was spoken; what guards could not mend is not in them.

    Args:
        where: names the piece.
    """
    lines = []
    if record["tries"] > 1 and not record["outcome"]:
        lines.append(
            f"guard: {where} was spoken again with another seed, and well (seed {record['seed']})"
        )
    if record.get("unread"):
        lines.append(not_read(where, record["unread"]))
    if not record.get("stopped", True) and not record["outcome"]:
        lines.append(f"{where} was not finished within its limit of tokens (--max-new-tokens)")
    return lines


def _decode_only(unit: Sequence[Wanted]) -> set[int]:
    """Which pieces of a unit are not vocoded again, because they are on disk.

    None where one of them was spoken more than once: second tries are written together too, and
    what becomes of one can depend, in its last bits, on which others there are. Nor where one was
    spoken alone, because the unit as a whole could not be.
    """
    there = {index: one.record for index, one in enumerate(unit) if one.record is not None}
    is_plain = all(one["tries"] == 1 and not one.get("alone") for one in there.values())
    return set(there) if is_plain else set()


def _alone(spoken: Spoken) -> Spoken:
    return replace(spoken, record={**spoken.record, "alone": True})


def _between_pieces(what: str, done: int, total: int) -> None:
    """While a unit is spoken: what a piece's flow has left behind is of no use to the next one."""
    if what == "flow" and done == total:
        give_back_memory()


def checked_settings(tts, settings: Mapping[str, Any], language: str | None) -> dict[str, Any]:
    """Settings as the model's `generate` takes them, with the language if it wants one.

    Raises:
        SettingError: it has no such setting, or needs a language; a speed outside its range.
        TextError: it does not speak the language.
    """
    known = inspect.signature(tts.generate).parameters
    settings = {name: value for name, value in settings.items() if value is not None}
    # A speed of 1 is none: pieces that were spoken without one are the same.
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
                f"the model does not speak {shortened(language)!r}; it speaks {languages}."
            )
        settings["language_id"] = language.lower()
    elif language and language.lower() != "en":
        variant = tts.checkpoint.config.variant
        raise SettingError(f"{variant} speaks English alone, not {shortened(language)!r}.")
    return settings
