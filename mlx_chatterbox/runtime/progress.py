"""Progress bars."""

from __future__ import annotations


class Bars:
    """Progress bars on a terminal, nothing in a pipe."""

    def __init__(self):
        self._bar = None
        self._what = None

    def __call__(self, what: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if what != self._what:
            self.close()
            self._what = what
            self._bar = tqdm(total=total, desc=what, disable=None, leave=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = self._what = None
