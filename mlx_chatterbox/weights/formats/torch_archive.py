"""The zip file that `torch.save` writes, whose records are not compressed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from mlx_chatterbox.checks.plain import named

from .pickle_machine import Refused

_PIECE = 2**20


class TorchArchive:
    """The zip file; the last record read stays in memory, as several tensors may share it.

    Attributes:
        bytes: of all records.

    Raises:
        Refused: the file is not one that `torch.save` writes.
    """

    def __init__(self, path: Path):
        self._file = zipfile.ZipFile(path)
        infos = self._file.infolist()
        # Records that overlap, or whose stated sizes are too large.
        if sum(max(info.file_size, info.compress_size) for info in infos) > path.stat().st_size:
            if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
                raise Refused("something inside it is compressed, which torch.save never does")
            raise Refused("the sizes of its records add up to more than the file")
        self.bytes = sum(info.file_size for info in infos)
        names = [info.filename for info in infos if info.filename.endswith("/data.pkl")]
        if len(names) != 1 or names[0].count("/") != 1:
            raise Refused("it is a zip file, but not one written by torch.save")
        self._prefix = names[0].removesuffix("data.pkl")
        self._last: tuple[str, np.ndarray] | None = None
        order = self._prefix + "byteorder"
        if (
            any(info.filename == order for info in infos)
            and self.open("byteorder", 16).read() != b"little"
        ):
            raise Refused("its numbers are stored big-endian")

    def size(self, name: str) -> int:
        """Return the bytes of a record; a compressed one is refused, as torch.save makes none."""
        info = self._file.getinfo(self._prefix + name)
        if info.compress_type != zipfile.ZIP_STORED:
            raise Refused(f"{named(name)} inside it is compressed")
        return info.file_size

    def open(self, name: str, limit: int):
        """Open a record of at most `limit` bytes to read from."""
        if self.size(name) > limit:
            raise Refused(f"{named(name)} inside it is too large")
        return self._file.open(self._prefix + name)

    def read(self, name: str, dtype: np.dtype) -> np.ndarray:
        """Read a whole record as an array (n,), and compare its checksum."""
        if self._last is not None and self._last[0] == name:
            return self._last[1]
        self._last = None  # its memory is given back before the next one is read
        values = np.empty(self.size(name) // dtype.itemsize, dtype)
        self.read_into(name, values)
        self._last = (name, values)
        return values

    def read_into(self, name: str, values: np.ndarray) -> None:
        """Read a whole record into an array (n,) of its type, and compare its checksum."""
        self._last = None
        place = values.data.cast("B")
        with self._file.open(self._prefix + name) as record:
            assert isinstance(record, zipfile.ZipExtFile)  # as everything opened to be read
            for start in range(0, len(place), _PIECE):
                piece = place[start : start + _PIECE]
                if record.readinto(piece) != len(piece):
                    raise Refused(f"{named(name)} is cut short")

    def close(self) -> None:
        self._last = None
        self._file.close()
