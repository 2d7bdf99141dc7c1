"""Evaluation of a pocket model: word errors, durations, pitch, and similarity to the voices.

flite speaks the same sentences and is measured beside the model, since the recogniser mishears
flite too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...audio.resample import resample_soxr
from ...recognition.recogniser import SAMPLE_RATE, Recogniser
from ...recognition.word_errors import count_word_errors
from ...voices.voice import Voice
from ..data.pitch import f0
from .checkpoint_folder import REFERENCE_TEXT, VOICES_FOLDER, teacher_speech

if TYPE_CHECKING:
    from ...api.tts import ChatterboxTTS
    from ...api.vc import ChatterboxVC
    from ...weights.checkpoint import Chatterbox


def median_pitch(waveform: np.ndarray) -> float:
    """Return the median F0 of the voiced frames in Hz; 0 without any."""
    contour = f0(waveform)
    voiced = contour[contour > 0]
    return float(np.median(voiced)) if len(voiced) else 0.0


def voice_similarities(
    networks: Chatterbox, waveform: np.ndarray, embeddings: dict[str, np.ndarray]
) -> dict[str, float]:
    """Return the cosine of a waveform's voice embedding with each of the embeddings, by name.

    Args:
        networks: their voice encoder embeds the waveform.
        waveform: (samples,) float32 at 24 kHz.
        embeddings: (C,) each, of norm 1.
    """
    own = np.array(networks.ve.embed(resample_soxr(waveform, SAMPLE_RATE, 16000))[0])
    return {name: float(own @ other) for name, other in embeddings.items()}


def evaluate_speech(
    tts: ChatterboxTTS, texts: Sequence[str], names: Sequence[str], recogniser: Recogniser
) -> dict[str, dict]:
    """Measure how the model speaks the texts in each of the voices, with flite beside it.

    Returns:
        by voice: `words`, `word_error_rate` of the model and `word_error_rate_flite`; `shortest`
        and `longest`, durations as multiples of flite's; `median_f0` and `median_f0_reference`,
        Hz; `told_apart`, the share of sentences whose embedding is closest to the right voice's;
        `heard`, (errors, text, transcript) of each sentence.
    """
    folder = tts.checkpoint.folder / VOICES_FOLDER
    voices = {name: Voice.load(folder / f"{name}.safetensors") for name in names}
    embeddings = {name: np.array(voice.speaker_embedding[0]) for name, voice in voices.items()}
    report = {}
    for name, voice in voices.items():
        by_model: list[np.ndarray] = []

        def speak(text: str, voice=voice, by_model=by_model) -> np.ndarray:
            by_model.append(tts.generate(text, voice=voice, seed=1, watermark=False, guard=False))
            return by_model[-1]

        by_flite: list[np.ndarray] = []

        def speak_flite(text: str, name=name, by_flite=by_flite) -> np.ndarray:
            by_flite.append(teacher_speech(name, text))
            return by_flite[-1]

        errors = count_word_errors(texts, speak, recogniser)
        flite_errors = count_word_errors(texts, speak_flite, recogniser)
        durations = [len(a) / len(b) for a, b in zip(by_model, by_flite, strict=True)]
        pitches = [median_pitch(waveform) for waveform in by_model]
        similarities = [voice_similarities(tts.networks, speech, embeddings) for speech in by_model]
        right = [max(cosines, key=lambda name: cosines[name]) == name for cosines in similarities]
        report[name] = {
            "words": errors.words,
            "word_error_rate": errors.rate,
            "word_error_rate_flite": flite_errors.rate,
            "shortest": min(durations),
            "longest": max(durations),
            "median_f0": float(np.median([pitch for pitch in pitches if pitch] or [0.0])),
            "median_f0_reference": median_pitch(teacher_speech(name, REFERENCE_TEXT)),
            "told_apart": sum(right) / len(right),
            "heard": errors.transcripts,
        }
    return report


def evaluate_conversion(
    vc: ChatterboxVC,
    texts: Sequence[str],
    pairs: Iterable[tuple[str, str]],
    recogniser: Recogniser,
) -> dict[str, dict[str, float]]:
    """Measure voice conversion of flite's speech.

    Args:
        pairs: (source, target) voices.

    Returns:
        by "SOURCE to TARGET": `word_error_rate`; `median_f0` and `median_f0_target`, Hz.
    """
    report = {}
    folder: Path = vc.checkpoint.folder / VOICES_FOLDER
    for source, target in pairs:
        voice = Voice.load(folder / f"{target}.safetensors")
        pitches: list[float] = []

        def convert(text: str, source=source, voice=voice, pitches=pitches) -> np.ndarray:
            converted = vc.generate(
                teacher_speech(source, text), voice=voice, seed=1, watermark=False
            )
            pitches.append(median_pitch(converted))
            return converted

        errors = count_word_errors(texts, convert, recogniser)
        report[f"{source} to {target}"] = {
            "word_error_rate": errors.rate,
            "median_f0": float(np.median(pitches)),
            "median_f0_target": median_pitch(teacher_speech(target, REFERENCE_TEXT)),
        }
    return report


def as_text(figures: dict[str, dict[str, dict]]) -> str:
    """Format the figures of both evaluations, one line for each set of sentences and voice."""
    lines = []
    for sentences in ("held_out", "others"):
        for name, row in figures[sentences].items():
            lines.append(
                f"{sentences} {name}: word errors {row['word_error_rate']:.1%} (flite "
                f"{row['word_error_rate_flite']:.1%}) of {row['words']} words, lengths "
                f"{row['shortest']:.2f} to {row['longest']:.2f} of flite's, F0 "
                f"{row['median_f0']:.0f} Hz (reference {row['median_f0_reference']:.0f}), right "
                f"voice {row['told_apart']:.0%}"
            )
    for name, row in figures["conversion"].items():
        lines.append(
            f"conversion {name}: word errors {row['word_error_rate']:.1%}, F0 "
            f"{row['median_f0']:.0f} Hz (target {row['median_f0_target']:.0f})"
        )
    return "\n".join(lines)
