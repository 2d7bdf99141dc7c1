"""Split into training and evaluation clips, batches of an epoch, samples.

Everything here is a function of the seed and of the clips, never of the machine, of threads or of
the order in which files are read: a run that is resumed, or divided among machines, gets the same
samples as an undivided one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ...synthesis.tokens import TOKENS_PER_SECOND
from .clip import Clip
from .features import cut, tokens_in

# Batches that are filled from clips sorted by length together: more give less padding, fewer give
# more random batches.
_BATCHES_SORTED_TOGETHER = 32
# The shortest prompt from the clip itself, in tokens: 0.2 s.
_LEAST_PROMPT = 5


def split(
    clips: Sequence[Clip], eval_split_size: float, seed: int
) -> tuple[list[Clip], list[Clip]]:
    """Split clips into a training and an evaluation set, each in the order of `clips`.

    The side of a clip depends on a hash of the seed and its own text, so that clips added later do
    not move the others; hence the share is met on average only. The same words (in whatever case
    and punctuation) and the same recording are never on both sides. If the data set has its own
    evaluation set, that is used, and clips that are on both sides are not trained on.

    Args:
        eval_split_size: share of the evaluation clips, 0 to 1. If it is not 0, each side has at
            least one clip, unless all clips are the same.
    """
    groups = _groups(clips)
    if any(clip.part is not None for clip in clips):
        eval_groups = {g for clip, g in zip(clips, groups, strict=True) if clip.part == "eval"}
        train = [
            clip for clip, g in zip(clips, groups, strict=True)
            if clip.part != "eval" and g not in eval_groups
        ]  # fmt: skip
        return train, [clip for clip in clips if clip.part == "eval"]
    if eval_split_size <= 0:
        return list(clips), []
    ranks = {group: _unit(f"{seed} {group}") for group in groups}
    ordered = sorted(ranks, key=ranks.__getitem__)
    chosen = {group for group in ordered if ranks[group] < eval_split_size}
    if not chosen and len(ordered) > 1:
        chosen = {ordered[0]}
    if len(chosen) == len(ordered):
        chosen.discard(ordered[-1])
    sides: tuple[list[Clip], list[Clip]] = ([], [])
    for clip, group in zip(clips, groups, strict=True):
        sides[group in chosen].append(clip)
    return sides


def _groups(clips: Sequence[Clip]) -> list[str]:
    """Name a group for each clip; clips of a group must stay on one side."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    texts = ["text " + "".join(filter(str.isalnum, clip.text.casefold())) for clip in clips]
    for clip, text in zip(clips, texts, strict=True):
        # The first name in the alphabet names a group, whatever the order of the clips; "~" sorts
        # last, so that it is a text.
        low, high = sorted((find(text), find("~recording " + clip.content)))
        parent[high] = low
    return [find(text) for text in texts]


def _unit(text: str) -> float:
    """Hash a text to a number from 0 to 1."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


class Batches:
    """The batches of every epoch: the clips of each optimizer step.

    A batch has clips of similar length, for little padding; which ones, and the order of the
    batches, is drawn from (seed, epoch). Every clip comes once an epoch; the last batch may be
    smaller.
    """

    def __init__(self, lengths: Sequence[float], global_batch_size: int, seed: int):
        """Plan batches.

        Args:
            lengths: lengths of the clips, in any unit; a clip's index here is its number.
            global_batch_size: clips in an optimizer step, over all machines.
        """
        if global_batch_size < 1:
            raise ValueError(f"a batch has at least one clip; got {global_batch_size}.")
        self._lengths = np.asarray(lengths, dtype=np.float64)
        self._size = global_batch_size
        self._seed = seed

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return -(-len(self._lengths) // self._size)

    def epoch(self, epoch: int) -> list[list[int]]:
        """Return the batches of an epoch, counted from 0; each with the longest clip first."""
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(len(self._lengths))
        together = self._size * _BATCHES_SORTED_TOGETHER
        batches = []
        for start in range(0, len(order), together):
            some = order[start : start + together]
            some = some[np.argsort(-self._lengths[some], kind="stable")]
            # The batch that is not full has the shortest clips.
            batches += [some[i : i + self._size].tolist() for i in range(0, len(some), self._size)]
        return [batches[i] for i in rng.permutation(len(batches))]


class ClipFeatures(Protocol):
    """Features of clips by clip id; a `FeatureStore`, or a dict."""

    def __getitem__(self, clip_id: str, /) -> dict[str, np.ndarray]: ...


def group_by_speaker(clips: Sequence[Clip]) -> dict[str, list[int]]:
    """Return the indices of each speaker's clips."""
    groups: dict[str, list[int]] = {}
    for index, clip in enumerate(clips):
        groups.setdefault(clip.speaker, []).append(index)
    return groups


def make_sample(
    store: ClipFeatures,
    clips: Sequence[Clip],
    index: int,
    key: np.ndarray,
    prompt_seconds: float = 3.0,
    by_speaker: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Any]:
    """Make a sample: the features of a clip, a prompt in the same voice, and a key.

    The prompt is a random piece of another clip of the speaker. If the speaker has no other clip,
    it is the beginning or the end of this one, at most half of it: `prompt_span` gives the tokens,
    so that a task can leave them out of its loss instead of learning to copy.

    Args:
        store: features by clip id.
        clips: clips that may serve as prompts, `clips[index]` among them.
        key: (2,) uint32, the sample's random key.
        prompt_seconds: length of the prompt, less if its clip is shorter.
        by_speaker: `group_by_speaker(clips)`, to compute it only once.

    Returns:
        The features; "id", "speaker": as in the clip; "key": (2,) uint32; "prompt": features of the
        prompt (all but text_tokens, fbank and ve_mel), its tokens, mel and waveforms cut to the
        piece, its embeddings those of its whole clip; "prompt_span": (2,) int32, first token and
        the one after the last if the prompt is of this clip itself, else (0, 0).
    """
    clip = clips[index]
    # Other numbers than those of a task that uses the key itself.
    rng = np.random.default_rng([*np.asarray(key, dtype=np.uint32).tolist(), 1])
    groups = group_by_speaker(clips) if by_speaker is None else by_speaker
    others = [other for other in groups[clip.speaker] if other != index]
    features = store[clip.id]
    wanted = round(prompt_seconds * TOKENS_PER_SECOND)
    span = np.zeros(2, dtype=np.int32)
    if others:
        source = store[clips[others[rng.integers(len(others))]].id]
        length = tokens_in(source)
        start = int(rng.integers(max(length - wanted, 0) + 1))
        end = min(start + wanted, length)
    else:
        source, length = features, tokens_in(features)
        taken = min(wanted, length // 2)
        taken = taken if taken >= _LEAST_PROMPT else 0
        start = int(rng.integers(2)) * (length - taken)
        end = start + taken
        span[:] = (start, end) if taken else (0, 0)
    return {
        **features,
        "id": clip.id,
        "speaker": clip.speaker,
        "key": np.asarray(key, dtype=np.uint32),
        "prompt": cut(source, start, end),
        "prompt_span": span,
    }
