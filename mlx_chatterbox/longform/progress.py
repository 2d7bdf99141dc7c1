"""The progress bar of a job with the time left; shown on a terminal only."""

from __future__ import annotations


class JobBar:
    """A bar over all characters of a job.

    The time left is estimated from the characters spoken in this run; pieces that were finished
    earlier do not count.
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
        """Advance by a finished piece."""
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
