"""Speaking units in this process."""

from __future__ import annotations

from .job import Executor
from .speaking import Speaker


def local(tts) -> Executor:
    """An executor that speaks with a loaded model, one unit after the other."""

    def execute(units):
        speaker = Speaker(tts)
        for unit in units:
            yield from speaker.speak(unit)

    return execute
