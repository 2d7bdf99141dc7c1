"""What a model tells of its last call, where several threads may be calling it."""

from __future__ import annotations

from threading import local


class _Calls:
    def __init__(self):
        self.own = local()
        self.latest: dict = {}


class OfLastCall:
    """An attribute of the last call in this thread; in a thread that made none, of the latest.

    So a thread reads what its own call left there, and one that had the work done by another finds
    it too.
    """

    def __set_name__(self, owner: type, name: str):
        self._name = name

    def __get__(self, instance: object, owner: type | None = None):
        if instance is None:
            return self
        calls = _calls_of(instance)
        own = vars(calls.own)
        if self._name in own:
            return own[self._name]
        try:
            return calls.latest[self._name]
        except KeyError:
            raise AttributeError(self._name) from None

    def __set__(self, instance: object, value) -> None:
        calls = _calls_of(instance)
        setattr(calls.own, self._name, value)
        calls.latest[self._name] = value


def set_before_any(instance: object, **values) -> None:
    """What the attributes are before the first call, in every thread."""
    _calls_of(instance).latest.update(values)


def _calls_of(instance: object) -> _Calls:
    return vars(instance).setdefault("_calls", _Calls())
