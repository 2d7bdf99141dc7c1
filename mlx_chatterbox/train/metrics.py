"""A run's reports: a progress bar, `metrics.jsonl`, trackers, a plot, spoken samples.

Only the first of several machines writes; the others have a `Metrics` that does nothing.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import mlx.core as mx
import numpy as np

from ..checks.json_file import parse_json
from ..checks.plain import typed
from ..errors import ChatterboxError
from ..runtime.own_files import open_regular, whole_file
from .trackers import MissingExtra, Tracker

METRICS_NAME, PLOT_NAME, SAMPLES_NAME = "metrics.jsonl", "loss.png", "samples"
# These depend on the machine and its load; everything else is the same in every run.
TIMINGS = ("seconds", "tokens_per_second", "peak_memory_gb")

# Larger values are no losses, and cannot be drawn.
_LARGEST = 1e300

Speak = Callable[[Path], None]


def read_metrics(path: str | Path) -> list[dict]:
    """Read the lines of a `metrics.jsonl`, up to the first damaged one."""
    lines = []
    with open_regular(path) as file:
        for line in file.read().decode("utf-8", "replace").split("\n"):
            try:
                values = parse_json(line)
                typed(values.get("step"), int, "step")
            except (ValueError, RecursionError):
                break
            lines.append(values)
    return lines


class Metrics:
    """Writes metrics.

    Args:
        folder: the run's output folder; None writes nothing.
        total_steps: length of the bar.
        resume_at: length of `metrics.jsonl` in bytes at the resumed checkpoint; the rest is
            written again. None begins a new file.
        trackers: they get every line, and are closed with this.
        step: first step of the bar.
    """

    def __init__(
        self,
        folder: Path | None,
        total_steps: int,
        resume_at: int | None = None,
        trackers: Sequence[Tracker] = (),
        step: int = 0,
    ):
        self._folder = folder
        self._started = time.perf_counter()
        self._printed: set[str] = set()
        self._bar = self._file = None
        self._trackers = trackers
        if folder is None:
            return
        self.path = folder / METRICS_NAME
        self._file = self.path.open("ab")
        self._file.truncate(resume_at or 0)
        self._bar = _bar(total_steps, step)

    @property
    def size(self) -> int:
        """Bytes written to `metrics.jsonl`, all of them on disk."""
        if self._file is None:
            return 0
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def advance(self, shown: Mapping[str, float]) -> None:
        """Advance the bar by a step, with these values beside it."""
        if self._bar is not None:
            text = {name: f"{value:.4g}" for name, value in shown.items()}
            self._bar.set_postfix(text, refresh=False)
            self._bar.update()

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Write a line to `metrics.jsonl`, to the trackers and to the terminal."""
        if self._file is None:
            return
        line = {"step": step, "epoch": round(epoch, 4), **values}
        line["seconds"] = round(time.perf_counter() - self._started, 3)
        line["peak_memory_gb"] = round(mx.get_peak_memory() / 1e9, 4)
        self._file.write((json.dumps(line) + "\n").encode())
        self._file.flush()
        for tracker in self._trackers:
            tracker.write(step, line["epoch"], values)
        shown = " ".join(f"{name} {value:.5g}" for name, value in line.items() if name != "step")
        self.say(f"step {step}: {shown}")

    def say(self, text: str) -> None:
        """Print a line to standard error, above the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)

    def say_once(self, text: str) -> None:
        """Print a line the first time that it is given."""
        if text not in self._printed:
            self._printed.add(text)
            self.say(text)

    def plot(self) -> None:
        """Draw `loss.png` from the lines so far."""
        if self._folder is None:
            return
        try:
            plot_losses(read_metrics(self.path), self._folder / PLOT_NAME)
        except ImportError:
            self.say_once("no loss.png: matplotlib is not installed (pip install matplotlib).")

    def speak(self, step: int, speakers: Sequence[Speak]) -> None:
        """Write spoken samples to `samples/step-N.wav`; a failure is reported and no error."""
        if self._folder is None or not speakers:
            return
        folder = self._folder / SAMPLES_NAME
        folder.mkdir(exist_ok=True)
        for number, speaker in enumerate(speakers, 1):
            path = folder / f"step-{step}{'' if number == 1 else f'-{number}'}.wav"
            try:
                speaker(path)
            except ChatterboxError as error:
                self.say(f"step {step}: no spoken sample: {error}")

    def close(self, failed: bool = False) -> None:
        """Close everything; `failed`: the run ended by an error."""
        for part in (self._bar, self._file):
            if part is not None:
                part.close()
        for tracker in self._trackers:
            tracker.close(failed)


def _bar(total: int, step: int):
    from tqdm import tqdm

    # disable=None: a bar on a terminal, nothing in a pipe.
    return tqdm(total=total, initial=step, desc="training", disable=None, file=sys.stderr)


def _figure() -> type:
    """Import Matplotlib's Figure, without its warning that its own folder cannot be written."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        from matplotlib.figure import Figure
    finally:
        logger.setLevel(level)
    return Figure


def plot_losses(lines: Sequence[Mapping], path: Path) -> None:
    """Draw every loss over the steps into a PNG file, whole or not at all.

    Raises:
        ImportError: matplotlib is not installed.
    """
    Figure = _figure()

    curves: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for name, value in line.items():
            is_drawn = type(value) in (int, float) and not abs(value) > _LARGEST  # or NaN: a gap
            if name.endswith("loss") and is_drawn:
                curves.setdefault(name, []).append((line["step"], value))
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        style = "o-" if name.startswith("eval") else "-"
        axes.plot(*zip(*points, strict=True), style, label=name, markersize=3)
    if any(value > 0 for points in curves.values() for _, value in points):
        axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    if curves:
        axes.legend()
    with whole_file(path, clean=True) as file:
        figure.savefig(file, format="png", dpi=100)


def speakers_of(
    checkpoint,
    texts: Sequence[str],
    voice,
    language: str | None = None,
    seed: int = 0,
    max_new_tokens: int | None = None,
) -> list[Speak]:
    """Make functions that speak one text each with the networks' present weights.

    Args:
        checkpoint: `Checkpoint` with the networks in training; its generation settings decide
            whether the speech is watermarked.
        voice: a recording (file, or samples at 24 kHz), or None for the checkpoint's own voice.
        language: language of the texts, for multilingual models.
        max_new_tokens: limit for a model that has not learnt to stop; None: a second and 0.2 s for
            every character.
    """
    from ..api.tts import CLASSES, ChatterboxMultilingualTTS
    from ..audio.files import save_audio

    tts = CLASSES[checkpoint.config.kind](checkpoint)
    generate: Callable[..., np.ndarray] = tts.generate
    if isinstance(tts, ChatterboxMultilingualTTS):
        generate = partial(tts.generate, language_id=language)

    def speaker(text: str) -> Speak:
        limit = max_new_tokens or min(
            checkpoint.config.generation.max_new_tokens, 25 + 5 * len(text)
        )

        def speak(path: Path) -> None:
            if voice is None and tts.conds is None:
                raise MissingExtra("the checkpoint has no voice, and there is no evaluation clip.")
            wav = generate(
                text,
                audio_prompt_path=voice,
                seed=seed,
                max_new_tokens=limit,
                guard=False,
            )
            save_audio(path, wav, tts.sr)

        return speak

    return [speaker(text) for text in texts]
