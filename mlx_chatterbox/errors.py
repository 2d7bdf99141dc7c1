"""The errors a user can meet. Each message is one line: what is wrong, and what to do about it."""

from __future__ import annotations


class ChatterboxError(Exception):
    """Base of every error that this library raises on purpose."""


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
    """A data set that cannot be read, or that holds nothing to train on."""


class JobError(ChatterboxError):
    """A job whose folder is in use or cannot be written, or with nothing that can be done."""
