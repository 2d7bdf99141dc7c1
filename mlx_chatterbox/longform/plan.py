"""The plan of a document: pieces of text in order, with pauses, chapters and times."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import TextError

if TYPE_CHECKING:
    from ..models.config import CheckpointConfig

# The longest text that a variant speaks well in one call, in Latin characters, some 15 a second.
# English, Multilingual and Flash can generate 1000 tokens, 40 s, but were trained on utterances of
# seconds, lose more words the longer a text is, and S3Gen's attention is quadratic: half of that.
# Turbo garbles texts over about 350 characters, and Nano, which is smaller, takes less still.
# ChatTTS writes at most 44 s, and less when it laughs and pauses.
LONGEST = MappingProxyType(
    {
        "english": 280,
        "multilingual": 280,
        "multilingual-v2": 280,
        "turbo": 240,
        "nano": 200,
        "flash": 280,
        "chattts": 200,
    }
)

# Most pieces of a document; all of Shakespeare has 30,000.
MAX_PIECES = 500_000


def checked_count(count: int) -> int:
    """Check the number of pieces so far, and return it.

    Raises:
        TextError: it is over `MAX_PIECES`.
    """
    if count > MAX_PIECES:
        raise TextError(
            f"the text has more than {MAX_PIECES} pieces to speak: split it into files."
        )
    return count


@dataclass(frozen=True)
class Piece:
    """A text that is spoken in one call, and the pause after it.

    Attributes:
        text: the text; "" for a pause alone.
        pause: seconds of silence after it.
        chapter: title of the chapter (heading) that begins here.
        start, end: of a subtitle, the times in the output between which it should be spoken, s.
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
        title, author: if the file names them.
        cover: a JPEG or PNG file's bytes; None without one.
        remarks: lines on parts of the file that are not spoken or had to be guessed.
        chapters: numbers of the chapters that were chosen (`chapters.choose`); () for all.
        whole: the document that they were chosen from.
        places: the index of each piece in the whole.
    """

    title: str | None = None
    author: str | None = None
    pieces: list[Piece] = field(default_factory=list)
    cover: bytes | None = None
    remarks: tuple[str, ...] = ()
    chapters: tuple[int, ...] = ()
    whole: Document | None = None
    places: tuple[int, ...] = ()


def longest_of(config: CheckpointConfig) -> int:
    """Most characters of a piece for a checkpoint: its own `longest_piece`, else its variant's."""
    generation = getattr(config, "generation", None)  # ChatTTS has none
    own = None if generation is None else generation.longest_piece
    return own or LONGEST.get(config.variant, LONGEST["english"])
