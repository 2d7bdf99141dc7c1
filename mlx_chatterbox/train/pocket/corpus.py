"""The corpus: what the synthesisers said, with features, in shards of flat arrays.

A shard is a folder of a few hundred clips of one kind of voice. Each array holds all clips one
after the other and is read from the disk as it is needed:

| file | rows a token | what |
|---|---|---|
| mel.npy | 2, of 80 | S3Gen's log-mel, float16 |
| log_mel_16k.npy | 4, of 128 | the S3 tokenizer's input, float16 |
| waveform.npy | 960 | at 24 kHz, int16 |
| phones.npy | 2 | indices into `voices.PHONES`, uint8 |
| speech_tokens.npy | 1 | by the trained tokenizer, int16, written later |

`clips.jsonl` has a line a clip: id, voice, text, first token in the arrays, number of tokens, and
part, "train" or "eval".
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
from . import voices
from .model import CODES
from .texts import is_held_out, sentences

PER_TOKEN = {
    "mel": 2,
    "log_mel_16k": 4,
    "waveform": 960,
    "phones": 2,
    "speech_tokens": 1,
    "f0": 2,
    "source": 960,
}
# Type and width of each array; and how many entries the table has that it is an index into.
_KINDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "mel": ("float16", (80,)),
    "log_mel_16k": ("float16", (128,)),
    "waveform": ("int16", ()),
    "phones": ("uint8", ()),
    "speech_tokens": ("int16", ()),
    "f0": ("float32", ()),
    "source": ("int16", ()),
}
_INDICES = {"phones": len(voices.PHONES), "speech_tokens": CODES}
CLIPS_NAME = "clips.jsonl"
CLIPS_IN_SHARD = 500
ESPEAK = "espeak"
_LONGEST_TOKENS = 450  # 18 s


@dataclass(frozen=True)
class Shard:
    """A part of the corpus still to be made: `count` sentences from number `first`."""

    name: str
    voice: str
    first: int
    count: int


def shards(rounds: int) -> list[Shard]:
    """The plan: in every round slt and rms say 500 sentences each, the others fewer."""
    plan: list[Shard] = []
    first = 0
    for number in range(rounds):
        wanted = [("slt", 500), ("rms", 500)]
        if number % 4 == 0:
            wanted.append(("awb", 500))
        if number % 8 == 0:
            wanted.append(("kal16", 300))
            wanted.append((ESPEAK, 20 * len(voices.ESPEAK_VOICES)))
        for voice, count in wanted:
            plan.append(Shard(f"{voice}-{number:02}", voice, first, count))
            first += count
    return plan


def make(folder: Path, seed: int, rounds: int, progress: Callable | None = None) -> None:
    """Make the shards that are not there; several processes may do it side by side.

    Raises:
        DataError: a package is missing, or a synthesiser fails.
    """
    voices.check_programs()
    plan = shards(rounds)
    folder.mkdir(parents=True, exist_ok=True)
    stream, at = sentences(seed), 0
    for number, shard in enumerate(plan):
        if progress is not None:
            progress("synthesising", number, len(plan))
        if (folder / shard.name).exists():
            continue
        with _claimed(folder, shard) as ours:
            if not ours:
                continue
            stream = itertools.islice(stream, shard.first - at, None)
            texts = list(itertools.islice(stream, shard.count))
            at = shard.first + shard.count
            _make_shard(folder, shard, texts)
    if progress is not None:
        progress("synthesising", len(plan), len(plan))


@contextlib.contextmanager
def _claimed(folder: Path, shard: Shard) -> Iterator[bool]:
    """Whether this process is to make the shard: no other one is at it."""
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
    lines, arrays, first = (
        [],
        {name: [] for name in ("mel", "log_mel_16k", "waveform", "phones")},
        0,
    )
    for number, text in enumerate(texts):
        voice = shard.voice
        if voice == ESPEAK:
            voice = voices.ESPEAK_VOICES[number % len(voices.ESPEAK_VOICES)]
        spoken = voices.speak(voice, text)
        if not 0 < spoken.tokens <= _LONGEST_TOKENS:
            continue
        for name, value in features_of(spoken).items():
            arrays[name].append(value)
        lines.append(
            {
                "id": f"{shard.name}-{number:03}",
                "voice": voice,
                "text": text,
                "first": first,
                "tokens": spoken.tokens,
                "part": "eval" if is_held_out(text) else "train",
            }
        )
        first += spoken.tokens
    with whole_folder(folder / shard.name, force=False) as temporary:
        for name, values in arrays.items():
            np.save(temporary / f"{name}.npy", np.concatenate(values))
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (temporary / CLIPS_NAME).write_text(text, encoding="utf-8")


def features_of(spoken: voices.Spoken) -> dict[str, np.ndarray]:
    """What the shard keeps of a clip."""
    at_24k = resample_soxr(spoken.waveform, voices.RATE, 24000)
    wanted = spoken.tokens * PER_TOKEN["waveform"]
    at_24k = np.pad(at_24k, (0, max(wanted - len(at_24k), 0)))[:wanted]
    pcm = np.clip(np.round(at_24k * 32768.0), -32768, 32767).astype(np.int16)
    mel = s3gen_mel(mx.array(at_24k)).astype(mx.float16)
    log_mel = s3_tokenizer_log_mel(mx.array(spoken.waveform)).T.astype(mx.float16)
    mx.eval(mel, log_mel)
    return {
        "mel": np.array(mel),
        "log_mel_16k": np.array(log_mel),
        "waveform": pcm,
        "phones": spoken.phones,
    }


@dataclass(frozen=True)
class PocketClip:
    """A clip of the corpus; see the module's text."""

    id: str
    voice: str
    text: str
    first: int
    tokens: int
    part: str
    shard: str


def read_clips(folder: Path, shard: str) -> list[PocketClip]:
    """The clips of a shard, in the order of its arrays, which they fill from end to end.

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
                raise ValueError(f"{where} has other entries than a clip's")
            entries = {key: typed(values[key], hints[key], f"{where}: {key}") for key in hints}
            clip = PocketClip(**entries, shard=shard)
            if clip.first != first or not 0 < clip.tokens <= _LONGEST_TOKENS:
                raise ValueError(f"{where} has tokens that do not follow the line before")
            clips.append(clip)
        if not clips:
            raise ValueError("it has none")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    except RecursionError:
        raise DataError(f"{path} is no list of clips: it is nested too deeply.") from None
    except ValueError as error:
        raise DataError(f"{path} is no list of clips: {str(error).rstrip('.')}.") from None
    return clips


def _end_of(clips: Sequence[PocketClip]) -> int:
    return clips[-1].first + clips[-1].tokens if clips else 0


class Corpus:
    """All finished shards of a folder.

    Attributes:
        clips: in the order of shards and sentences.
    """

    def __init__(self, folder: str | Path, names: Iterable[str] | None = None):
        """Open.

        Args:
            names: of the shards; None is all that are finished.

        Raises:
            DataError: a shard's list of clips is missing or damaged.
        """
        self.folder = Path(folder)
        if names is None:
            names = (path.parent.name for path in self.folder.glob(f"[!.]*/{CLIPS_NAME}"))
        self.shards = sorted(names)
        self.clips = [clip for shard in self.shards for clip in read_clips(self.folder, shard)]
        self._tokens = Counter()
        for clip in self.clips:
            self._tokens[clip.shard] += clip.tokens
        self._arrays: dict[tuple[str, str], np.ndarray] = {}

    def indices(self, voices: Iterable[str] | None = None, part: str | None = None) -> list[int]:
        """Places in `clips` of these voices and this part; None is all of them."""
        wanted = None if voices is None else set(voices)
        return [
            i
            for i, clip in enumerate(self.clips)
            if (wanted is None or clip.voice in wanted) and part in (None, clip.part)
        ]

    def array(self, shard: str, name: str) -> np.ndarray:
        """A whole array of a shard, mapped into memory.

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
        """An array's rows of a clip as they are stored.

        Args:
            first, count: of the clip's tokens; None: to its end.

        Raises:
            DataError: as `array`; or there are NaN, Inf, or indices outside their table.
        """
        clip, per_token = self.clips[index], PER_TOKEN[name]
        count = clip.tokens - first if count is None else count
        start = (clip.first + first) * per_token
        rows = self.array(clip.shard, name)[start : start + count * per_token]
        label = f"{self.folder / clip.shard / name}.npy: {named(clip.id)}"
        if name in _INDICES:
            check_tokens(rows, _INDICES[name], label, DataError)
        elif rows.dtype.kind == "f":
            check_finite(rows, label, DataError)
        return rows

    def feature(self, index: int, name: str) -> np.ndarray:
        """A feature of a clip, as float32 where it is one of numbers; waveforms within 1."""
        rows = self.rows(index, name)
        if name == "waveform":
            return rows.astype(np.float32) / 32768.0
        return np.asarray(rows, np.int32 if name in ("phones", "speech_tokens") else np.float32)

    def features(self, index: int, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Features of a clip by name, with its id and speaker."""
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
        """Clips for the trainer.

        Args:
            names: features of a sample.
            batch: clips in a step.
            most: take only so many clips, evenly spread.
            more: adds to a sample, given the clip's place in `clips` and the sample's key.
            longest: take only clips of at most so many tokens.
        """
        chosen = self.indices(voices, part)
        if longest is not None:
            chosen = [i for i in chosen if self.clips[i].tokens <= longest]
        if most is not None and len(chosen) > most:
            chosen = [chosen[i * len(chosen) // most] for i in range(most)]

        def make(clip: int, key: np.ndarray) -> dict:
            sample = self.features(clip, names)
            return sample if more is None else sample | more(clip, key)

        return self.given(chosen, make, batch, seed)

    def given(
        self, chosen: Sequence[int], make: Callable[[int, np.ndarray], dict], batch: int, seed: int
    ) -> Samples:
        """The chosen clips for the trainer; `make` takes a clip's place in `clips` and a key."""
        lengths = [self.clips[i].tokens for i in chosen]
        plan = Batches(lengths, batch, seed)
        return Samples(plan, lambda index, key: make(chosen[index], key))
