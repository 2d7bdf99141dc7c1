"""A request: texts, voice and settings, checked and ready for the engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TypedDict

import mlx.core as mx
import numpy as np

from ..errors import SettingError
from ..models.t3.sampling import SamplingSettings
from ..runtime.seeds import piece_seeds, random_key
from ..text.checked_text import described
from ..text.respelling import Lexicon
from ..voices.voice import Voice
from .result import Outcome
from .splitting import TextPiece
from .tokens import TokenLimit

# callback(stage, done, total)
Progress = Callable[[str, int, int], None]
# callback(number of the text, waveform, outcomes of its pieces)
Finished = Callable[[int, np.ndarray, tuple[Outcome, ...]], None]


class SpeechOptions(TypedDict, total=False):
    """Keyword arguments of every way to speak, beyond upstream's arguments.

    Keys:
        voice: a `Voice` for this call alone; the model's own stays.
        seed: the same seed gives the same audio; None draws another each time. Of several texts
            it is the first one's; text i has seed + i.
        max_new_tokens: most tokens, of 40 ms each, for a piece.
        n_cfm_timesteps: steps of the flow.
        noise, source: the flow's start (1, 2 n + 2 m, 80) and the vocoder's excitation (1, 960 m).
        progress: callback(stage, done, total) with "tokens" or "flow".
        watermark: False leaves out the mark that identifies the speech as made by a machine.
        lexicon: words and the respellings to pronounce them by: a file's path, a mapping,
            or a `Respelling` (`text/respelling.py`).
        guard: False speaks once and keeps the result, as upstream does. Otherwise speech that
            babbles, loops, stops early or is silent is spoken again with another seed, and
            `outcomes` reports the finding of every piece (`docs/guards.md`). Not with `noise` or
            `source`, which fit one attempt.
        batch_size: number of pieces that are decoded together; by default 8 with guidance, else 16.
        speed: factor of the tempo, 0.5 to 2, at the same pitch (`audio/stretch.py`); pauses too. 1
            changes nothing.
        normalize: True writes numbers, abbreviations and signs out in words first; None takes the
            checkpoint's setting, which is False in upstream's (`docs/spoken-forms.md`).
    """

    voice: Voice | None
    seed: int | None
    max_new_tokens: int | None
    n_cfm_timesteps: int | None
    noise: mx.array | None
    source: mx.array | None
    progress: Progress | None
    watermark: bool | None
    lexicon: Lexicon
    guard: bool
    batch_size: int | None
    speed: float | None
    normalize: bool | None


# Those that do not default to None.
OPTION_DEFAULTS: SpeechOptions = {"guard": True}


@dataclass(frozen=True)
class SpeechSettings:
    """Settings by which a text is spoken, all of them resolved.

    With the voice, the seed and the pieces of its text this is all that a text's speech depends on.

    Attributes:
        cfg_weight: how strongly the text guides; 0 is off.
        cfm_steps: steps of the flow.
        guard: True judges the speech, and repeats what has a finding.
        watermark: True marks the speech.
        speed: factor by which it is played faster than it was spoken.
    """

    sampling: SamplingSettings
    cfg_weight: float
    limit: TokenLimit
    cfm_steps: int
    guard: bool = True
    watermark: bool = True
    speed: float = 1.0


@dataclass(frozen=True)
class Utterance:
    """A piece to speak.

    Attributes:
        number: among all pieces of its request, from 0.
        seed: of its first attempt.
        decode_only: its tokens are decoded with the others', and no audio is made.
    """

    number: int
    piece: TextPiece
    seed: int
    decode_only: bool = False


@dataclass(frozen=True, eq=False)
class Request:
    """Everything that one call speaks, checked and made by `Engine.request`.

    Attributes:
        texts: the pieces of each text.
        seeds: one for each text; None draws another each time the request is spoken.
        voice, settings: of all texts.
        batch_size: most pieces that are decoded together.
        decode_only: numbers, from 0, of texts that are decoded to keep the others' rounding
            identical; no audio is made.
        noise, source: as in `SpeechOptions`.
        progress: callback(stage, done, total).
        finished: callback(number, waveform, outcomes) as soon as a text is final, in the thread
            that finished it, so perhaps in two at a time.

    Raises:
        SettingError: not as many seeds as texts, or one outside its range; `decode_only` names no
            text; noise for several pieces.
    """

    texts: tuple[tuple[TextPiece, ...], ...]
    seeds: tuple[int | None, ...]
    voice: Voice
    settings: SpeechSettings
    batch_size: int = 1
    decode_only: frozenset[int] = frozenset()
    noise: mx.array | None = None
    source: mx.array | None = None
    progress: Progress | None = None
    finished: Finished | None = None

    def __post_init__(self):
        check_seeds(self.seeds, len(self.texts))
        check_decode_only(self.decode_only, len(self.texts))
        check_noise(self.noise, self.source, self.texts)

    @property
    def is_guarded(self) -> bool:
        """True if speech is judged: the caller's noise fits no further attempt."""
        return self.settings.guard and self.noise is None and self.source is None

    def utterances(self) -> list[Utterance]:
        """All pieces in order, each with its seed; seeds that are None are drawn now."""
        utterances: list[Utterance] = []
        for text, (pieces, first) in enumerate(zip(self.texts, self.seeds, strict=True)):
            decode_only = text in self.decode_only
            for piece, seed in zip(pieces, piece_seeds(first, len(pieces)), strict=True):
                utterances.append(Utterance(len(utterances), piece, seed, decode_only))
        return utterances


def check_options(options: SpeechOptions) -> None:
    """Raise SettingError for a value of another kind, which would fail later and less clearly.

    Raises:
        TypeError: an unknown keyword.
    """
    for name in options.keys() - SpeechOptions.__annotations__.keys():
        raise TypeError(f"got an unexpected keyword argument {name!r}")
    for name in ("seed", "max_new_tokens", "n_cfm_timesteps", "batch_size"):
        check_whole(name, options.get(name))
    for name in ("watermark", "guard", "normalize"):
        value = options.get(name)
        is_whole = isinstance(value, Integral) and value in (0, 1)
        if value is not None and not (is_whole or isinstance(value, np.bool_)):
            raise SettingError(f"{name} must be True or False; got {described(value)}.")
    for name in ("noise", "source"):
        value = options.get(name)
        if value is not None and not hasattr(value, "shape"):
            raise SettingError(f"{name} must be an array; got {described(value)}.")
    check_callback("progress", options.get("progress"))
    size = options.get("batch_size")
    if size is not None and size < 1:
        raise SettingError(f"batch_size must be 1 or more; got {size}.")


def check_whole(name: str, value: object) -> None:
    """Raise SettingError unless a value is a whole number or left out."""
    if value is not None and not isinstance(value, Integral):
        raise SettingError(f"{name} must be a whole number; got {described(value)}.")


def check_number(name: str, value: object) -> None:
    """Raise SettingError unless a value is a number."""
    if not isinstance(value, Real):
        raise SettingError(f"{name} must be a number; got {described(value)}.")


def check_callback(name: str, value: object) -> None:
    """Raise SettingError unless a value can be called or is left out."""
    if value is not None and not callable(value):
        raise SettingError(f"{name} must be a function; got {described(value)}.")


def check_seeds(seeds: Sequence[int | None], texts: int) -> None:
    """Raise SettingError unless there is one seed a text, each None or from 0 to 2^64 - 1."""
    if isinstance(seeds, (str, bytes)) or not hasattr(seeds, "__len__"):
        raise SettingError(f"seeds must be a list of whole numbers; got {described(seeds)}.")
    for seed in seeds:
        check_whole("a seed", seed)
    if len(seeds) != texts:
        raise SettingError(f"seeds must have one for each of the {texts} texts; got {len(seeds)}.")
    for seed in seeds:
        random_key(seed)


def check_noise(noise, source, texts: Sequence[Sequence[TextPiece]]) -> None:
    """Raise SettingError for noise where there are several pieces, which need as many."""
    if (noise is not None or source is not None) and sum(map(len, texts)) > 1:
        raise SettingError(
            "noise and source fit a text of one piece; this one is spoken in several."
        )


def check_decode_only(numbers: Collection[int], texts: int) -> None:
    """Raise SettingError unless all are numbers of texts."""
    wrong = set(numbers) - set(range(texts))
    if wrong:
        raise SettingError(f"decode_only: numbers from 0 to {texts - 1}; got {sorted(wrong)}.")
