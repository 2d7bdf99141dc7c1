"""Writing of all pieces of a request on one engine: refined texts, then codes.

Each piece goes its own way: as soon as its text is refined it is written as codes, in whatever
company there is then. Only the audio prompt of a text must be there before its pieces begin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import TextError, errors_about
from ...models.chattts.config import ChatTTSConfig
from ...models.chattts.networks import ChatTTSNetworks
from ...models.chattts.requests import CodeRow, TextRow
from ...models.decoder.engine import DecodingEngine
from ...runtime.seeds import random_key
from ...text.chattts.prompts import refining_prompt, speech_prompt
from ...text.chattts.tokenizer import ChatTTSTokenizer
from ...text.unread import CutOffWarning
from ...voices.chattts.strings import normalised
from ...voices.chattts.voice import ChatTTSVoice
from ..retries import MAX_ATTEMPTS, attempt_seed
from .request import (
    ChatTTSPiece,
    ChatTTSRequest,
    ModeSettings,
    Say,
)
from .sound import StepSound

REFINING, SAMPLING, WAITING, SPEAKING, ENDED = (
    *("refining", "sampling", "waiting"),
    *("speaking", "ended"),
)


class PieceWriting:
    """One piece on its way.

    Attributes:
        text: that is spoken: refined, if it is refined.
        text_number: of the text that it belongs to, from 0.
        tries, seed: number of attempts at what is written now, and the latest one's seed.
        stopped: False if its text or its codes were cut off.
        unread: parts of it that the model does not know.
    """

    def __init__(self, piece: ChatTTSPiece, number: int, text_number: int, name: str):
        self.piece, self.number, self.text_number, self.name = piece, number, text_number, name
        self.text = piece.text
        self.stage = WAITING
        self.tries, self.seed = 1, piece.seed
        self.stopped = True
        self.unread = piece.left_out
        self.row: Any = None

    @property
    def is_ended(self) -> bool:
        return self.stage == ENDED

    @property
    def codes(self) -> list[tuple[int, ...]]:
        """Codes of the speech so far, a tuple a step."""
        return self.row.tokens if self._has_speech else []

    @property
    def hidden(self) -> list[np.ndarray]:
        """Hidden states of the same steps, (C,) float32 each."""
        return self.row.hidden if self._has_speech else []

    @property
    def _has_speech(self) -> bool:
        return self.row is not None and self.stage in (SPEAKING, ENDED)


class PieceWriter:
    """Writes the pieces of a request, step by step.

    Args:
        is_interrupted: asked before each step; a true answer ends all pieces as they are.
        say: called with what a user should know.
    """

    def __init__(
        self,
        config: ChatTTSConfig,
        networks: ChatTTSNetworks,
        tokenizer: ChatTTSTokenizer,
        request: ChatTTSRequest,
        is_interrupted: Callable[[], bool] = lambda: False,
        say: Say = lambda _: None,
    ):
        self._config, self._networks, self._tokenizer = config, networks, tokenizer
        self._request, self._is_interrupted, self._say = request, is_interrupted, say
        mode = "invariant" if request.invariant else "fast"
        self._engine = DecodingEngine(rows=request.together, mode=mode, prefills=None)
        self.sound = StepSound(networks, request.uses_hidden)
        self._voices = list(request.voices)
        numbered = list(request.pieces())
        self.pieces = [
            PieceWriting(piece, i, text, f"piece {i + 1}" if len(numbered) > 1 else "")
            for i, (text, piece) in enumerate(numbered)
        ]
        for one in self.pieces:
            self._begin(one)

    def of_text(self, number: int) -> list[PieceWriting]:
        """The pieces of a text, from 0."""
        return [one for one in self.pieces if one.text_number == number]

    def steps_of(self, one: PieceWriting) -> list:
        """A piece's steps so far, as `sound` takes them."""
        return one.hidden if self._request.uses_hidden else one.codes

    @property
    def is_over(self) -> bool:
        return all(one.is_ended for one in self.pieces)

    def run(self, then: Callable[[PieceWriting], None]) -> None:
        """Write all, and call `then` with each piece as it ends."""
        reported: set[int] = set()
        while True:
            for one in self.pieces:
                if one.is_ended and one.number not in reported:
                    reported.add(one.number)
                    then(one)
            if self.is_over:
                return
            self.step()

    def step(self) -> None:
        """Let every row make a step.

        Raises:
            CheckpointError, TextError: see `DecodingEngine`; all pieces have ended then.
        """
        if self._is_interrupted():
            self.stop()
            return
        try:
            written = [row for row, _ in self._engine.step()]
            self._report(written)
            for one in self.pieces:
                if one.row is not None and not one.is_ended and one.row.state == "ended":
                    with errors_about(one.name):
                        self._row_ended(one)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all pieces as they are."""
        for one in self.pieces:
            if one.is_ended:
                continue
            if one.row is not None:
                self._engine.leave(one.row)
            if one.stage == REFINING:
                one.text = self._tokenizer.refined(one.row.tokens)
            if one.stage not in (SAMPLING, SPEAKING):
                one.row = None
            one.stage, one.stopped = ENDED, False

    # --- The way of a piece ------------------------------------------------------------------

    def _begin(self, one: PieceWriting) -> None:
        if not one.text.strip():
            one.stage = ENDED
        elif self._request.refining is not None:
            self._refine(one, self._request.refining, one.piece.refining_seed)
        else:
            self._has_text(one)

    def _refine(self, one: PieceWriting, settings: ModeSettings, seed: int) -> None:
        one.stage, one.seed = REFINING, seed
        with errors_about(one.name):
            ids = self._tokenizer.encode(refining_prompt(one.piece.text, settings.prompt))
            one.row = self._engine.join(
                TextRow(
                    self._networks,
                    np.array(ids, np.int32),
                    sampling=self._sampling(settings, one.tries),
                    max_new_tokens=self._room(len(ids), settings.max_new_tokens, one),
                    key=random_key(seed),
                )
            )

    def _row_ended(self, one: PieceWriting) -> None:
        row, request = one.row, self._request
        if row.error is not None:
            raise row.error
        settings = request.refining if one.stage == REFINING else request.speaking
        assert settings is not None  # or there were no such row
        if not row.tokens and settings.ensure_non_empty and one.tries <= MAX_ATTEMPTS:
            first = one.piece.refining_seed if one.stage == REFINING else one.piece.seed
            again = attempt_seed(first, one.tries)
            one.tries += 1
            if one.stage == REFINING:
                self._refine(one, settings, again)
            else:
                self._speak(one, one.stage, again)
        elif one.stage == REFINING:
            self._take_refined(one)
        elif one.stage == SAMPLING:
            self._take_sample(one)
        else:
            self._end(one)

    def _take_refined(self, one: PieceWriting) -> None:
        row = one.row
        if row.end == "limit":
            self._say(
                f"{_prefix(one)}the refined text was not finished within {len(row.tokens)} tokens, "
                "and is cut off (params_refine_text.max_new_token)."
            )
        refined = self._tokenizer.refined(row.tokens)
        if refined.strip():
            one.text = refined
        elif self._request.speaking is not None:
            self._say(f"{_prefix(one)}the refined text is empty: the text is spoken as it was.")
        else:
            one.text = ""
        one.row = None
        self._has_text(one)

    def _has_text(self, one: PieceWriting) -> None:
        """Go on with a piece whose text is final."""
        one.tries = 1
        if self._request.speaking is None:
            one.stage = ENDED
            return
        siblings = [each for each in self.of_text(one.text_number) if each.piece.text.strip()]
        if not self._needs_sample(siblings):
            self._speak(one, SPEAKING, one.piece.seed)
        elif one is siblings[0]:
            self._speak(one, SAMPLING, one.piece.seed)
        else:
            one.stage = WAITING

    def _needs_sample(self, siblings: list[PieceWriting]) -> bool:
        if not self._request.makes_sample or len(siblings) < 2:
            return False
        has_one = self._request.voices[siblings[0].text_number].codes is not None
        return not has_one and siblings[0].stage not in (SPEAKING, ENDED)

    def _take_sample(self, one: PieceWriting) -> None:
        """Make the first piece of a text the audio prompt of all."""
        steps = one.row.hidden if self._request.uses_hidden else one.row.tokens
        if steps:
            codes = self.sound.codes_of(self.sound(steps))
            voice = replace(self._voices[one.text_number], codes=codes, text=one.text)
            self._voices[one.text_number] = voice
        else:
            self._say(f"{_prefix(one)}it is empty, so the pieces after it have no audio prompt.")
        one.tries = 1
        # First of all: a piece that waits asks whether it has begun.
        self._speak(one, SPEAKING, one.piece.seed)
        for each in self.of_text(one.text_number):
            if each.stage == WAITING:
                self._speak(each, SPEAKING, each.piece.seed)

    def _speak(self, one: PieceWriting, stage: str, seed: int) -> None:
        settings = self._request.speaking
        assert settings is not None
        one.stage, one.seed = stage, seed
        voice: ChatTTSVoice = self._voices[one.text_number]
        text = speech_prompt(one.text, settings.prompt, voice.speaker is not None, voice.text)
        with errors_about(one.name):
            prompt = self._tokenizer.batch([text], voice.codes, self._config.gpt.num_vq)
            one.unread = tuple(dict.fromkeys([*one.unread, *self._tokenizer.unread(one.text)]))
            ids = prompt.input_ids[0]
            one.row = self._engine.join(
                CodeRow(
                    self._networks,
                    ids,
                    prompt.text_mask[0],
                    None if voice.speaker is None else normalised(voice.speaker),
                    sampling=self._sampling(settings, one.tries),
                    max_new_tokens=self._room(len(ids), settings.max_new_tokens, one),
                    key=random_key(seed),
                )
            )

    def _end(self, one: PieceWriting) -> None:
        one.stage = ENDED
        if one.row.end == "limit":
            one.stopped = False
            self._say(
                CutOffWarning(
                    f"{_prefix(one)}the speech was not finished within {len(one.row.tokens)} "
                    "steps: it may be cut off (max_new_token)."
                )
            )
        elif not one.row.tokens:
            one.stopped = False
            self._say(f"{_prefix(one)}the model ended the speech at once: it is empty.")

    def _sampling(self, settings: ModeSettings, attempt: int):
        """The settings of an attempt, from 1; the last may not end at once."""
        sampling = settings.sampling
        if settings.ensure_non_empty and attempt > MAX_ATTEMPTS:
            return replace(sampling, min_new_tokens=max(1, sampling.min_new_tokens))
        return sampling

    def _room(self, prompt: int, wanted: int, one: PieceWriting) -> int:
        """The number of tokens that may be written after a prompt, and a word where it is less.

        Raises:
            TextError: there is no room at all.
        """
        positions = self._config.gpt.max_position_embeddings
        room = positions - prompt
        if room < 1:
            raise TextError(
                f"the text and its prompt have {prompt} tokens; the model has {positions} "
                "positions for them and for its speech: split it."
            )
        if room < wanted and one.tries == 1:
            self._say(
                f"{_prefix(one)}at most {room} tokens can be written instead of {wanted}: the "
                f"prompt has {prompt}, and the model {positions} positions."
            )
        return min(room, wanted)

    def _report(self, written: list) -> None:
        progress = self._request.progress
        if progress is None or not written:
            return
        speaking = {id(one.row) for one in self.pieces if one.stage in (SPEAKING, SAMPLING)}
        rows = [row for row in written if id(row) in speaking]
        lengths = [(len(row.tokens), row.request.max_new_tokens) for row in rows or written]
        progress("tokens" if rows else "refine", *max(lengths))


def _prefix(one: PieceWriting) -> str:
    return f"{one.name}: " if one.name else ""
