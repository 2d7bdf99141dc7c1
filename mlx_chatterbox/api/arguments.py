"""Arguments of a call by their names, of all texts or of each, and the voices that they name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from ..errors import SettingError, errors_about, warn_user
from ..synthesis.decoding import Decoding
from ..synthesis.engine import Engine
from ..synthesis.request import (
    Request,
    SpeechOptions,
    TextArguments,
    check_flag,
    check_number,
    check_one_each,
)
from ..text.checked_text import described
from ..voices.voice import Voice, check_emotion
from .signatures import is_left_out

Recording = str | Path | np.ndarray
# Arguments by name, those that were left out with the defaults of the signature.
Arguments = Mapping[str, Any]

# What the settings of one text cannot have, and what to do instead.
_OF_THE_CALL = {
    "seed": "give seeds, one for each text",
    "voice": "give voices, one for each text",
    "noise": "it fits one text: see generate",
    "source": "it fits one text: see generate",
    "progress": "it is of the whole call",
    "batch_size": "it is of the whole call",
    "vocode_together": "it is of the whole call",
}


def by_name(request: Callable[..., Any], values: Sequence, options: Arguments) -> dict[str, Any]:
    """The arguments of a call of `request` by name; required ones may be missing.

    Args:
        request: takes a text, then these arguments.
        values, options: the positional ones and the others.

    Raises:
        TypeError: an unknown name, one that is given twice, or too many values.
    """
    bound = inspect.signature(request).bind_partial(None, *values, **options)
    bound.apply_defaults()
    names = list(bound.arguments)[1:]
    return {name: bound.arguments[name] for name in names}


def options_of(request: Callable[..., Any], arguments: Arguments) -> SpeechOptions:
    """The arguments that are not upstream's: those of `SpeechOptions`, and unknown ones."""
    others = inspect.signature(request).parameters.keys() - SpeechOptions.__annotations__
    options = {name: value for name, value in arguments.items() if name not in others}
    return cast(SpeechOptions, options)


def missing_names(request: Callable[..., Any], arguments: Arguments) -> list[str]:
    """The required arguments of `request` that are not there."""
    parameters = list(inspect.signature(request).parameters.values())[1:]
    return [
        one.name
        for one in parameters
        if one.default is one.empty and one.kind is not one.VAR_KEYWORD
        if one.name not in arguments
    ]


def checked_settings(settings: object, texts: int, request: Callable[..., Any]) -> list[Arguments]:
    """Check the names of the settings of each text; {} for one without.

    Raises:
        SettingError: not a list of mappings, one for each text; an argument of the whole call.
        TypeError: an argument that `request` does not have.
    """
    if settings is None:
        return [{}] * texts
    known = list(inspect.signature(request).parameters)[1:]
    checked: list[Arguments] = []
    for number, one in enumerate(_listed("settings", settings, texts), start=1):
        if one is None:
            one = {}
        if not isinstance(one, Mapping):
            raise SettingError(
                f"{settings_name(number)} must be keyword arguments in a dict; got "
                f"{described(one)}."
            )
        for name in one:
            if name in _OF_THE_CALL:
                raise SettingError(
                    f"{settings_name(number)} cannot have {name}: {_OF_THE_CALL[name]}."
                )
        for name in one:
            if name not in known:
                raise TypeError(
                    f"{settings_name(number)}: got an unexpected keyword argument {name!r}"
                )
        checked.append(one)
    return checked


def checked_voices(voices: object, texts: int) -> list[Voice | None]:
    """Check the voices of each text; None for one in the call's own.

    Raises:
        SettingError: not a list of voices, one for each text.
    """
    if voices is None:
        return [None] * texts
    checked = _listed("voices", voices, texts)
    for number, voice in enumerate(checked, start=1):
        if voice is not None:
            check_is_voice(voice, f"voice of text {number}")
    return checked


def check_is_voice(voice: object, name: str = "voice") -> None:
    """Raise SettingError unless it is a `Voice`."""
    if not isinstance(voice, Voice):
        raise SettingError(
            f"{name} must be a Voice (Voice.load, voice_of); got {described(voice)}: pass "
            "a recording as audio_prompt_path."
        )


def language_code(language_id: str | None) -> str | None:
    """The code of a language in small letters; None for none.

    Raises:
        SettingError: not a code.
    """
    if language_id is not None and not isinstance(language_id, str):
        raise SettingError(
            f"language_id must be a code such as 'fr'; got {described(language_id)}."
        )
    return language_id.lower() if language_id else None


def settings_name(number: int) -> str:
    """The name of a text's settings for errors; its number from 1."""
    return f"settings of text {number}"


def _listed(name: str, values: object, texts: int) -> list:
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        raise SettingError(f"{name} must be a list, one for each text; got {described(values)}.")
    check_one_each(name, values, texts)
    return list(values)


class CallVoices:
    """The voices of one call: each is read once and is one object, however many texts it has."""

    def __init__(self, engine: Engine, models_own: Voice | None):
        self._engine, self._models_own = engine, models_own
        self._read: dict[tuple, Voice] = {}
        self._at_emotion: dict[tuple[int, float], Voice] = {}

    def of(
        self,
        voice: Voice | None,
        recording: Recording | None,
        emotion: float | None,
        norm_loudness: bool,
    ) -> Voice:
        """The caller's `Voice`, that of a recording, or the model's own.

        Args:
            emotion: None: the voice's own.

        Raises:
            SettingError: there is none. AudioError, CheckpointError: as `Engine.voice_of`.
        """
        if voice is None:
            voice = self._models_own
            if recording is not None:
                voice = self._of_recording(recording, norm_loudness)
        if voice is None:
            raise SettingError(
                "no voice: this checkpoint has none built in, so give a reference recording "
                "(audio_prompt_path=, or --voice on the command line)."
            )
        if emotion is None:
            return voice
        key = (id(voice), float(emotion))
        if key not in self._at_emotion:
            # Known by its id, so it must stay.
            self._read[key] = voice
            self._at_emotion[key] = voice.with_emotion(emotion)
        return self._at_emotion[key]

    def _of_recording(self, recording: Recording, norm_loudness: bool) -> Voice:
        path = str(recording) if isinstance(recording, (str, Path)) else id(recording)
        key = (path, bool(norm_loudness))
        if key not in self._read:
            emotion = self._engine.defaults.exaggeration
            self._read[key] = self._engine.voice_of(recording, emotion, norm_loudness)
        return self._read[key]


class Speaks(Protocol):
    """A class of models, as far as its arguments are concerned; see `TextToSpeech`."""

    ignored: tuple[str, ...]
    ignores: str
    engine: Engine
    conds: Voice | None

    @property
    def request(self) -> Callable[..., Request]: ...

    def own_value(self, name: str) -> Any: ...

    def decoding_of(self, value: Callable[[str], Any]) -> Decoding: ...

    def options_of(self, arguments: Arguments) -> SpeechOptions: ...


class ArgumentReader:
    """Reads the arguments of one call, those of all its texts and those of single ones.

    Args:
        model: whose `request` has all arguments in its signature.
    """

    def __init__(self, model: Speaks):
        self._model, self._request = model, model.request
        self._voices = CallVoices(model.engine, model.conds)

    def of_all(self, arguments: Arguments, is_needed: bool) -> TextArguments | None:
        """The arguments of all texts; None if a required one is missing, which each text must have.

        Args:
            is_needed: no text has settings of its own.

        Raises:
            SettingError: one outside its range, or of another kind.
            TypeError: a required one is missing and needed.
        """
        if missing := missing_names(self._request, arguments):
            if is_needed:
                raise TypeError(f"missing a required argument: {missing[0]!r}")
            return None
        return self._read(arguments)

    def of_text(
        self, arguments: Arguments, voice: Voice | None, own: Arguments, number: int
    ) -> TextArguments:
        """The arguments of a text, from 1, that has a voice or settings of its own.

        Args:
            arguments: of all texts.
            own: those that the text has instead.

        Raises:
            SettingError: as `of_all`; a voice and a recording.
            TypeError: a required one is missing.
        """
        name = settings_name(number) if own else ""
        recording = own.get("audio_prompt_path")
        with errors_about(settings_name(number)):
            if voice is not None and recording is not None:
                raise SettingError("its voice is in voices, so audio_prompt_path cannot be, too.")
            merged = {**arguments, **own}
            if voice is not None or recording is not None:
                merged["voice"] = voice
            missing = missing_names(self._request, merged)
            if missing:
                raise TypeError(f"missing a required argument: {missing[0]!r}")
            return self._read(merged, name, f"text {number}" if voice is not None else name)

    def _read(self, arguments: Arguments, name: str = "", voice_name: str = "") -> TextArguments:
        options = self._model.options_of(arguments)
        voice, emotion = options.get("voice"), self._value(arguments, "exaggeration")
        if emotion is not None:
            check_emotion(emotion)
        if voice is not None:
            check_is_voice(voice)
        return TextArguments(
            self._model.decoding_of(partial(self._value, arguments)),
            language_code(arguments.get("language_id")),
            options,
            partial(
                self._voices.of,
                voice,
                arguments["audio_prompt_path"],
                emotion,
                arguments.get("norm_loudness", True),
            ),
            name,
            voice_name,
        )

    def _value(self, arguments: Arguments, name: str) -> Any:
        """The value of a setting that counts, as the caller or else the checkpoint has it."""
        if name in self._model.ignored:
            return 0.0
        is_own = name not in arguments or is_left_out(arguments[name])
        return self._model.own_value(name) if is_own else arguments[name]

    def warn_of_ignored(self, arguments: Sequence[Arguments]) -> None:
        """Warn once of all arguments that do nothing and were asked for."""
        known, asked = inspect.signature(self._request).parameters, []
        for name in self._model.ignored:
            default = known[name].default
            values = [one[name] for one in arguments if name in one]
            for value in values:
                if isinstance(default, bool):
                    check_flag(name, value)
                elif not isinstance(default, str):
                    check_number(name, value)
            if any(value != default for value in values):
                asked.append(name)
        if asked:
            warn_user(f"{self._model.ignores} {', '.join(asked)}.")
