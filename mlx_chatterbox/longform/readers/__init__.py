"""Documents to speak."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ...errors import TextError
from ..plan import Piece, plan_text


@dataclass(frozen=True)
class Document:
    """What is to be spoken, in order."""

    title: str | None = None
    author: str | None = None
    pieces: list[Piece] = field(default_factory=list)


def read_document(path: str | Path, language: str = "en", longest: int = 300) -> Document:
    """Read a text file."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise TextError(f"{path} is no UTF-8 text: save it as UTF-8.") from None
    except OSError as error:
        raise TextError(f"{path} cannot be read: {error.strerror}.") from None
    return Document(title=path.stem, pieces=plan_text(text, language, longest))
