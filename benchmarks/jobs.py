"""Long texts as jobs: bounded memory, and kills that leave no trace.

    python -m benchmarks.jobs --words 3000 --kills 10

Speaks a text of 100 words (three times) and a long one, by the command that a user types, each in
a process of its own, and compares their peak memory. Then the long one again, killed (SIGKILL) at
random moments until it comes through; the file must be the same, byte for byte. The text is made
of the sentences that the package composes for its own training (`train/pocket`).
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mlx_chatterbox.commands.cli import add_verbose
from mlx_chatterbox.errors import ChatterboxError
from mlx_chatterbox.recognition.recogniser import Recogniser
from mlx_chatterbox.recognition.word_errors import comparable_words, edit_distance
from mlx_chatterbox.runtime.number_options import seed, whole
from mlx_chatterbox.runtime.program import run_program
from mlx_chatterbox.train.pocket.texts import template_sentence

SHORT_WORDS = 100
# Two threads work on neighbouring sentences; how much both need at the same moment is chance, and
# few sentences draw it seldom.
SHORT_RUNS = 3
# The command, then its peak memory.
_COMMAND = """
import sys
from mlx_chatterbox.generate import main
from benchmarks.worker import peak_resident
code = main(sys.argv[1:])
print(peak_resident())
sys.exit(code)
"""
SENTENCES_OF_A_PARAGRAPH = 6


def compose(words: int, seed: int = 1) -> str:
    """Text of at least `words` words, in paragraphs; the same for the same seed."""
    draw = random.Random(seed)
    paragraphs: list[str] = []
    count = 0
    while count < words:
        sentences = [_sentence(draw) for _ in range(SENTENCES_OF_A_PARAGRAPH)]
        paragraphs.append(" ".join(sentences))
        count += len(paragraphs[-1].split())
    return "\n\n".join(paragraphs) + "\n"


def _sentence(draw: random.Random) -> str:
    text = template_sentence(draw).strip()
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".?!" else text + "."


class Speaking:
    """The command on a text, in processes that are measured and can be killed."""

    def __init__(self, folder: Path, model: str, batch_size: int):
        self.folder, self._model, self._batch_size = folder, model, batch_size

    def start(self, text: str, name: str) -> subprocess.Popen:
        """Speak `text` into `name`.wav."""
        source = self.folder / f"{name}.txt"
        source.write_text(text, encoding="utf-8")
        command = [sys.executable, "-c", _COMMAND, "--file", source]
        command += ["--model", self._model, "--seed", 1, "--output", self.output(name)]
        command += ["--batch-size", self._batch_size]
        with (self.folder / f"{name}.log").open("w") as log:
            return subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)

    def output(self, name: str) -> Path:
        return self.folder / f"{name}.wav"

    def whole(self, text: str, name: str) -> dict:
        """Speak without disturbance: seconds, and bytes of memory at most.

        Raises:
            ChatterboxError: it failed.
        """
        started = time.perf_counter()
        code = self.start(text, name).wait()
        log = (self.folder / f"{name}.log").read_text()
        if code:
            raise ChatterboxError(f"the command failed: {log}")
        return {"seconds": time.perf_counter() - started, "peak": int(log.split()[-1])}

    def killed(self, text: str, name: str, kills: int, seconds: float, draw: random.Random) -> int:
        """Speak with kills at random moments; how many there were before it came through.

        Args:
            seconds: how long it takes undisturbed.
        """
        longest = min(2 * seconds / kills + 2, 0.75 * seconds)
        for count in range(kills):
            process = self.start(text, name)
            try:
                process.wait(timeout=draw.uniform(0.2, longest))
                return count
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
        self.whole(text, name)
        return kills


def word_error_rate(folder: Path, name: str, recogniser: Recogniser) -> float:
    """Measure the word error rate of a spoken text, piece by piece; it may exceed 1."""
    import soundfile

    manifest = json.loads((folder / f"{name}.wav.job" / "manifest.json").read_text())
    errors = words = 0
    rate = manifest["sample_rate"]
    for piece in manifest["pieces"]:
        if "tokens" not in piece:
            continue
        start, end = (round(piece[key] * rate) for key in ("start", "end"))
        waveform, _ = soundfile.read(folder / f"{name}.wav", start=start, stop=end, dtype="float32")
        expected = comparable_words(piece["text"])
        errors += edit_distance(expected, comparable_words(recogniser(waveform)))
        words += len(expected)
    return errors / words


def measure(arguments: argparse.Namespace, folder: Path) -> dict:
    """Run everything; returns the figures."""
    speaking = Speaking(folder, arguments.model, arguments.batch_size)
    recogniser = Recogniser() if arguments.word_errors else None
    short, long = compose(SHORT_WORDS), compose(arguments.words)
    firsts = [speaking.whole(short, f"short-{run}") for run in range(SHORT_RUNS)]
    print(f"{SHORT_WORDS} words: {firsts}", file=sys.stderr, flush=True)
    peak_short = max(first["peak"] for first in firsts)
    whole = speaking.whole(long, "whole")
    print(f"{arguments.words} words: {whole}", file=sys.stderr, flush=True)
    draw = random.Random(arguments.chance)
    kills = speaking.killed(long, "killed", arguments.kills, whole["seconds"], draw)
    same = speaking.output("whole").read_bytes() == speaking.output("killed").read_bytes()
    figures = {
        "words": len(long.split()),
        "seconds": round(whole["seconds"], 1),
        "peak_short": peak_short,
        "peak_long": whole["peak"],
        "growth": round(whole["peak"] / peak_short - 1, 4),
        "kills": kills,
        "same": same,
    }
    if recogniser is not None:
        figures["word_error_rate"] = round(word_error_rate(folder, "whole", recogniser), 4)
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code, 1 if memory grew by a tenth or the files differ."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.jobs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--words", type=whole(1, 1_000_000), default=3000, metavar="N", help="(3000)"
    )
    parser.add_argument("--kills", type=whole(0, 10_000), default=10, metavar="N", help="(10)")
    parser.add_argument("--model", default="pocket", metavar="NAME", help="(pocket)")
    parser.add_argument("--batch-size", type=whole(1, 10_000), default=8, metavar="N", help="(8)")
    parser.add_argument("--chance", type=seed, metavar="SEED", help="of the moments; else any")
    parser.add_argument(
        "--word-errors",
        action="store_true",
        help="also measure the word error rate (needs pocketsphinx)",
    )
    add_verbose(parser)
    return run_program(parser, argv, _work)


def _work(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments, Path(folder))
    print(json.dumps(figures))
    return 0 if figures["same"] and figures["growth"] <= 0.1 else 1


if __name__ == "__main__":
    sys.exit(main())
