"""Go on with work that another commit began, and read the files that it wrote.

    python -m benchmarks.older --commit v1.0

A temporary worktree of the commit starts a long text, a table of texts and a training run, and is
killed in the middle of each; it also saves a voice and converts a model. This working tree then
finishes and reads all of it. What was done before must stay as it is, by SHA-256; what is added
must be what the other commit, undisturbed, makes: the same tokens, the same weights of a conversion
by value. Samples and trained weights are compared up to rounding, which may have changed between
the two: samples to -50 dB, weights to 1 % of the way that training took them.

Where Ray is installed, the long text is also finished by two of its workers.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from safetensors.numpy import load_file

from mlx_chatterbox.audio.files import save_audio
from mlx_chatterbox.commands.cli import add_verbose
from mlx_chatterbox.runtime.number_options import whole
from mlx_chatterbox.runtime.program import run_program
from parity.inputs.synthetic_voice import synthetic_voice

from .errors import BenchmarkError
from .jobs import compose
from .unchanged import HERE, commit_of, worktree_of

PATIENCE = 600.0
RAY_WORKERS = 2
_POCKET = ("mlx_chatterbox.generate", "--model", "pocket", "--seed", 1)
# Of a waveform's level, in dB, and of the way from the first checkpoint's weights to the last's.
SAME_SAMPLES = -50.0
SAME_TRAINING = 0.01
# Fields of a job's manifest that are the speech of a piece.
_SPEECH = ("text", "seed", "tokens", "tries", "outcome", "samples")
# Speaks by public names alone, since it runs in both trees; prints tokens.
_SPEAK = """
import json, sys
from mlx_chatterbox import ChatterboxTTS, ChatterboxTurboTTS, Voice
kind = {"english": ChatterboxTTS, "nano": ChatterboxTurboTTS}[sys.argv[1]]
tts = kind.from_pretrained("pocket") if sys.argv[2] == "pocket" else kind.from_local(sys.argv[2])
voice = Voice.load(sys.argv[3]) if sys.argv[3:] else None
tts.generate("A short sentence.", voice=voice, seed=1, max_new_tokens=40, guard=False)
print(json.dumps([int(token) for token in tts.last_tokens]))
"""
_TRAINING = """\
model: {{local_model_dir: {model}, freeze_components: [voice_encoder, s3gen]}}
dataset: {{dataset_path: {clips}, eval_split_size: 0.2}}
training:
  output_dir: {run}
  num_train_epochs: 6
  per_device_train_batch_size: 2
  logging_steps: 1
  eval_steps: 100
  save_steps: 2
  save_total_limit: 100
  spoken_samples: false
"""


@dataclass(frozen=True)
class Tree:
    """A checkout whose programs are started.

    Attributes:
        root: its folder.
        log: file that gets what the latest program printed.
    """

    root: Path
    log: Path

    def start(self, *words: object) -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": str(self.root), "PYTHONHASHSEED": "0"}
        with self.log.open("w", encoding="utf-8") as log:
            command = [sys.executable, "-m", *map(str, words)]
            return subprocess.Popen(command, cwd=self.root, env=environment, stdout=log, stderr=log)

    def run(self, *words: object) -> None:
        """Run a program to its end.

        Raises:
            BenchmarkError: its exit code is not 0.
        """
        if code := self.start(*words).wait():
            printed = self.log.read_text(encoding="utf-8", errors="replace")
            raise BenchmarkError(f"{words[0]} in {self.root} (exit code {code}): {printed[-2000:]}")

    def speak(self, kind: str, *words: object) -> list[int]:
        """Tokens of a sentence; see `_SPEAK`."""
        environment = os.environ | {"PYTHONPATH": str(self.root)}
        command = [sys.executable, "-c", _SPEAK, kind, *map(str, words)]
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BenchmarkError(f"{self.root} cannot speak: {done.stderr[-2000:]}")
        return json.loads(done.stdout)

    def kill_when(self, ready: Callable[[], bool], *words: object) -> None:
        """Kill a program as soon as it has done enough.

        Raises:
            BenchmarkError: it ended before, or takes too long.
        """
        process, started = self.start(*words), time.monotonic()
        try:
            while not ready():
                if process.poll() is not None:
                    raise BenchmarkError(f"{words[0]} ended before it could be killed: {self.log}")
                if time.monotonic() - started > PATIENCE:
                    raise BenchmarkError(f"{words[0]} did nothing within {PATIENCE:g} s")
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()


@dataclass
class ComparedValues:
    """The number of values compared, and a line for each that differs."""

    values: int = 0
    problems: list[str] = field(default_factory=list)

    def equal(self, what: str, ours: object, theirs: object) -> None:
        self.values += 1
        if ours != theirs:
            self.problems.append(f"{what}: {str(theirs)[:100]} became {str(ours)[:100]}")

    def same_files(self, what: str, ours: dict[str, str], theirs: dict[str, str]) -> None:
        for name in sorted(ours.keys() | theirs.keys()):
            self.equal(f"{what}: {name}", ours.get(name, "missing"), theirs.get(name, "missing"))

    def same_weights(self, what: str, ours: Path, theirs: Path) -> None:
        for path in sorted(theirs.rglob("*.safetensors")):
            name = path.relative_to(theirs)
            mine, other = load_file(ours / name), load_file(path)
            self.equal(f"{what}: names in {name}", sorted(mine), sorted(other))
            for key in sorted(mine.keys() & other.keys()):
                same = mine[key].dtype == other[key].dtype and np.array_equal(mine[key], other[key])
                self.equal(f"{what}: {name}: {key}", same, True)

    def same_samples(self, what: str, ours: Path, theirs: Path) -> None:
        (mine, rate), (other, other_rate) = soundfile.read(ours), soundfile.read(theirs)
        self.equal(f"{what}: length of {ours.name}", (len(mine), rate), (len(other), other_rate))
        if len(mine) == len(other):
            level = 10 * np.log10(np.mean((mine - other) ** 2) / np.mean(other**2) + 1e-20)
            self.equal(f"{what}: {ours.name}, {level:.0f} dB", level < SAME_SAMPLES, True)

    def same_training(self, ours: Path, theirs: Path, before: Path) -> None:
        """Compare two ends of training: their distance, by the way to them from a checkpoint."""
        mine, other, before = (
            load_file(one / "weights.safetensors") for one in (ours, theirs, before)
        )
        self.equal("training: names of weights", sorted(mine), sorted(other))
        names = mine.keys() & other.keys() & before.keys()
        apart, way = (
            sum(float(np.sum((np.float64(other[name]) - one[name]) ** 2)) for name in names)
            for one in (mine, before)
        )
        self.equal("training: weights have moved", way > 0, True)
        share = (apart / max(way, 1e-300)) ** 0.5
        self.equal(f"training: {share:.2g} of the way apart", share < SAME_TRAINING, True)


def digests(folder: Path, *patterns: str) -> dict[str, str]:
    """SHA-256 of files by their names."""
    paths = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def speech(manifest: Path) -> list[dict]:
    """The part of a job's manifest that is the speech of its pieces."""
    pieces = json.loads(manifest.read_text(encoding="utf-8"))["pieces"]
    return [{name: piece.get(name) for name in _SPEECH} for piece in pieces]


class Trial:
    """Both trees, the folder in which they work, and the result of comparing."""

    def __init__(self, ours: Tree, theirs: Tree, work: Path, words: int):
        self.ours, self.theirs, self.work = ours, theirs, work
        self.comparison = ComparedValues()
        self._text = compose(words)

    def _folder(self, name: str) -> Path:
        folder = self.work / name
        folder.mkdir()
        return folder

    def job(self) -> None:
        """A long text, killed after its second piece."""
        book = self.work / "book.txt"
        book.write_text(self._text, encoding="utf-8")
        speak = [*_POCKET, "--file", book, "--batch-size", 2, "--output"]
        whole_run, begun = self._folder("whole"), self._folder("begun")
        self.theirs.run(*speak, whole_run / "b.flac")
        pieces = begun / "b.flac.job" / "pieces"
        # A piece is there when its record is, which is written last.
        self.theirs.kill_when(
            lambda: len(list(pieces.glob("*.json"))) >= 2, *speak, begun / "b.flac"
        )
        before = digests(pieces, *(f"{record.stem}.flac" for record in pieces.glob("*.json")))
        runs = {"job": (begun, ())}
        if importlib.util.find_spec("ray") is not None:
            shutil.copytree(begun, self.work / "ray")
            runs["job by Ray's workers"] = (self.work / "ray", ("--ray", RAY_WORKERS))
        for name, (folder, more) in runs.items():
            self.ours.run(*speak, folder / "b.flac", *more)
            after = digests(folder / "b.flac.job" / "pieces", "*.flac")
            self.comparison.same_files(
                f"{name}, begun", {one: after.get(one) for one in before}, before
            )
            manifests = [one / "b.flac.job" / "manifest.json" for one in (folder, whole_run)]
            self.comparison.equal(f"{name}: speech", *map(speech, manifests))
            self.comparison.same_samples(name, folder / "b.flac", whole_run / "b.flac")

    def batch(self) -> None:
        """A table of texts in two voices, killed after its second output."""
        table, recording = self.work / "table.csv", self.work / "a.wav"
        save_audio(recording, synthetic_voice(6.0, seed=1), 24000)
        sentences = [line.strip() for line in self._text.split(".") if line.strip()][:12]
        rows = [
            f'"{text}.",{recording.name if number % 2 else ""},{number}.wav'
            for number, text in enumerate(sentences)
        ]
        table.write_text("\n".join(["text,voice,output", *rows]) + "\n", encoding="utf-8")
        speak = [*_POCKET, "--batch", table, "--batch-size", 2, "--output-dir"]
        whole_run, begun = self._folder("whole"), self._folder("begun")
        self.theirs.run(*speak, whole_run)
        self.theirs.kill_when(lambda: len(list(begun.glob("*.wav"))) >= 2, *speak, begun)
        before = digests(begun, "*.wav")
        self.ours.run(*speak, begun)
        after = digests(begun, "*.wav")
        self.comparison.same_files("batch, begun", {one: after.get(one) for one in before}, before)
        for path in sorted(whole_run.glob("*.wav")):
            self.comparison.same_samples("batch", begun / path.name, path)

    def voice(self) -> None:
        """A voice that was saved, spoken with."""
        speak = [*_POCKET, "--text", "A short sentence.", "--output"]
        spoken, saved = self.work / "a.wav", self.work / "a.safetensors"
        self.theirs.run(*speak, spoken)
        self.theirs.run(*speak, self.work / "b.wav", "--voice", spoken, "--save-voice", saved)
        tokens = [tree.speak("english", "pocket", saved) for tree in (self.ours, self.theirs)]
        self.comparison.equal("voice: tokens", *tokens)

    def conversion(self) -> None:
        """A model of published size, converted: the same weights, and the same tokens."""
        upstream = self.work / "upstream"
        self.ours.run("parity", "fabricate", upstream, "--variant", "nano")
        for tree, name in ((self.ours, "ours"), (self.theirs, "theirs")):
            tree.run("convert", upstream, self.work / name, "--dtype", "float16")
        ours, theirs = self.work / "ours", self.work / "theirs"
        self.comparison.same_weights("conversion", ours, theirs)
        saved, recording = self.work / "a.safetensors", self.work / "a.wav"
        save_audio(recording, synthetic_voice(6.0, seed=1), 24000)
        speak = ["mlx_chatterbox.generate", "--model", theirs, "--text", "Yes.", "--seed", 1]
        speak += ["--max-new-tokens", 10, "--output", self.work / "b.wav", "--no-guard"]
        self.theirs.run(*speak, "--voice", recording, "--save-voice", saved)
        tokens = [tree.speak("nano", theirs, saved) for tree in (self.ours, self.theirs)]
        self.comparison.equal("converted model: tokens", *tokens)

    def training(self) -> None:
        """A training run of pocket, killed after its first checkpoint."""
        model, clips = self.theirs.root / "mlx_chatterbox" / "pocket", self._folder("clips")
        for number, text in enumerate(("One apple.", "Two pears.", "Three plums.") * 2):
            save_audio(clips / f"{number}.wav", synthetic_voice(1.5, seed=number), 24000)
            (clips / f"{number}.txt").write_text(text, encoding="utf-8")
        runs = [self._folder("whole") / "run", self._folder("begun") / "run"]
        commands = []
        for run in runs:
            config = run.with_name("voice.yaml")
            config.write_text(_TRAINING.format(model=model, clips=clips, run=run), encoding="utf-8")
            commands.append(["mlx_chatterbox.train", "--config", config])
        self.theirs.run(*commands[0])
        self.theirs.kill_when((runs[1] / "last").exists, *commands[1])
        self.ours.run("mlx_chatterbox.train", "resume", runs[1])
        theirs, ours = (run / "last" for run in runs)
        self.comparison.same_training(ours, theirs, runs[0] / "checkpoint-2")


CASES: dict[str, Callable[[Trial], None]] = {
    "job": Trial.job,
    "batch": Trial.batch,
    "voice": Trial.voice,
    "convert": Trial.conversion,
    "train": Trial.training,
}


def measure(names: Sequence[str], commit: str, words: int) -> Iterator[tuple[str, ComparedValues]]:
    """Compare case after case; yield each with what came of it."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with worktree_of(commit, folder) as root:
            ours, theirs = (Tree(one, folder / "program.log") for one in (HERE, root))
            for name in names:
                work = folder / name
                work.mkdir()
                trial = Trial(ours, theirs, work, words)
                CASES[name](trial)
                yield name, trial.comparison


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.older",
        description=__doc__,
        epilog="exit codes: 0 all is equal, 1 something differs or failed, 2 wrong use",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)} (default: all)"
    )
    parser.add_argument("--commit", required=True, help="the commit that begins")
    parser.add_argument(
        "--words", type=whole(20, 100_000), default=120, help="of the long text (120)"
    )
    add_verbose(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = build_parser()

    def work(arguments: argparse.Namespace) -> int:
        if unknown := set(arguments.cases) - CASES.keys():
            parser.error(f"no case is called {', '.join(sorted(unknown))}")
        commit, failed = commit_of(arguments.commit), False
        for name, comparison in measure(arguments.cases or list(CASES), commit, arguments.words):
            for line in comparison.problems[:20]:
                print(line)
            count = len(comparison.problems)
            print(f"{name}: {count} of {comparison.values} differ from {commit[:12]}", flush=True)
            failed = failed or bool(count)
        return int(failed)

    return run_program(parser, argv, work, name="older")


if __name__ == "__main__":
    sys.exit(main())
