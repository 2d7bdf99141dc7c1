"""Reports of the latest call, for all public classes."""

from __future__ import annotations

from ..synthesis.result import LatestResult, Outcome


class ReportsLatest:
    """A class with a result of its latest call.

    Attributes:
        last_tokens, limit, stopped, outcomes, spans: those of the `Result` of this thread's latest
            call; in a thread that made none, of the latest call of any thread.
    """

    _latest: LatestResult

    @property
    def last_tokens(self) -> list:
        return self._latest.get().tokens

    @property
    def limit(self) -> int:
        return self._latest.get().limit

    @property
    def stopped(self) -> bool:
        return self._latest.get().stopped

    @property
    def outcomes(self) -> list[Outcome]:
        return self._latest.get().outcomes

    @property
    def spans(self) -> list[tuple[int, int]]:
        return self._latest.get().spans
