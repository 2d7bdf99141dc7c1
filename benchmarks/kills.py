"""`python -m benchmarks.kills`: programs that are killed, or whose disk fills up, at any time.

Each of four (a sentence, a long text, a conversion, a training run) is started again and again on
small models and killed at a random moment; then its disk, a tmpfs of a few megabytes, is filled
while it runs. At every moment each file must be there whole or not at all. Afterwards the same
command, undisturbed, must give what it gives without all that, and leave nothing else behind. A
full disk must be reported on standard error, without a traceback, by exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_chatterbox.audio.files import save_audio
from mlx_chatterbox.commands.cli import add_verbose
from mlx_chatterbox.errors import ChatterboxError
from mlx_chatterbox.runtime.number_options import seed, whole
from mlx_chatterbox.runtime.program import run_program
from mlx_chatterbox.weights.conversion.core import convert_folder
from parity.fabricate.checkpoint import fabricate
from parity.fabricate.small import small_config
from parity.inputs.synthetic_voice import synthetic_voice

from .jobs import compose

# Room beyond the outputs: temporary files, and the pages of a file system.
_ROOM = 32 << 20
_FULL = ("No space left", "disk is full", "disk quota", "make room")
# In them are times of day, seconds that something took, or names of temporary folders.
_TIMED = ("metrics.jsonl", "manifest.json", "job.json", "state.json", "config.yaml", "loss.png")


@dataclass(frozen=True)
class Program:
    """A program that is disturbed.

    Attributes:
        name: of what it does.
        command: its words, for a folder of outputs; it may look at what is there already.
        kept: patterns of the files that must be whole at every moment, and the same at the end.
    """

    name: str
    command: Callable[[Path], list[str]]
    kept: tuple[str, ...]

    def start(self, folder: Path, log: Path) -> subprocess.Popen:
        words = [sys.executable, "-m", *map(str, self.command(folder))]
        with log.open("w") as file:
            return subprocess.Popen(words, stdout=file, stderr=file)

    def files(self, folder: Path) -> dict[str, str]:
        """SHA-256 of the files that must be whole, by name."""
        paths = {path for pattern in self.kept for path in folder.glob(pattern)}
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(paths)
            if path.is_file() and path.name not in _TIMED
        }


def programs(work: Path, words: int) -> dict[str, Program]:
    """All programs, with what they read in `work`."""
    model, clips = _small_model(work), _clips(work / "clips")
    book, config = work / "book.txt", work / "voice.yaml"
    book.write_text(compose(words), encoding="utf-8")
    speak = ["mlx_chatterbox.generate", "--model", "pocket", "--seed", "1"]

    def sentence(folder: Path) -> list[str]:
        text = ["--text", "A short sentence.", "--save-voice", folder / "a.safetensors"]
        return [*speak, *text, "--output", folder / "a.wav"]

    def long_text(folder: Path) -> list[str]:
        more = ["--subtitles", "srt", "--batch-size", "2"]
        return [*speak, "--file", book, *more, "--output", folder / "b.flac"]

    def conversion(folder: Path) -> list[str]:
        return ["convert", model, folder / "model", "--dtype", "float16", "--force"]

    def training(folder: Path) -> list[str]:
        run = folder / "run"
        if (run / "last").exists():
            return ["mlx_chatterbox.train", "resume", run]
        config.write_text(_TRAINING.format(model=model, clips=clips, run=run), encoding="utf-8")
        return ["mlx_chatterbox.train", "--config", config]

    every = ("*", "*/*")
    return {
        "generate": Program("generate", sentence, ("*.wav", "*.safetensors")),
        "job": Program("job", long_text, ("*.flac", "*.srt", "*.job/pieces/*.flac")),
        "convert": Program("convert", conversion, tuple(f"model/{pattern}" for pattern in every)),
        "train": Program("train", training, ("run/checkpoint-*/*", "run/final_model/*")),
    }


_TRAINING = """\
model: {{local_model_dir: {model}, freeze_components: [voice_encoder, s3gen]}}
dataset: {{dataset_path: {clips}, eval_split_size: 0.2}}
training:
  output_dir: {run}
  num_train_epochs: 3
  per_device_train_batch_size: 2
  logging_steps: 1
  eval_steps: 2
  save_steps: 1
  save_total_limit: 100
  spoken_samples: false
"""


def _small_model(work: Path) -> Path:
    upstream = fabricate(work / "upstream", config=small_config())
    return convert_folder(upstream, work / "small", config=small_config())


def _clips(folder: Path) -> Path:
    folder.mkdir()
    for number in range(6):
        save_audio(folder / f"{number}.wav", synthetic_voice(1.5, seed=number), 24000)
        text = ("One apple.", "Two pears.", "Three plums.")[number % 3]
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return folder


class KillTrial:
    """A program, and its undisturbed output."""

    def __init__(self, program: Program, work: Path, draw: random.Random):
        self.program, self._draw = program, draw
        self._log, whole = work / f"{program.name}.log", work / f"{program.name}-whole"
        whole.mkdir()
        started = time.perf_counter()
        self._finish(whole)
        self.seconds = time.perf_counter() - started
        self._expected, self._names = program.files(whole), _names(whole)
        self._bytes = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())

    def kills(self, folder: Path, count: int) -> int:
        """Kill the program so often; returns how many kills met it at work."""
        met = 0
        for _ in range(count):
            process = self.program.start(folder, self._log)
            try:
                process.wait(timeout=self._draw.uniform(0.1, self.seconds))
                self._empty(folder)  # it came through
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                met += 1
            self._check_whole(folder)
        self._finish(folder)
        self._check_all(folder)
        return met

    def full_disk(self, folder: Path) -> bool:
        """Fill its disk at a random moment; True if it failed of that."""
        filler = folder / "filler"
        process = self.program.start(folder, self._log)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=self._draw.uniform(0.0, self.seconds))
        _fill(filler, self._draw.randrange(self._bytes))
        code = process.wait()
        log = self._log.read_text()
        if code not in (0, 1) or "Traceback" in log:
            raise ChatterboxError(f"{self.program.name}, exit code {code} on a full disk: {log}")
        if code and not any(words in log for words in _FULL):
            raise ChatterboxError(f"{self.program.name} does not say that the disk is full: {log}")
        self._check_whole(folder)
        filler.unlink()
        self._finish(folder)
        self._check_all(folder)
        self._empty(folder)
        return code == 1

    @property
    def room(self) -> int:
        """Size of a disk, in bytes, on which it succeeds."""
        return 3 * self._bytes + _ROOM

    def _finish(self, folder: Path) -> None:
        if self.program.start(folder, self._log).wait():
            raise ChatterboxError(f"{self.program.name} failed: {self._log.read_text()}")

    def _check_whole(self, folder: Path) -> None:
        for name, digest in self.program.files(folder).items():
            if digest != self._expected.get(name):
                raise ChatterboxError(
                    f"{self.program.name}: {name} differs from the undisturbed run."
                )

    def _check_all(self, folder: Path) -> None:
        if self.program.files(folder) != self._expected:
            raise ChatterboxError(f"{self.program.name}: files are missing or differ.")
        if left := _names(folder) ^ self._names:
            raise ChatterboxError(
                f"{self.program.name}: unexpected or missing files: {sorted(left)}."
            )

    def _empty(self, folder: Path) -> None:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def _fill(path: Path, free: int) -> None:
    """Fill the disk of a file, leaving `left` bytes."""
    left = shutil.disk_usage(path.parent).free - free
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 16)))


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path | None]:
    """Mount a disk of so many bytes; None where this user may not."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def measure(names: Sequence[str], kills: int, fills: int, words: int, seed: int) -> dict:
    """Disturb programs.

    Returns:
        by program its seconds, and the numbers of kills and full disks that met it (None where no
        disk can be made).

    Raises:
        ChatterboxError: something was lost, cut short, left behind or not reported.
    """
    outcomes = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        every = programs(work, words)
        for name in names:
            trial = KillTrial(every[name], work, random.Random(f"{seed} {name}"))
            place = work / f"{name}-killed"
            place.mkdir()
            met = trial.kills(place, kills)
            with small_disk(work / f"{name}-full", trial.room) as disk:
                full = None if disk is None else sum(trial.full_disk(disk) for _ in range(fills))
            outcomes[name] = {"seconds": round(trial.seconds, 2), "killed": met, "disk_full": full}
            print(f"{name}: {outcomes[name]}", file=sys.stderr, flush=True)
    return outcomes


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    names = ("generate", "job", "convert", "train")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kills",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=", ".join(names) + " (all)")
    parser.add_argument(
        "--kills", type=whole(0, 10_000), default=10, metavar="N", help="of each (10)"
    )
    parser.add_argument(
        "--fills", type=whole(0, 10_000), default=10, metavar="N", help="of each's disk (10)"
    )
    parser.add_argument(
        "--words", type=whole(1, 1_000_000), default=40, metavar="N", help="of the long text (40)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the moments (0)")
    add_verbose(parser)

    def work(arguments: argparse.Namespace) -> None:
        if unknown := set(arguments.programs) - set(names):
            parser.error(f"no program is called {', '.join(sorted(unknown))}")
        chosen = arguments.programs or names
        settings = (arguments.kills, arguments.fills, arguments.words, arguments.seed)
        print(json.dumps(measure(chosen, *settings)))

    return run_program(parser, argv, work)


if __name__ == "__main__":
    sys.exit(main())
