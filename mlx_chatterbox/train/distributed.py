"""Data-parallel training: each machine computes a part of the global batch; the parts are summed.

MLX's `mx.distributed` does the work (`mlx.launch --hostfile hosts.json -- python -m
mlx_chatterbox.train ...`); without `mlx.launch` there is a single machine and the functions here
change nothing. The summands are divided by the denominators of the whole batch and never averaged,
so that it does not matter how a batch is divided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import mlx.core as mx
import numpy as np

from ..errors import ChatterboxError

# Gradients are sent in messages of about this many numbers: one message for each of thousands of
# small tensors would cost thousands of latencies.
PARCEL = 8 * 2**20
_NUMBERS = " numbers"
_Item = TypeVar("_Item")


class DistributedError(ChatterboxError):
    """The machines cannot be reached, or do not agree on what they train."""


class Group:
    """The machines of a run.

    Attributes:
        rank, size: this machine's number, and how many there are.
    """

    def __init__(self, group: mx.distributed.Group | None = None):
        self._group = group
        self.rank = 0 if group is None else group.rank()
        self.size = 1 if group is None else group.size()

    @classmethod
    def start(cls) -> Group:
        """Join the group that `mlx.launch` made; without it, this machine alone.

        Raises:
            DistributedError: this build of MLX lacks the backend that is asked for, or the others
                do not answer.
        """
        if not mx.distributed.is_available():
            return cls()
        try:
            group = mx.distributed.init()
        except (RuntimeError, ValueError) as error:
            raise DistributedError(f"the other machines cannot be reached: {error}") from None
        return cls(group if group.size() > 1 else None)

    @property
    def is_first(self) -> bool:
        """True on the machine that writes files, checkpoints and to the terminal."""
        return self.rank == 0

    def share(self, indices: Sequence[_Item]) -> list[_Item]:
        """Return this machine's part of a global batch."""
        return list(indices[self.rank :: self.size])

    def sum_arrays(self, arrays: Mapping[str, mx.array]) -> dict[str, mx.array]:
        """Sum arrays over all machines, by name; names and shapes must be the same on all.

        They are concatenated by type and sent in a fixed order.
        """
        if self._group is None:
            return dict(arrays)
        summed: dict[str, mx.array] = {}
        for names in _parcels(arrays):
            flat = mx.concatenate([arrays[name].reshape(-1) for name in names])
            total = mx.distributed.all_sum(flat, group=self._group)
            # One message after another: their order must be the same on all machines.
            mx.eval(total)
            ends = np.cumsum([arrays[name].size for name in names])[:-1].tolist()
            for name, piece in zip(names, mx.split(total, ends), strict=True):
                summed[name] = piece.reshape(arrays[name].shape)
        return summed

    def sum_numbers(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Sum numbers over all machines, by name; the names must be the same on all."""
        return self.sum_both({}, numbers)[1]

    def sum_both(
        self, arrays: Mapping[str, mx.array], numbers: Mapping[str, float]
    ) -> tuple[dict[str, mx.array], dict[str, float]]:
        """Sum arrays and numbers as above, in one message unless they are too many."""
        if self._group is None or not numbers:
            return self.sum_arrays(arrays), dict(numbers)
        names = sorted(numbers)
        # Two float32 are exact enough for counts and sums, and every device has them.
        values = np.array([numbers[name] for name in names], dtype=np.float64)
        high = values.astype(np.float32)
        low = np.where(np.isfinite(high), values - high, 0).astype(np.float32)
        summed = self.sum_arrays({**arrays, _NUMBERS: mx.array(np.stack([high, low]))})
        totals = np.array(summed.pop(_NUMBERS), dtype=np.float64).sum(axis=0)
        return summed, dict(zip(names, totals.tolist(), strict=True))

    def from_first(self, arrays: Mapping[str, mx.array]) -> dict[str, mx.array]:
        """Return the first machine's arrays on all machines; the others add zeros."""
        if self._group is not None and not self.is_first:
            arrays = {name: mx.zeros_like(array) for name, array in arrays.items()}
        return self.sum_arrays(arrays)

    def bytes_from_first(self, data: bytes) -> bytes:
        """Return the first machine's bytes on all machines."""
        if self._group is None:
            return data
        length = int(self.sum_numbers({"length": len(data) if self.is_first else 0})["length"])
        if not length:
            return b""
        values = np.frombuffer(data, dtype=np.uint8) if self.is_first else np.zeros(length)
        sent = self.sum_arrays({"bytes": mx.array(values.astype(np.int32))})["bytes"]
        return np.array(sent).astype(np.uint8).tobytes()

    def wait(self) -> None:
        """Wait until all machines have come here."""
        self.sum_numbers({"here": 1.0})

    def check_same(self, what: str, digest: bytes) -> None:
        """Raise DistributedError unless `digest` is the same on all machines."""
        wrong = float(self.bytes_from_first(digest) != digest)
        if self.sum_numbers({"wrong": wrong})["wrong"]:
            raise DistributedError(f"the machines differ in {what}: they must have the same.")


def _parcels(arrays: Mapping[str, mx.array]) -> Iterator[list[str]]:
    """Yield lists of names of arrays of one type, together about `PARCEL` numbers."""
    by_type: dict[str, list[str]] = {}
    for name in sorted(arrays):
        by_type.setdefault(str(arrays[name].dtype), []).append(name)
    for names in by_type.values():
        parcel: list[str] = []
        size = 0
        for name in names:
            if parcel and size + arrays[name].size > PARCEL:
                yield parcel
                parcel, size = [], 0
            parcel.append(name)
            size += arrays[name].size
        if parcel:
            yield parcel
