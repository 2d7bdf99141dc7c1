"""Progress bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


class Bars:
    """Progress bars on a terminal, nothing in a pipe: a callback(stage, done, total)."""

    def __init__(self):
        self._bar: tqdm | None = None
        self._stage: str | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        from tqdm import tqdm

        bar = self._bar
        if bar is None or stage != self._stage:
            self.close()
            bar = tqdm(total=total, desc=stage, disable=None, leave=False)
            self._bar, self._stage = bar, stage
        bar.update(done - bar.n)
        if done >= total:
            self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = self._stage = None
