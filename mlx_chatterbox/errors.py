"""The errors that a user can meet. Each message is one line: what is wrong, and what to do."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from .harmless import LONGEST_MESSAGE, harmless, quotes_shortened, shortened


class ChatterboxError(Exception):
    """Base of every error that this library raises on purpose.

    Messages quote names and texts from files: control characters in them are escaped, and long
    quotations are shortened.

    Attributes:
        tells_all: its message is for users, so that programs show it without a traceback.
    """

    tells_all = True

    def __str__(self) -> str:
        return harmless(quotes_shortened(super().__str__()))


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with a message for the user: what is kept, and how to go on."""


class AudioError(ChatterboxError):
    """A recording that cannot be read, written or used as a reference."""


class TextError(ChatterboxError):
    """A text that cannot be spoken."""


class CheckpointError(ChatterboxError):
    """Weights or a configuration that are missing, damaged or of another shape."""


class SettingError(ChatterboxError):
    """A sampling or generation setting outside its range."""


class HubError(ChatterboxError):
    """The model hub could not be reached, or does not have what was asked for."""


class ConfigError(ChatterboxError):
    """A training configuration that cannot be used; the message begins with file and line."""


class DataError(ChatterboxError):
    """A data set that cannot be read, or that holds nothing to train on.

    A message that quotes very long names or lines is shortened in the middle, which it states.
    """

    def __str__(self) -> str:
        return shortened(super().__str__(), LONGEST_MESSAGE)


class JobError(ChatterboxError):
    """A job whose folder is in use or cannot be written, or with nothing that can be done."""


@contextmanager
def errors_about(
    name: str, kinds: tuple[type[Exception], ...] = (ChatterboxError, TypeError)
) -> Iterator[None]:
    """Begin the messages of errors within the block with what they are about: "text 3: ...".

    Args:
        name: the thing; "" leaves the messages as they are.
        kinds: of errors.
    """
    try:
        yield
    except kinds as error:
        if not name:
            raise
        raise type(error)(f"{name}: {error}") from error


def warn_user(warning: Warning | str) -> None:
    """Warn, at the line of the user's program that called this library."""
    frame, level = sys._getframe(), 1
    package = __name__.partition(".")[0]
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(warning, stacklevel=level)
