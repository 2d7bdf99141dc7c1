"""The executor that speaks pieces in this process."""

from __future__ import annotations

from collections.abc import Sequence

from .job import Executor
from .speaking import ROUNDS, Speaker, Store, Wanted, in_chunks


def local(tts) -> Executor:
    """Make an executor that speaks with a loaded model, one chunk of pieces after the other.

    A piece is stored as soon as it is finished, in the thread that finished it.
    """

    def execute(pieces: Sequence[Wanted], batch_size: int, store: Store) -> None:
        speaker = Speaker(tts)
        for chunk in in_chunks(pieces, ROUNDS * batch_size):
            speaker.speak(chunk, batch_size, store)

    return execute
