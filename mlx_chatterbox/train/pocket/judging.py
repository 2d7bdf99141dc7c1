"""How well a pocket model speaks: words by a recogniser, pitch, likeness, and whether it stops.

The recogniser is pocketsphinx with the model that it brings (pip install pocketsphinx). It mishears
flite too, so flite's own audio of the same sentences is judged beside the model's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...audio.resample import resample_soxr
from ...errors import ChatterboxError
from ...text.spoken import spoken_form
from ...voices.voice import Voice
from ..data.pitch import f0
from .assembling import REFERENCE_TEXT, VOICES_FOLDER, reference

RATE = 24000
# Times that sentences are drawn anew from those there are, to learn what chance alone does.
_RESAMPLED = 4000


class MissingRecogniser(ChatterboxError):
    """pocketsphinx is not installed."""


@dataclass
class Score:
    """Words of a set of sentences; `worst` are (errors, said, heard)."""

    words: int = 0
    errors: int = 0
    heard: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Word error rate, 0 to 1 and beyond."""
        return self.errors / max(self.words, 1)


class Recogniser:
    """pocketsphinx on audio at 24 kHz."""

    def __init__(self):
        try:
            from pocketsphinx import Decoder
        except ImportError:
            raise MissingRecogniser(
                "words are counted by pocketsphinx, which is not here: pip install pocketsphinx"
            ) from None
        self._decoder = Decoder(samprate=16000, loglevel="FATAL")

    def __call__(self, waveform: np.ndarray) -> str:
        """What was said, in lower case."""
        at_16k = resample_soxr(waveform, RATE, 16000)
        at_16k = at_16k * (0.5 / max(float(np.abs(at_16k).max()), 1e-6))
        pad = np.zeros(4800, np.float32)
        pcm = (np.concatenate([pad, at_16k, pad]) * 32767).astype(np.int16)
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return "" if found is None else found.hypstr


def plain_words(text: str) -> list[str]:
    """Words to compare: lower case, numbers spelled, no punctuation."""
    return re.findall(r"[a-z']+", spoken_form(text).text.lower().replace("-", " "))


def word_errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Insertions, deletions and substitutions."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, start=1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, start=1):
            before, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, before + (word != other)),
            )
    return row[-1]


def score(
    texts: Sequence[str], speak: Callable[[str], np.ndarray], recogniser: Recogniser
) -> Score:
    """Let somebody speak the texts, and count what is heard."""
    result = Score()
    for text in texts:
        said, heard = plain_words(text), recogniser(speak(text))
        errors = word_errors(said, plain_words(heard))
        result.words += len(said)
        result.errors += errors
        result.heard.append((errors, text, heard))
    return result


def excess(
    before: Sequence[int], after: Sequence[int], words: int, likely: float = 0.99
) -> tuple[float, float]:
    """Return how many more words are wrong after than before, and how many more at the least.

    Both spoke the same sentences with the same seeds, so sentences are compared one by one: most
    of what a change of the model leaves alone is heard alike, and counts for nothing.

    Args:
        before, after: errors of each sentence.
        words: in all of them.
        likely: how sure the least is to be exceeded, by bootstrap over sentences.

    Returns:
        two shares of the words, below 0 where fewer are wrong.
    """
    more = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    rng = np.random.default_rng(0)
    drawn = more[rng.integers(len(more), size=(_RESAMPLED, len(more)))].sum(axis=1)
    return float(more.sum() / words), float(np.quantile(drawn, 1.0 - likely) / words)


def pitch(waveform: np.ndarray) -> float:
    """Median F0 of the voiced parts in Hz; 0 if there are none."""
    found = f0(waveform)
    found = found[found > 0]
    return float(np.median(found)) if len(found) else 0.0


def likeness(networks, waveform: np.ndarray, embeddings: dict[str, np.ndarray]) -> dict[str, float]:
    """Cosines of what is heard with each voice's embedding, by the model's own voice encoder."""
    own = np.array(networks.ve.embed(resample_soxr(waveform, RATE, 16000))[0])
    return {name: float(own @ other) for name, other in embeddings.items()}


def judge(tts, texts: Sequence[str], names: Sequence[str], recogniser: Recogniser) -> dict:
    """Figures of each voice on the texts, beside flite's."""
    folder = tts.checkpoint.folder / VOICES_FOLDER
    built_in = {name: Voice.load(folder / f"{name}.safetensors") for name in names}
    embeddings = {name: np.array(voice.speaker_embedding[0]) for name, voice in built_in.items()}
    report = {}
    for name, voice in built_in.items():
        spoken: list[np.ndarray] = []

        def speak(text: str, voice=voice, spoken=spoken) -> np.ndarray:
            spoken.append(tts.generate(text, voice=voice, seed=1, watermark=False, guard=False))
            return spoken[-1]

        flite: list[np.ndarray] = []

        def teach(text: str, name=name, flite=flite) -> np.ndarray:
            flite.append(reference(name, text))
            return flite[-1]

        ours, theirs = score(texts, speak, recogniser), score(texts, teach, recogniser)
        lengths = [len(a) / len(b) for a, b in zip(spoken, flite, strict=True)]
        pitches = [pitch(waveform) for waveform in spoken]
        alike = [likeness(tts.networks, waveform, embeddings) for waveform in spoken]
        right = [max(found, key=found.get) == name for found in alike]
        report[name] = {
            "words": ours.words,
            "word_error_rate": ours.rate,
            "word_error_rate_flite": theirs.rate,
            "shortest": min(lengths),
            "longest": max(lengths),
            "median_f0": float(np.median([p for p in pitches if p] or [0.0])),
            "median_f0_reference": pitch(reference(name, REFERENCE_TEXT)),
            "told_apart": sum(right) / len(right),
            "heard": ours.heard,
        }
    return report


def convert_voices(vc, texts: Sequence[str], pairs, recogniser: Recogniser) -> dict:
    """Voice conversion from one flite voice to another, (source, target) pairs."""
    report = {}
    folder: Path = vc.checkpoint.folder / VOICES_FOLDER
    for source, target in pairs:
        voice = Voice.load(folder / f"{target}.safetensors")
        pitches = []

        def speak(text: str, source=source, voice=voice, pitches=pitches) -> np.ndarray:
            made = vc.generate(reference(source, text), voice=voice, seed=1, watermark=False)
            pitches.append(pitch(made))
            return made

        result = score(texts, speak, recogniser)
        report[f"{source} to {target}"] = {
            "word_error_rate": result.rate,
            "median_f0": float(np.median(pitches)),
            "median_f0_target": pitch(reference(target, REFERENCE_TEXT)),
        }
    return report


def table(figures: dict) -> str:
    """The figures for people."""
    lines = []
    for kind in ("held_out", "others"):
        for name, found in figures[kind].items():
            lines.append(
                f"{kind} {name}: word errors {found['word_error_rate']:.1%} (flite "
                f"{found['word_error_rate_flite']:.1%}) of {found['words']} words, lengths "
                f"{found['shortest']:.2f} to {found['longest']:.2f} of flite's, F0 "
                f"{found['median_f0']:.0f} Hz (reference {found['median_f0_reference']:.0f}), told "
                f"apart {found['told_apart']:.0%}"
            )
    for name, found in figures["conversion"].items():
        lines.append(
            f"conversion {name}: word errors {found['word_error_rate']:.1%}, F0 "
            f"{found['median_f0']:.0f} Hz (target {found['median_f0_target']:.0f})"
        )
    return "\n".join(lines)
