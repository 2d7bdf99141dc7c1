"""ChatTTS's tokenizer: BERT's word pieces, and tokens in brackets of its own.

The model reads batches from the left-padded end: all rows end together, so that each goes on from
the last column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...checks.tokenizer_file import check_tokenizer_file, tokenizer_call
from ...errors import CheckpointError, SettingError
from .special_tokens import (
    BEGIN_CODES,
    BEGIN_REFINING,
    BEGIN_SPEECH,
    END_OF_RAW,
    END_OF_REFINED,
    FIRST_MANNER,
    IN_TEXT,
    NO_SPEAKER,
    SPEAKER,
)

PAD_ID = 0
UNKNOWN = "[UNK]"
_NEEDED = (
    *(BEGIN_REFINING, END_OF_RAW, END_OF_REFINED, BEGIN_SPEECH, BEGIN_CODES),
    *(SPEAKER, NO_SPEAKER, FIRST_MANNER, UNKNOWN),
)
# Spaces that joined tokens have and English does not: before marks, and within contractions.
_CLEANUP = (
    *((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't")),
    *((" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")),
)


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """Prompts as the GPT reads them, padded on the left.

    Attributes:
        input_ids: (B, T, C) int32; a text token's id stands in all C channels, a code of each
            codebook in its own.
        attention_mask: (B, T) bool, false where a row is padded.
        text_mask: (B, T) bool, true where there is a text token.
    """

    input_ids: np.ndarray
    attention_mask: np.ndarray
    text_mask: np.ndarray


class ChatTTSTokenizer:
    """The vocabulary in upstream's `asset/tokenizer/tokenizer.json`.

    Attributes:
        speaker_id: of the token whose embedding the speaker's vector replaces.
        end_id: of the token that ends refined text.
        first_manner_id: ids from here on are not part of a refined text.
    """

    def __init__(self, path: str | Path):
        """Read the vocabulary.

        Raises:
            CheckpointError: the file is missing, damaged, or lacks a token of the prompts.
        """
        from tokenizers import Tokenizer, decoders

        if not Path(path).is_file():
            raise CheckpointError(f"{path} is missing: the checkpoint has no tokenizer.")
        check_tokenizer_file(path)

        def damaged(why: str) -> CheckpointError:
            return CheckpointError(f"{path} is not a tokenizer: {why}.")

        self._tokenizer = tokenizer_call(lambda: Tokenizer.from_file(str(path)), damaged)
        ids: dict[str, int] = {}
        for token in _NEEDED:
            id_ = self._tokenizer.token_to_id(token)
            if id_ is None:
                raise CheckpointError(f"{path} has no {token} token: another model's tokenizer?")
            ids[token] = id_
        # The file cuts texts to 256 tokens, and pads batches on the right.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
        self.speaker_id, self.end_id = ids[SPEAKER], ids[END_OF_REFINED]
        self.first_manner_id, self._unknown = ids[FIRST_MANNER], ids[UNKNOWN]

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def has_token(self, text: str) -> bool:
        """Return True where a text is one token of the vocabulary, such as "[laugh]"."""
        return self._tokenizer.token_to_id(text) is not None

    def may_stand_in_text(self, token: str) -> bool:
        """Return True for a sound or a manner of the vocabulary; not for a mark of prompts."""
        return token in IN_TEXT and self.has_token(token)

    def encode(self, text: str) -> list[int]:
        """Token ids, without BERT's own marks of beginning and end."""
        return self._encoding(text).ids

    def unread(self, text: str) -> tuple[str, ...]:
        """Parts of a text that the vocabulary lacks, each once, in order."""
        encoding = self._encoding(text)
        pairs = zip(encoding.ids, encoding.offsets, strict=True)
        parts = (text[start:stop] for id_, (start, stop) in pairs if id_ == self._unknown)
        return tuple(dict.fromkeys(parts))

    def _encoding(self, text: str):
        return tokenizer_call(
            lambda: self._tokenizer.encode(text, add_special_tokens=False),
            lambda why: CheckpointError(f"the tokenizer fails, its file is damaged: {why}."),
        )

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; Chinese characters are spaced, which encoding ignores."""
        values = [int(id_) for id_ in ids]
        wrong = [id_ for id_ in values if not 0 <= id_ < len(self)]
        if wrong:
            raise SettingError(f"{wrong[0]} is no text token: there are {len(self)}.")
        text = tokenizer_call(
            lambda: self._tokenizer.decode(values, skip_special_tokens=False),
            lambda why: CheckpointError(f"the tokenizer fails, its file is damaged: {why}."),
        )
        for spaced, written in _CLEANUP:
            text = text.replace(spaced, written)
        return text

    def refined(self, ids: Sequence[int]) -> str:
        """The text of what the model wrote in refining, without the manners in it."""
        return self.decode([id_ for id_ in ids if id_ < self.first_manner_id])

    def batch(
        self, texts: Sequence[str], codes: np.ndarray | None = None, channels: int = 4
    ) -> PromptBatch:
        """Encode prompts into one batch.

        Args:
            codes: (C, P) the audio prompt, which follows every row's text; None: none.
            channels: number of codebooks.

        Raises:
            SettingError: the audio prompt has another number of codebooks.
        """
        return left_padded([self.encode(text) for text in texts], codes, channels)


def left_padded(
    rows: Sequence[Sequence[int]], codes: np.ndarray | None = None, channels: int = 4
) -> PromptBatch:
    """Put rows of text ids, and the audio prompt after each, into one batch.

    Args:
        codes, channels: see `ChatTTSTokenizer.batch`.

    Raises:
        SettingError: the audio prompt has another number of codebooks.
    """
    prompt = np.zeros((channels, 0), np.int32) if codes is None else np.asarray(codes)
    if prompt.ndim != 2 or prompt.shape[0] != channels:
        raise SettingError(
            f"the audio prompt has shape {prompt.shape}; it must be ({channels}, steps)."
        )
    longest = max(map(len, rows), default=0)
    length = longest + prompt.shape[1]
    ids = np.full((len(rows), length, channels), PAD_ID, np.int32)
    ids[:, longest:] = prompt.T
    attention = np.zeros((len(rows), length), bool)
    text = np.zeros_like(attention)
    for row, values in enumerate(rows):
        start = longest - len(values)
        ids[row, start:longest] = np.array(values, np.int32).reshape(-1, 1)
        attention[row, start:] = True
        text[row, start:longest] = True
    return PromptBatch(ids, attention, text)
