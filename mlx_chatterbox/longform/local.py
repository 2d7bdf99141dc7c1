"""The executor that speaks units in this process."""

from __future__ import annotations

from collections.abc import Sequence

from .job import Executor, Unit
from .speaking import Speaker, Store


def local(tts) -> Executor:
    """Make an executor that speaks with a loaded model, one unit after the other.

    A piece is stored as soon as it is finished, in the thread that finished it.
    """

    def execute(units: Sequence[Unit], store: Store) -> None:
        speaker = Speaker(tts)
        for unit in units:
            speaker.speak(unit, store)

    return execute
