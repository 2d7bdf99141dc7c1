"""A request: texts, each with its voice and settings, checked and ready for the engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, TypedDict

import mlx.core as mx
import numpy as np

from ..errors import SettingError
from ..runtime.seeds import piece_seeds, random_key
from ..text.checked_text import described
from ..text.respelling import Lexicon
from ..text.writing import UNCHANGED, UPSTREAM, Normalize
from ..voices.voice import Voice
from .decoding import Decoding
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
        vocode_together: most pieces of about one length that S3Gen vocodes in one call. It is meant
            for GPUs; 1, the default, is faster on a CPU (`docs/performance.md`). More change
            samples by rounding, so they exclude `invariant`; also `noise`, `source` and streams.
        speed: factor of the tempo, 0.5 to 2, at the same pitch (`audio/stretch.py`); pauses too. 1
            changes nothing.
        normalize: True writes numbers, abbreviations and signs out in words first; None takes the
            checkpoint's setting, which is False in upstream's (`docs/spoken-forms.md`). For
            Chatterbox-Flash also "upstream": its own cleaner, and "unchanged": the text as it is,
            white space aside, both for exact comparison.
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
    vocode_together: int
    speed: float | None
    normalize: Normalize


# Those that do not default to None.
OPTION_DEFAULTS: SpeechOptions = {"guard": True, "vocode_together": 1}


@dataclass(frozen=True, eq=False)
class TextArguments:
    """A caller's arguments for texts, of which `Engine.request` makes their settings.

    Texts with the same arguments share one object.

    Attributes:
        decoding: settings by which the tokens are written.
        language_id: of the multilingual models.
        options: the voice in them is ignored.
        voice: returns the voice; called when all else is right, since a recording takes seconds.
        name, voice_name: by which errors name these settings and this voice; "" for those of all
            texts.
    """

    decoding: Decoding
    language_id: str | None
    options: SpeechOptions
    voice: Callable[[], Voice]
    name: str = ""
    voice_name: str = ""


@dataclass(frozen=True)
class SpeechSettings:
    """Settings by which a text is spoken, all of them resolved.

    With the voice, the seed and the pieces of its text this is all that a text's speech depends on.

    Attributes:
        decoding: by which the tokens are written.
        limit: most tokens of a piece, however long its text; see `limit_of`.
        cfm_steps: steps of the flow.
        guard: True judges the speech, and repeats what has a finding; False with the caller's
            noise, which fits no further attempt.
        watermark: True marks the speech.
        speed: factor by which it is played faster than it was spoken.
    """

    decoding: Decoding
    limit: TokenLimit
    cfm_steps: int
    guard: bool = True
    watermark: bool = True
    speed: float = 1.0

    @property
    def sampling(self) -> Any:
        """The settings of `decoding` by which tokens are drawn."""
        return self.decoding.sampling

    def limit_of(self, piece: TextPiece) -> TokenLimit:
        """The most tokens of a piece."""
        return self.decoding.limit_of(self.limit, piece.ids.size)


@dataclass(frozen=True, eq=False)
class Utterance:
    """A piece to speak, with all that its speech depends on.

    Attributes:
        number: among all pieces of its request, from 0.
        text: number of its text, from 0.
        seed: of its first attempt.
        voice, settings: its text's own.
        name: of its text, for errors; "" for the only one.
    """

    number: int
    text: int
    piece: TextPiece
    seed: int
    voice: Voice
    settings: SpeechSettings
    name: str = ""

    @property
    def limit(self) -> TokenLimit:
        """The most tokens of it."""
        return self.settings.limit_of(self.piece)


@dataclass(frozen=True, eq=False)
class Request:
    """Everything that one call speaks, checked and made by `Engine.request`.

    Attributes:
        texts: the pieces of each text.
        seeds: one for each text; None draws another each time the request is spoken.
        voices, settings: one for each text. Texts in one voice at one emotion share one object.
        batch_size: most pieces that are decoded together.
        vocode_together: most pieces that are vocoded together.
        is_shared: True gives the pieces both of two cores, one after the other, as `generate` does
            for its only text; False gives each text one core, as `generate_batch` does, so that
            its samples are the same in any company.
        invariant: True makes the tokens independent of the company to the bit on every device,
            also where that is slower.
        names: of the texts, for errors; by default they have none.
        noise, source: as in `SpeechOptions`.
        progress: callback(stage, done, total).
        finished: callback(number, waveform, outcomes) as soon as a text is final, in the thread
            that finished it, so perhaps in two at a time.

    Raises:
        SettingError: not as many seeds, voices or settings as texts; a seed outside its range;
            noise for several pieces; pieces vocoded together with noise or `invariant`.
    """

    texts: tuple[tuple[TextPiece, ...], ...]
    seeds: tuple[int | None, ...]
    voices: tuple[Voice, ...]
    settings: tuple[SpeechSettings, ...]
    batch_size: int = 1
    vocode_together: int = 1
    is_shared: bool = True
    invariant: bool = False
    names: tuple[str, ...] = ()
    noise: mx.array | None = None
    source: mx.array | None = None
    progress: Progress | None = None
    finished: Finished | None = None

    def __post_init__(self):
        check_seeds(self.seeds, len(self.texts))
        check_one_each("voices", self.voices, len(self.texts))
        check_one_each("settings", self.settings, len(self.texts))
        check_one_each("names", self.names or self.texts, len(self.texts))
        check_noise(self.noise, self.source, self.texts)
        self._check_vocoding()

    def _check_vocoding(self) -> None:
        if self.vocode_together == 1:
            return
        if self.invariant:
            raise SettingError(
                "invariant=True needs vocode_together=1: speech that is vocoded together is the "
                "same only up to rounding."
            )
        if self.noise is not None or self.source is not None:
            raise SettingError(
                "noise and source need vocode_together=1: they fit one text, which is vocoded by "
                "itself."
            )

    @property
    def limit(self) -> int:
        """The most tokens of a piece, of any text."""
        limits = (
            settings.limit_of(piece).tokens
            for pieces, settings in zip(self.texts, self.settings, strict=True)
            for piece in pieces
        )
        return max(limits, default=0)

    def utterances(self) -> list[Utterance]:
        """All pieces in order, each with its seed; seeds that are None are drawn now."""
        utterances: list[Utterance] = []
        for text, pieces in enumerate(self.texts):
            own = self.voices[text], self.settings[text], self.names[text] if self.names else ""
            for piece, seed in zip(pieces, piece_seeds(self.seeds[text], len(pieces)), strict=True):
                utterances.append(Utterance(len(utterances), text, piece, seed, *own))
        return utterances

    def only(self, numbers: Sequence[int]) -> Request:
        """A request of some of the texts; `finished` is called with their numbers in this one."""
        finished = self.finished

        def finish(number: int, waveform: np.ndarray, outcomes: tuple[Outcome, ...]) -> None:
            assert finished is not None
            finished(numbers[number], waveform, outcomes)

        return replace(
            self,
            texts=tuple(self.texts[i] for i in numbers),
            seeds=tuple(self.seeds[i] for i in numbers),
            voices=tuple(self.voices[i] for i in numbers),
            settings=tuple(self.settings[i] for i in numbers),
            names=tuple(self.names[i] for i in numbers if self.names),
            finished=None if finished is None else finish,
        )


def names_of_texts(count: int) -> list[str]:
    """Names by which errors tell texts apart: "text 1", "text 2", ...; a single one has none."""
    return [f"text {i}" for i in range(1, count + 1)] if count > 1 else [""]


def check_options(options: SpeechOptions) -> None:
    """Raise SettingError for a value of another kind, which would fail later and less clearly.

    Raises:
        TypeError: an unknown keyword.
    """
    for name in options.keys() - SpeechOptions.__annotations__.keys():
        raise TypeError(f"got an unexpected keyword argument {name!r}")
    for name in ("seed", "max_new_tokens", "n_cfm_timesteps", "batch_size", "vocode_together"):
        check_whole(name, options.get(name))
    for name in ("watermark", "guard"):
        check_flag(name, options.get(name))
    normalize = options.get("normalize")
    if not (isinstance(normalize, str) and normalize in (UPSTREAM, UNCHANGED)):
        check_flag("normalize", normalize)
    for name in ("noise", "source"):
        value = options.get(name)
        if value is not None and not hasattr(value, "shape"):
            raise SettingError(f"{name} must be an array; got {described(value)}.")
    check_callback("progress", options.get("progress"))
    sizes = {
        "batch_size": options.get("batch_size"),
        "vocode_together": options.get("vocode_together"),
    }
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise SettingError(f"{name} must be 1 or more; got {size}.")


def check_whole(name: str, value: object) -> None:
    """Raise SettingError unless a value is a whole number or left out."""
    if value is not None and not isinstance(value, Integral):
        raise SettingError(f"{name} must be a whole number; got {described(value)}.")


def check_flag(name: str, value: object) -> None:
    """Raise SettingError unless a value is True, False, 1, 0 or left out."""
    is_whole = isinstance(value, Integral) and value in (0, 1)
    if value is not None and not (is_whole or isinstance(value, np.bool_)):
        raise SettingError(f"{name} must be True or False; got {described(value)}.")


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
    check_one_each("seeds", seeds, texts)
    for seed in seeds:
        random_key(seed)


def check_one_each(name: str, values: Sequence, texts: int) -> None:
    """Raise SettingError unless there are as many values as texts."""
    if len(values) != texts:
        raise SettingError(
            f"{name} must have one for each of the {texts} texts; got {len(values)}."
        )


def check_noise(noise, source, texts: Sequence[Sequence[TextPiece]]) -> None:
    """Raise SettingError for noise where there are several pieces, which need as many."""
    if (noise is not None or source is not None) and sum(map(len, texts)) > 1:
        raise SettingError(
            "noise and source fit a text of one piece; this one is spoken in several."
        )


def check_text_numbers(name: str, numbers: Collection[int], texts: int) -> None:
    """Raise SettingError unless all are numbers of texts."""
    wrong = set(numbers) - set(range(texts))
    if wrong:
        raise SettingError(f"{name}: numbers from 0 to {texts - 1}; got {sorted(wrong)}.")
