"""What is to be spoken: pieces of text in order, with the silence after each, chapters, times."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import TextError

if TYPE_CHECKING:
    from ..models.config import ModelConfig

# Characters of Latin script that a variant says best in one breath; some 15 are a second. English
# and Multilingual may write 1000 tokens, 40 s, but were trained on utterances of seconds, lose
# words more often the longer a text is, and S3Gen's attention costs the square of it: half of that.
# Turbo garbles past about 350 characters, and Nano, which is smaller, has less room still.
LONGEST = MappingProxyType(
    {"english": 280, "multilingual": 280, "multilingual-v2": 280, "turbo": 240, "nano": 200}
)


# Of a document; all of Shakespeare has 30,000.
MAX_PIECES = 500_000


def checked_count(count: int) -> int:
    """A number of pieces so far.

    Raises:
        TextError: no document has so many.
    """
    if count > MAX_PIECES:
        raise TextError(f"the text has more than {MAX_PIECES} pieces to speak: cut it into parts.")
    return count


@dataclass(frozen=True)
class Piece:
    """One breath.

    Attributes:
        text: what is spoken; "" for a pause alone.
        pause: seconds of silence after it.
        chapter: title of the chapter (heading) that begins here.
        start: s; SRT: where it is to begin in the output.
        end: s; SRT: where it is to have ended.
    """

    text: str
    pause: float = 0.0
    chapter: str | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Document:
    """A file to be spoken.

    Attributes:
        title, author: where the file says them.
        cover: a JPEG or PNG file's bytes; None without one.
        remarks: what of the file is not spoken, or was understood with an effort; each a line for
            people.
        chapters: numbers of its chapters that were chosen (`chapters.choose`); () for all.
        whole: the document that they were chosen from.
        places: of each piece, its index in the whole.
    """

    title: str | None = None
    author: str | None = None
    pieces: list[Piece] = field(default_factory=list)
    cover: bytes | None = None
    remarks: tuple[str, ...] = ()
    chapters: tuple[int, ...] = ()
    whole: Document | None = None
    places: tuple[int, ...] = ()


def longest_of(config: ModelConfig) -> int:
    """Characters of a piece for a checkpoint: its own `longest_piece`, else its variant's."""
    return config.generation.longest_piece or LONGEST.get(config.variant, LONGEST["english"])
