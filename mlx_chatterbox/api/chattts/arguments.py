"""The arguments of a call of `Chat`, and the request that is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ...audio.stretch import checked_speed
from ...checks.plain import shown
from ...errors import SettingError, TextError, errors_about
from ...models.chattts.config import ChatTTSConfig
from ...runtime.progress import Bars
from ...runtime.seeds import piece_seeds, random_key
from ...synthesis.chattts.request import ChatTTSPiece, ChatTTSRequest
from ...synthesis.request import Progress, check_flag, check_whole
from ...text.chattts.normalize import ChatTTSNormalizer
from ...text.chattts.prompts import MAX_SPLIT_BATCH, split_text
from ...text.checked_text import checked_text, described
from ...text.respelling import Respelling
from ...watermark.weights import is_wanted
from .parameters import InferCodeParams, RefineTextParams

# Rows of the engine at a time, where the caller sets no number of pieces.
MOST_TOGETHER = 16


@dataclass
class CallArguments:
    """Arguments of every way to speak, with upstream's names and defaults where it has them.

    Attributes:
        lang: "zh" or "en", for normalising; None: by the characters of each piece.
        skip_refine_text: True speaks the text as it is.
        use_decoder: True makes sound of hidden states, False of codes.
        do_text_normalization, do_homophone_replacement: see `ChatTTSNormalizer`.
        split_text: True splits a text into pieces (`text/chattts/prompts.py`).
        max_split_batch: most pieces that are written at a time.
        params_refine_text, params_infer_code: None: the defaults.
        seed: for both modes, where their `manual_seed` is None.
        watermark: False leaves out the mark that identifies the speech as made by a machine.
        speed: factor of the tempo, 0.5 to 2.
        progress: callback(stage, done, total) with "refine" or "tokens", instead of bars.
        invariant: True makes the codes of a piece the same to the bit in any company, on every
            device, even where that is slower.
        respelling: words and how to write them so that they are pronounced right.
    """

    lang: str | None = None
    skip_refine_text: bool = False
    use_decoder: bool = True
    do_text_normalization: bool = True
    do_homophone_replacement: bool = True
    split_text: bool = True
    max_split_batch: int = MAX_SPLIT_BATCH
    params_refine_text: RefineTextParams = field(default_factory=RefineTextParams)
    params_infer_code: InferCodeParams = field(default_factory=InferCodeParams)
    seed: int | None = None
    watermark: bool | None = None
    speed: float | None = None
    progress: Progress | None = None
    invariant: bool = False
    respelling: Respelling | None = None

    def __post_init__(self):
        if self.params_refine_text is None:
            self.params_refine_text = RefineTextParams()
        if self.params_infer_code is None:
            self.params_infer_code = InferCodeParams()
        if not isinstance(self.params_refine_text, RefineTextParams):
            raise SettingError(
                "params_refine_text must be Chat.RefineTextParams(...); got "
                f"{described(self.params_refine_text)}."
            )
        if not isinstance(self.params_infer_code, InferCodeParams):
            raise SettingError(
                "params_infer_code must be Chat.InferCodeParams(...); got "
                f"{described(self.params_infer_code)}."
            )
        flags = ("skip_refine_text", "use_decoder", "do_text_normalization")
        for name in (*flags, "do_homophone_replacement", "split_text", "watermark"):
            check_flag(name, getattr(self, name))
        if self.lang is not None and not isinstance(self.lang, str):
            raise SettingError(f"lang must be 'zh', 'en' or None; got {described(self.lang)}.")
        for seed in (self.seed, self.refining_seed, self.speaking_seed):
            check_whole("seed", seed)
            random_key(seed)

    @property
    def refining_seed(self) -> int | None:
        own = self.params_refine_text.manual_seed
        return self.seed if own is None else own

    @property
    def speaking_seed(self) -> int | None:
        own = self.params_infer_code.manual_seed
        return self.seed if own is None else own

    def progress_callback(self) -> Progress | None:
        """The caller's, or bars for the modes that are to have one."""
        shows = {
            "refine": self.params_refine_text.show_tqdm,
            "tokens": self.params_infer_code.show_tqdm,
        }
        if self.progress is not None or not any(shows.values()):
            return self.progress
        bars = Bars()

        def show(stage: str, done: int, total: int) -> None:
            if shows[stage]:
                bars(stage, done, total)

        return show


def texts_of(text: str | Sequence[str]) -> list[str]:
    """The texts of a call, checked; none of a blank one, or of none.

    Raises:
        TextError: neither a text nor a list of texts.
    """
    if isinstance(text, str):
        listed = [checked_text(text)]
    elif isinstance(text, Iterable) and not isinstance(text, (bytes, dict)):
        listed = [checked_text(one, f"text {i}") for i, one in enumerate(text, start=1)]
    else:
        raise TextError(f"text must be a str or a list of them; got {described(text)}.")
    return listed if any(one.strip() for one in listed) else []


def pieces_by_text(texts: Sequence[str], splits: bool) -> list[list[str]]:
    """The pieces of each text by itself."""
    return [split_text(one) if splits else [one] for one in texts]


def request_of(
    texts: Sequence[Sequence[str]],
    arguments: CallArguments,
    normalizer: ChatTTSNormalizer,
    config: ChatTTSConfig,
    refines_only: bool = False,
) -> ChatTTSRequest:
    """Normalise texts that are split into pieces, and make a request of them.

    Raises:
        TextError: nothing that can be spoken is left of them.
        SettingError: a parameter outside its range.
    """
    refining = None if arguments.skip_refine_text else arguments.params_refine_text.mode_settings()
    if refines_only and refining is None:
        refining = arguments.params_refine_text.mode_settings()
    speaking = None if refines_only else arguments.params_infer_code.mode_settings()
    sizes = [len(pieces) for pieces in texts]
    refining_seeds = _seeds(arguments.refining_seed, sizes)
    speaking_seeds = _seeds(arguments.speaking_seed, sizes)
    count = sum(sizes)
    made: list[tuple[ChatTTSPiece, ...]] = []
    for pieces, first, second in zip(texts, refining_seeds, speaking_seeds, strict=True):
        of_text: list[ChatTTSPiece] = []
        for text, refining_seed, seed in zip(pieces, first, second, strict=True):
            number = sum(map(len, made)) + len(of_text) + 1
            with errors_about(f"piece {number}" if count > 1 else ""):
                if arguments.respelling is not None:
                    text = arguments.respelling(text)
                normal = normalizer(
                    text,
                    arguments.do_text_normalization,
                    arguments.do_homophone_replacement,
                    arguments.lang,
                )
            kept = normal.text if any(map(str.isalnum, normal.text)) else ""
            of_text.append(ChatTTSPiece(kept, refining_seed, seed, normal.left_out))
        made.append(tuple(of_text))
    if not any(piece.text for pieces in made for piece in pieces):
        raise TextError("there is nothing to speak: ChatTTS knows no letter of the text.")
    together = arguments.max_split_batch if arguments.split_text else min(count, MOST_TOGETHER)
    return ChatTTSRequest(
        texts=tuple(made),
        refining=refining,
        speaking=speaking,
        voices=(arguments.params_infer_code.voice(config.gpt.hidden_size),) * len(texts),
        speeds=(checked_speed(arguments.speed),) * len(texts),
        makes_sample=arguments.split_text,
        uses_hidden=bool(arguments.use_decoder),
        together=together,
        invariant=arguments.invariant,
        watermark=not refines_only and is_wanted(arguments.watermark, True),
        progress=arguments.progress_callback(),
    )


def _seeds(seed: int | None, sizes: Sequence[int]) -> list[list[int]]:
    """Seeds of the pieces of each text: text i has the seed plus i."""
    return [
        piece_seeds(None if seed is None else (seed + i) % 2**64, size)
        for i, size in enumerate(sizes)
    ]


def check_lookahead(lookahead: object) -> None:
    """Raise SettingError unless it is a whole number from 0."""
    check_whole("lookahead", lookahead)
    if not isinstance(lookahead, int) or lookahead < 0:
        raise SettingError(f"lookahead must be 0 steps or more; got {shown(lookahead)}.")
