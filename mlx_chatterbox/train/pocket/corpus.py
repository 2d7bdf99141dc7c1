"""The corpus: speech of the synthesisers with its features, in shards of flat arrays.

A shard is a folder of a few hundred clips of one kind of voice. Each array holds all clips one
after the other, and is mapped into memory:

| file | rows a token | content |
|---|---|---|
| mel.npy | 2, of 80 | S3Gen's log-mel, float16 |
| log_mel_16k.npy | 4, of 128 | the S3 tokenizer's input, float16 |
| waveform.npy | 960 | at 24 kHz, int16 |
| phones.npy | 2 | indices into `synthesisers.PHONES`, uint8 |
| speech_tokens.npy | 1 | by the trained tokenizer, int16; written by that stage |
| f0.npy | 2 | Hz, 0 where unvoiced, float32; written by the stage `vocoder` |
| source.npy | 960 | the vocoder's excitation at 24 kHz, int16; written by the stage `vocoder` |

`clips.jsonl` has a line for each clip: id, voice, text, first token in the arrays, number of
tokens, and part, "train" or "eval". A token is 40 ms.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ...audio.mel import s3_tokenizer_log_mel, s3gen_mel
from ...audio.resample import resample_soxr
from ...checks.json_file import parse_json, read_small
from ...checks.plain import named, typed
from ...checks.tensors import check_finite, check_tokens
from ...errors import DataError
from ...runtime.locks import try_lock
from ...runtime.numpy_file import mapped_array
from ...runtime.own_files import open_lock
from ...weights.atomic_folder import whole_folder
from ..data.batches import Batches
from ..trainer import Samples
from .model import CODES
from .synthesisers import (
    ESPEAK_VOICES,
    PHONES,
    RATE,
    LabelledSpeech,
    check_programs,
    synthesise,
)
from .texts import is_held_out, training_sentences

PER_TOKEN = {
    "mel": 2,
    "log_mel_16k": 4,
    "waveform": 960,
    "phones": 2,
    "speech_tokens": 1,
    "f0": 2,
    "source": 960,
}
# Type and width of each array.
_KINDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "mel": ("float16", (80,)),
    "log_mel_16k": ("float16", (128,)),
    "waveform": ("int16", ()),
    "phones": ("uint8", ()),
    "speech_tokens": ("int16", ()),
    "f0": ("float32", ()),
    "source": ("int16", ()),
}
# Of arrays of indices: the size of the table that they index.
_TABLE_SIZES = {"phones": len(PHONES), "speech_tokens": CODES}
CLIPS_NAME = "clips.jsonl"
CLIPS_IN_SHARD = 500
ESPEAK = "espeak"
_LONGEST_TOKENS = 450  # 18 s


@dataclass(frozen=True)
class Shard:
    """A shard of the plan: `count` of the training sentences, from number `first`, in a voice."""

    name: str
    voice: str
    first: int
    count: int


def plan_shards(rounds: int) -> list[Shard]:
    """Plan the corpus: in every round slt and rms speak 500 sentences each, the others fewer."""
    plan: list[Shard] = []
    first = 0
    for number in range(rounds):
        counts = [("slt", 500), ("rms", 500)]
        if number % 4 == 0:
            counts.append(("awb", 500))
        if number % 8 == 0:
            counts.append(("kal16", 300))
            counts.append((ESPEAK, 20 * len(ESPEAK_VOICES)))
        for voice, count in counts:
            plan.append(Shard(f"{voice}-{number:02}", voice, first, count))
            first += count
    return plan


def make_corpus(folder: Path, seed: int, rounds: int, progress: Callable | None = None) -> None:
    """Make the shards that are missing; several processes may do so at the same time.

    Args:
        seed: of the sentences.
        rounds: about 1 h of speech each; see `plan_shards`.
        progress: callback(stage, done, total).

    Raises:
        DataError: a package is not installed, a synthesiser fails, or a lock cannot be opened.
    """
    check_programs()
    plan = plan_shards(rounds)
    folder.mkdir(parents=True, exist_ok=True)
    stream, at = training_sentences(seed), 0
    for number, shard in enumerate(plan):
        if progress is not None:
            progress("synthesising", number, len(plan))
        if (folder / shard.name).exists():
            continue
        with _claimed(folder, shard) as claimed:
            if not claimed:
                continue
            stream = itertools.islice(stream, shard.first - at, None)
            texts = list(itertools.islice(stream, shard.count))
            at = shard.first + shard.count
            _make_shard(folder, shard, texts)
    if progress is not None:
        progress("synthesising", len(plan), len(plan))


@contextlib.contextmanager
def _claimed(folder: Path, shard: Shard) -> Iterator[bool]:
    """Lock a shard; yields whether this process should make it: no other one does or has."""
    path = folder / f".{shard.name}.lock"
    try:
        handle = open_lock(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}.") from None
    try:
        yield try_lock(handle) is not False and not (folder / shard.name).exists()
    finally:
        os.close(handle)


def _make_shard(folder: Path, shard: Shard, texts: Sequence[str]) -> None:
    lines: list[dict[str, str | int]] = []
    arrays: dict[str, list[np.ndarray]] = {
        name: [] for name in ("mel", "log_mel_16k", "waveform", "phones")
    }
    first = 0
    for number, text in enumerate(texts):
        voice = shard.voice
        if voice == ESPEAK:
            voice = ESPEAK_VOICES[number % len(ESPEAK_VOICES)]
        speech = synthesise(voice, text)
        if not 0 < speech.tokens <= _LONGEST_TOKENS:
            continue
        for name, value in clip_arrays(speech).items():
            arrays[name].append(value)
        lines.append(
            {
                "id": f"{shard.name}-{number:03}",
                "voice": voice,
                "text": text,
                "first": first,
                "tokens": speech.tokens,
                "part": "eval" if is_held_out(text) else "train",
            }
        )
        first += speech.tokens
    with whole_folder(folder / shard.name, force=False) as temporary:
        for name, values in arrays.items():
            np.save(temporary / f"{name}.npy", np.concatenate(values))
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (temporary / CLIPS_NAME).write_text(text, encoding="utf-8")


def clip_arrays(speech: LabelledSpeech) -> dict[str, np.ndarray]:
    """Compute the rows of a clip in each of its shard's arrays."""
    at_24k = resample_soxr(speech.waveform, RATE, 24000)
    samples = speech.tokens * PER_TOKEN["waveform"]
    at_24k = np.pad(at_24k, (0, max(samples - len(at_24k), 0)))[:samples]
    pcm = np.clip(np.round(at_24k * 32768.0), -32768, 32767).astype(np.int16)
    mel = s3gen_mel(mx.array(at_24k)).astype(mx.float16)
    log_mel = s3_tokenizer_log_mel(mx.array(speech.waveform)).T.astype(mx.float16)
    mx.eval(mel, log_mel)
    return {
        "mel": np.array(mel),
        "log_mel_16k": np.array(log_mel),
        "waveform": pcm,
        "phones": speech.phones,
    }


@dataclass(frozen=True)
class PocketClip:
    """A line of `clips.jsonl`, and the shard that it is in; see the module's docstring."""

    id: str
    voice: str
    text: str
    first: int
    tokens: int
    part: str
    shard: str


def read_shard_clips(folder: Path, shard: str) -> list[PocketClip]:
    """Read the clips of a shard in the order of its arrays, which they fill from end to end.

    Raises:
        DataError: the list is missing or damaged.
    """
    path = folder / shard / CLIPS_NAME
    clips: list[PocketClip] = []
    hints = {f.name: typing.get_type_hints(PocketClip)[f.name] for f in fields(PocketClip)}
    del hints["shard"]
    try:
        lines = read_small(path).decode("utf-8").split("\n")
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            where, values, first = f"line {number}", parse_json(line), _end_of(clips)
            if values.keys() != hints.keys():
                raise ValueError(f"{where} has other entries than a clip's ({', '.join(hints)})")
            entries = {key: typed(values[key], hints[key], f"{where}: {key}") for key in hints}
            clip = PocketClip(**entries, shard=shard)
            if clip.first != first or not 0 < clip.tokens <= _LONGEST_TOKENS:
                raise ValueError(f"the tokens of {where} do not follow those of the line before")
            clips.append(clip)
        if not clips:
            raise ValueError("it is empty")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    except RecursionError:
        raise DataError(f"{path} is not a list of clips: it is nested too deeply.") from None
    except ValueError as error:
        raise DataError(f"{path} is not a list of clips: {str(error).rstrip('.')}.") from None
    return clips


def _end_of(clips: Sequence[PocketClip]) -> int:
    return clips[-1].first + clips[-1].tokens if clips else 0


class Corpus:
    """All finished shards of a folder.

    Attributes:
        clips: in the order of shards and sentences.
    """

    def __init__(self, folder: str | Path, names: Iterable[str] | None = None):
        """Read the lists of clips; arrays are opened when they are used.

        Args:
            names: of the shards; None: all finished ones.

        Raises:
            DataError: a shard's list of clips is missing or damaged.
        """
        self.folder = Path(folder)
        if names is None:
            names = (path.parent.name for path in self.folder.glob(f"[!.]*/{CLIPS_NAME}"))
        self.shards = sorted(names)
        self.clips = [
            clip for shard in self.shards for clip in read_shard_clips(self.folder, shard)
        ]
        self._tokens: Counter[str] = Counter()
        for clip in self.clips:
            self._tokens[clip.shard] += clip.tokens
        self._arrays: dict[tuple[str, str], np.ndarray] = {}

    def indices(self, voices: Iterable[str] | None = None, part: str | None = None) -> list[int]:
        """List the positions in `clips` of clips of these voices and this part; None: of all."""
        chosen = None if voices is None else set(voices)
        return [
            i
            for i, clip in enumerate(self.clips)
            if (chosen is None or clip.voice in chosen) and part in (None, clip.part)
        ]

    def array(self, shard: str, name: str) -> np.ndarray:
        """Map a whole array of a shard into memory.

        Raises:
            DataError: it is missing, damaged, or of another type or shape.
        """
        key = (shard, name)
        if key not in self._arrays:
            dtype, width = _KINDS[name]
            shape = (self._tokens[shard] * PER_TOKEN[name], *width)
            self._arrays[key] = mapped_array(self.folder / shard / f"{name}.npy", dtype, shape)
        return self._arrays[key]

    def rows(self, index: int, name: str, first: int = 0, count: int | None = None) -> np.ndarray:
        """Return a clip's rows of an array, as they are stored.

        Args:
            first, count: of the clip's tokens; None: to its end.

        Raises:
            DataError: as `array`; or values are NaN, Inf, or indices outside their table.
        """
        clip, per_token = self.clips[index], PER_TOKEN[name]
        count = clip.tokens - first if count is None else count
        start = (clip.first + first) * per_token
        rows = self.array(clip.shard, name)[start : start + count * per_token]
        label = f"{self.folder / clip.shard / name}.npy: {named(clip.id)}"
        if name in _TABLE_SIZES:
            check_tokens(rows, _TABLE_SIZES[name], label, DataError)
        elif rows.dtype.kind == "f":
            check_finite(rows, label, DataError)
        return rows

    def feature(self, index: int, name: str) -> np.ndarray:
        """Return a feature of a clip: indices as int32, others as float32; a waveform within 1."""
        rows = self.rows(index, name)
        if name == "waveform":
            return rows.astype(np.float32) / 32768.0
        return np.asarray(rows, np.int32 if name in ("phones", "speech_tokens") else np.float32)

    def features(self, index: int, names: Iterable[str]) -> dict[str, Any]:
        """Return features of a clip by name, with its `id` and `speaker`."""
        clip = self.clips[index]
        return {
            "id": clip.id,
            "speaker": clip.voice,
            **{name: self.feature(index, name) for name in names},
        }

    def samples(
        self,
        names: Sequence[str],
        batch: int,
        seed: int,
        voices: Iterable[str] | None = None,
        part: str = "train",
        most: int | None = None,
        more: Callable[[int, np.ndarray], dict] | None = None,
        longest: int | None = None,
    ) -> Samples:
        """Select clips for the trainer.

        Args:
            names: features of a sample.
            batch: clips in a step.
            seed: of their order.
            voices: of the clips; None: all.
            part: "train" or "eval".
            most: upper limit of the number of clips, evenly spread.
            more: further entries of a sample, from a position in `clips` and the sample's key.
            longest: upper limit of a clip's tokens.
        """
        chosen = self.indices(voices, part)
        if longest is not None:
            chosen = [i for i in chosen if self.clips[i].tokens <= longest]
        if most is not None and len(chosen) > most:
            chosen = [chosen[i * len(chosen) // most] for i in range(most)]

        def make(clip: int, key: np.ndarray) -> dict:
            sample = self.features(clip, names)
            return sample if more is None else sample | more(clip, key)

        return self.samples_of(chosen, make, batch, seed)

    def samples_of(
        self, chosen: Sequence[int], make: Callable[[int, np.ndarray], dict], batch: int, seed: int
    ) -> Samples:
        """Give the chosen clips to the trainer.

        Args:
            chosen: positions in `clips`.
            make: a sample from a position in `clips` and the sample's key.
        """
        lengths = [self.clips[i].tokens for i in chosen]
        plan = Batches(lengths, batch, seed)
        return Samples(plan, lambda index, key: make(chosen[index], key))
