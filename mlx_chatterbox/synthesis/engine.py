"""From text and a voice to a waveform, the same way for every variant.

What differs between variants is data: the checkpoint's configuration says how text is prepared, in
which order tokens are filtered, what follows the last one. The public classes in `tts.py` add
upstream's signatures and nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import mlx.core as mx
import numpy as np

from ..audio.stretch import checked_speed
from ..checkpoint import Checkpoint, load
from ..checks.voices import check_voice
from ..devices import on_device
from ..errors import CheckpointError, SettingError
from ..models.t3.prefix import PrefixMemory
from ..models.t3.sampling import SamplingSettings
from ..nn.memory import clear_device_cache
from ..nn.parallel import choosing_alone
from ..seeds import piece_seeds
from ..text.given import checked_text, checked_texts, described
from ..text.pauses import Breath, breaths, without_pauses
from ..text.reading import Reading, read_text, without_mere_tags
from ..text.unread import UnreadWarning, merged, shortened
from ..text.unwritten import unwritten
from ..text.writing import Writing, writing_for
from ..voice import Voice, embed_voice, is_saved_voice
from ..watermark.weights import is_wanted
from .assembling import Joining
from .request import Batch, Default, Extras, Finished, check_number, check_whole
from .result import OfLastCall, set_before_any
from .retries import Utterance
from .synthesizer import Synthesis

# So many rows are written together: texts, or pieces of a long one, and, with guidance, as many
# again without text. Memory stays bounded, and a CPU gains nothing from more (`MOST_ROWS`).
ROWS_TOGETHER = 16


class Pipeline:
    """A loaded model with a voice.

    Attributes:
        sr: sample rate of what `generate` returns, 24000.
        conds: the voice in use, or None.
        last_tokens: speech tokens that are heard in what the last call returned; of a batch all
            texts'.
        limit, stopped: how many tokens the last call could write for a text, and whether all ended
            before.
        outcomes: how each piece of the last call came out, in the order of the texts.
        spans: where each piece stands in its text's waveform, (first sample, end), as `outcomes`.
            All five are those of the last call in this thread; in one that made none, of the last
            anywhere.
    """

    last_tokens = OfLastCall()
    limit = OfLastCall()
    stopped = OfLastCall()
    outcomes = OfLastCall()
    spans = OfLastCall()

    #: Kind of tokenizer (`TextConfig.tokenizer`) of the checkpoints that the class can use.
    tokenizer_kind: ClassVar[str]
    #: What `from_pretrained` loads without a name.
    default_model: ClassVar[str]

    def __init__(self, checkpoint: Checkpoint, device: str | None = None):
        kind = checkpoint.config.text.tokenizer
        if kind != self.tokenizer_kind:
            raise CheckpointError(
                f"{checkpoint.folder} is a {checkpoint.config.variant} model, which "
                f"{type(self).__name__} does not speak; see the README for its class."
            )
        self.checkpoint = checkpoint
        self.networks = checkpoint.networks
        self.tokenizer = checkpoint.tokenizer
        self.defaults = checkpoint.config.generation
        self.device = device
        self.sr = checkpoint.config.s3gen.sampling_rate
        self.conds: Voice | None = checkpoint.voice
        set_before_any(
            self,
            last_tokens=[],
            limit=self.defaults.max_new_tokens,
            stopped=True,
            outcomes=[],
            spans=[],
        )
        self._prefixes = PrefixMemory()
        # Arrays belong to the thread that made them until they are evaluated.
        mx.eval(checkpoint.networks.state, () if self.conds is None else vars(self.conds))

    @classmethod
    def _load(cls, model: str | Path | None, device: str | None, **settings):
        with on_device(device):
            return cls(load(model or cls.default_model, **settings), device)

    def prepare_conditionals(
        self,
        wav_fpath: str | Path | np.ndarray,
        exaggeration: float = Default(0.5),
        norm_loudness: bool = True,
    ) -> None:
        """Take the voice of a recording for what `generate` says from now on.

        Args:
            wav_fpath: a file of any format and rate (`audio.files`), or (n,) samples at 24 kHz;
                10 s are used.
            exaggeration: emotion; Turbo and Nano have none.
            norm_loudness: bring the recording to the loudness that Turbo and Nano want.

        Raises:
            AudioError: it cannot be read, is silent, or too short.
        """
        self.conds = self.voice_of(wav_fpath, exaggeration, norm_loudness)

    def voice_of(
        self,
        recording: str | Path | np.ndarray,
        exaggeration: float = Default(0.5),
        norm_loudness: bool = True,
    ) -> Voice:
        """The voice of a recording, or a saved voice, without taking it into use."""
        if isinstance(recording, (str, Path)) and is_saved_voice(recording):
            return Voice.load(recording)
        with on_device(self.device), choosing_alone():
            emotion = self._or_default("exaggeration", exaggeration)
            voice = embed_voice(self.networks, recording, self.defaults, emotion, norm_loudness)
            mx.eval(vars(voice))
            clear_device_cache()
            return voice

    def generate_batch(
        self,
        texts: Sequence[str],
        *arguments,
        seed: int | None = None,
        seeds: Sequence[int | None] | None = None,
        finished: Finished | None = None,
        unneeded: Collection[int] = (),
        **settings,
    ) -> list[np.ndarray]:
        """Speak several texts together, in one voice and with the same settings.

        T3 writes `batch_size` texts at once, which takes little longer than one of them; S3Gen
        then speaks one after the other, or, on two or three cores, two at a time. What a text
        becomes does not depend on the others: it is what `generate` makes of it with the same
        seed, up to rounding (see `decode_batch`); where a guard finds something wrong with one,
        that one alone is spoken again. Memory for T3's keys and values grows with the batch, by
        0.5 MB a token and text for the Llama models with guidance in float32, and no further with
        the number of texts.

        Args:
            texts: at least one.
            arguments, settings: as `generate`'s behind its text; `noise` and `source` are of one
                text and cannot be given. `batch_size` left out is 8 with guidance, else 16.
            seed: of the first text; text i is spoken with seed + i. None draws another for each.
            seeds: one for each text instead.
            finished: called with (number, waveform, outcomes) as soon as a text is final, marked
                too, while others are still spoken: in the thread that finished it, and perhaps in
                two threads at a time. What it raises ends the call. It must not speak itself.
            unneeded: numbers, from 0, of texts that need not be sounded: T3 writes them with the
                others, whose tokens are then the same to the bit, and nothing more comes of them.

        Returns:
            For each text (samples,) float32 at `sr`; of one that is not needed (0,).

        Raises:
            TextError, AudioError: as `generate`, before anything is spoken; for tokens without a
                sound, or samples that cannot be marked, when others may be finished.
            SettingError: also for no texts, for one string, not a seed a text, or an unneeded text
                that is none of them.
        """
        texts = checked_texts(texts)
        _check_of_batch(seed, seeds, finished)
        if seeds is None:
            seeds = [None if seed is None else seed + i for i in range(len(texts))]
        elif seed is not None or len(seeds) != len(texts):
            raise SettingError(f"{len(texts)} texts need a seed, or {len(texts)} seeds.")
        given = [name for name in ("noise", "source") if settings.get(name) is not None]
        if given:
            raise SettingError(f"{', '.join(given)}: of one text, which generate_batch has not.")
        if not set(unneeded) <= set(range(len(texts))):
            raise SettingError(f"unneeded: numbers from 0 to {len(texts) - 1}; got {unneeded}.")
        batch = Batch(tuple(texts), tuple(seeds), finished, frozenset(unneeded))
        return self.generate(batch, *arguments, **settings)

    def _or_default(self, name: str, value: float) -> float:
        return getattr(self.defaults, name) if isinstance(value, Default) else value

    def _settings(
        self, temperature, repetition_penalty, min_p, top_p, top_k: float = Default(0)
    ) -> SamplingSettings:
        """Sampling settings, the checkpoint's own where they were left out."""
        given = {
            "temperature": temperature,
            "repetition_penalty": repetition_penalty,
            "min_p": min_p,
            "top_p": top_p,
            "top_k": top_k,
        }
        values = {name: self._or_default(name, value) for name, value in given.items()}
        return SamplingSettings(**values, order=self.defaults.sampler_order)

    def _speak(
        self,
        text: str | Batch,
        settings: SamplingSettings,
        cfg_weight: float,
        exaggeration: float,
        audio_prompt_path: str | Path | np.ndarray | None,
        extras: Extras,
        language_id: str | None = None,
        norm_loudness: bool = True,
    ) -> np.ndarray | list[np.ndarray]:
        """Text to waveform, (samples,) float32; for a `Batch` one for each text."""
        batch = text if isinstance(text, Batch) else Batch((text,), (extras.seed,))
        check_number("cfg_weight", cfg_weight)
        at_once = self._at_once(extras.batch_size, cfg_weight)
        speed = checked_speed(extras.speed)
        said, left_out = self._said(batch.texts, language_id, extras)
        readings = self._readings(said, left_out, language_id)
        is_given = extras.noise is not None or extras.source is not None
        if len(readings) > len(said) and is_given:
            raise SettingError("noise and source are of one piece; this text is said in several.")
        marks = is_wanted(extras.watermark, self.defaults.watermark)
        self.limit = (
            self.defaults.max_new_tokens if extras.max_new_tokens is None else extras.max_new_tokens
        )
        joining = Joining(batch, said, self.sr, marks, speed)
        with on_device(self.device):
            utterances = _utterances(said, readings, batch.seeds, joining)
            voice = self._voice_for(extras.voice, audio_prompt_path, exaggeration, norm_loudness)
            past = self._prefixes.past_of(
                self.networks.t3, voice.speaker_embedding, voice.cond_prompt_tokens, voice.emotion
            )
            # Of one text the pieces share both cores, as a text in one piece does: to the last bit
            # a piece is what it is alone.
            is_shared = len(batch.texts) == 1
            synthesis = Synthesis(
                self.networks,
                self.checkpoint.config,
                voice,
                past,
                settings,
                cfg_weight,
                self.limit,
                extras,
                is_shared,
            )
            # What is given for comparisons fits no other try.
            is_guarded = extras.guard and not is_given
            for first in range(0, len(utterances), at_once):
                together = utterances[first : first + at_once]
                if any(one.is_needed for one in together):
                    synthesis.speak(together, is_guarded, joining.add)
        if joining.failure is not None:
            raise joining.failure
        spoken = joining.spoken()
        self.stopped = not any(one.written.count >= self.limit for one in spoken)
        self.outcomes = [one.outcome for one in spoken]
        self.spans = [span for of_text in joining.spans for span in of_text]
        self.last_tokens = [token for one in self.outcomes for token in one.tokens]
        return joining.waveforms if isinstance(text, Batch) else joining.waveforms[0]

    def _at_once(self, batch_size: int | None, cfg_weight: float) -> int:
        """How many pieces are written together."""
        if batch_size is None:
            is_guided = cfg_weight > 0 and not self.networks.t3.config.is_gpt2
            return ROWS_TOGETHER // 2 if is_guided else ROWS_TOGETHER
        if batch_size < 1:
            raise SettingError(f"batch_size must be 1 or more; got {batch_size}.")
        return batch_size

    def _said(
        self, texts: Sequence[str], language_id: str | None, extras: Extras
    ) -> tuple[list[list[Breath]], list[tuple[str, ...]]]:
        """What of each text is said in one go, its words respelled and written out; and what of it
        has no words."""
        texts = [checked_text(text) for text in texts]
        config = self.checkpoint.config.text
        writing = writing_for(config, language_id, extras.normalize, extras.lexicon)
        longest = self.defaults.longest_piece
        said, lost = zip(
            *(
                without_mere_tags(
                    breaths(writing(text), longest, language_id), self.tokenizer, config.tokenizer
                )
                for text in texts
            ),
            strict=True,
        )
        self._warn(writing, texts, merged(lost))
        left_out = [
            merged([writing.left_out(text), tags]) for text, tags in zip(texts, lost, strict=True)
        ]
        return list(said), left_out

    def _warn(self, writing: Writing, texts: Sequence[str], tags: Sequence[str]) -> None:
        """Tell what of texts is not spoken, or not as it is written."""
        notes = writing.notes()
        if tags:
            words = f"not read, because the model does not know it: {shortened(tags)}."
            notes.append(UnreadWarning(words))
        if not writing.normalizes:
            digits = unwritten(map(without_pauses, texts), self.tokenizer)
            notes += (
                [UnreadWarning(f"{digits} (normalize=True writes them out).")] if digits else []
            )
        for note in notes:
            warnings.warn(note, stacklevel=5)

    def _readings(
        self,
        said: Sequence[Sequence[Breath]],
        left_out: Sequence[tuple[str, ...]],
        language_id: str | None,
    ) -> list[Reading]:
        """Of each piece; what has no words counts for the first of its text."""
        readings = []
        for of_text, without_words in zip(said, left_out, strict=True):
            of_text = [self._reading(breath.text, language_id) for breath in of_text]
            unread = merged([without_words, of_text[0].unread])
            readings += [replace(of_text[0], unread=unread), *of_text[1:]]
        return readings

    def _reading(self, text: str, language_id: str | None) -> Reading:
        """What becomes of a text; checks come before any work."""
        return read_text(text, self.tokenizer, self.checkpoint.config, language_id)

    def _voice_for(self, voice, recording, exaggeration: float, norm_loudness: bool) -> Voice:
        if voice is not None:
            if not isinstance(voice, Voice):
                raise SettingError(
                    f"voice must be a Voice (Voice.load, voice_of); got {described(voice)}: a "
                    "recording is given as audio_prompt_path."
                )
            check_voice(voice, self.networks)
            return voice.with_emotion(exaggeration)
        # Another thread may put its own into `conds` at any time.
        voice = self.conds
        if recording is not None:
            voice = self.voice_of(recording, exaggeration, norm_loudness)
        if voice is None:
            raise SettingError(
                "no voice: this checkpoint has none built in, so give a reference recording "
                "(audio_prompt_path=, or --voice on the command line)."
            )
        check_voice(voice, self.networks)
        self.conds = voice = voice.with_emotion(exaggeration)
        return voice


def _utterances(
    said: list[list[Breath]],
    readings: list[Reading],
    seeds: Sequence[int | None],
    joining: Joining,
) -> list[Utterance]:
    """The pieces of all texts, each with its seed."""
    texts = [breath.text for of_text in said for breath in of_text]
    own = [
        seed
        for first, of_text in zip(seeds, said, strict=True)
        for seed in piece_seeds(first, len(of_text))
    ]
    return [
        Utterance(
            number,
            text,
            mx.array(reading.ids, dtype=mx.int32),
            seed,
            joining.is_needed(number),
            reading.text,
            reading.unread,
        )
        for number, (text, reading, seed) in enumerate(zip(texts, readings, own, strict=True))
    ]


def _check_of_batch(seed, seeds, finished) -> None:
    """Raise SettingError for what `generate_batch` was given of another kind."""
    check_whole("seed", seed)
    if seeds is not None:
        if isinstance(seeds, (str, bytes)) or not hasattr(seeds, "__len__"):
            raise SettingError(f"seeds must be a list of whole numbers; got {described(seeds)}.")
        for one in seeds:
            check_whole("a seed", one)
    if finished is not None and not callable(finished):
        raise SettingError(f"finished must be a function; got {described(finished)}.")
