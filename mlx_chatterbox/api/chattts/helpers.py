"""Upstream's helpers `chat.speaker` and `chat.tokenizer`, as scripts use them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...text.chattts.prompts import refining_prompt, speech_prompt
from ...text.chattts.tokenizer import ChatTTSTokenizer
from ...voices.chattts.random_speaker import SpeakerStatistics, random_speaker
from ...voices.chattts.strings import decode_codes, encode_codes, encode_speaker


class SpeakerHelper:
    """`chat.speaker`.

    Attributes:
        statistics: of the model's speakers; None: random speakers cannot be drawn.
    """

    def __init__(self, statistics: SpeakerStatistics | None = None):
        self.statistics = statistics

    def sample_random(self, seed: int | None = None) -> str:
        """Draw a speaker, and write it as a string; see `Chat.sample_random_speaker`."""
        return encode_speaker(random_speaker(self.statistics, seed))

    @staticmethod
    def decorate_code_prompts(
        text: Sequence[str],
        prompt: str,
        txt_smp: str | None = None,
        spk_emb: str | None = None,
    ) -> list[str]:
        """Write the prompts by which texts are spoken."""
        return [speech_prompt(one, prompt, spk_emb is not None, txt_smp) for one in text]

    @staticmethod
    def decorate_text_prompts(text: Sequence[str], prompt: str) -> list[str]:
        """Write the prompts by which texts are refined."""
        return [refining_prompt(one, prompt) for one in text]

    @staticmethod
    def encode_prompt(prompt) -> str:
        """Write codes, (4, steps), as an audio-prompt string."""
        return encode_codes(np.asarray(prompt))

    @staticmethod
    def decode_prompt(prompt: str) -> np.ndarray:
        """Read codes, (4, steps) int32, from an audio-prompt string."""
        return decode_codes(prompt)


class TokenizerHelper:
    """`chat.tokenizer`.

    Attributes:
        len: number of tokens.
        spk_emb_ids: id of the token that a speaker's vector replaces.
        break_0_ids: first id that a refined text does not keep.
        eos_token: id of the token that ends a refined text.
    """

    def __init__(self, tokenizer: ChatTTSTokenizer):
        self._tokenizer = tokenizer
        self.len = len(tokenizer)
        self.spk_emb_ids = tokenizer.speaker_id
        self.break_0_ids = tokenizer.first_manner_id
        self.eos_token = tokenizer.end_id

    def encode(
        self, text: Sequence[str], num_vq: int = 4, prompt=None, device=None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Encode prompts into one batch, padded on the left.

        Args:
            prompt: codes of an audio prompt, (num_vq, steps), which follow every text.
            device: has no effect.

        Returns:
            ids (B, T, num_vq) int32, attention mask and text mask (B, T) bool.
        """
        batch = self._tokenizer.batch(text, prompt, num_vq)
        return batch.input_ids, batch.attention_mask, batch.text_mask

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """The texts of token ids."""
        return [self._tokenizer.decode(np.asarray(ids).reshape(-1).tolist()) for ids in sequences]
