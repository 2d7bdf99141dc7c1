"""How far a job is, and how long it will still take: a bar on a terminal, nothing in a pipe."""

from __future__ import annotations


class JobBar:
    """A bar over all characters that are to be spoken.

    The time left follows from the characters spoken in this run, so what was finished earlier does
    not make it look fast.
    """

    def __init__(self, total: int, kept: int, pieces: int, kept_pieces: int):
        from tqdm import tqdm

        self._bar = tqdm(
            total=total,
            initial=kept,
            desc="speaking",
            unit=" characters",
            disable=None,
            leave=False,
            smoothing=0.05,
        )
        self._pieces, self._done = pieces, kept_pieces
        self._show()

    def spoken(self, text: str) -> None:
        """A piece is finished."""
        self._done += 1
        self._bar.update(len(text))
        self._show()

    def _show(self) -> None:
        self._bar.set_postfix_str(f"piece {self._done} of {self._pieces}")

    def close(self) -> None:
        self._bar.close()

    def __enter__(self) -> JobBar:
        return self

    def __exit__(self, *_) -> None:
        self.close()
