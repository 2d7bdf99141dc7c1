"""The place where a page's blocks run: programs, inputs, small models under upstream's names."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mlx_chatterbox.audio.files import save_audio
from mlx_chatterbox.parity.fabricate.checkpoint import fabricate
from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice
from mlx_chatterbox.runtime.folders import cache_folder
from mlx_chatterbox.weights.chattts_files import PUBLISHED
from mlx_chatterbox.weights.variants import variant_named
from tests.chattts_reference import text
from tests.docs.acceptance import scripts
from tests.docs.pages import ROOT, Command, blocks
from tests.longform.epubs import write_epub
from tests.small import small_config
from tests.speaking_chattts import write_speaking_chattts
from tests.train.data import SENTENCES
from tests.weights.hub_stand_in import Hub, hub_stand_in

RATE = 24000
LONGEST = 300  # seconds for a command, on a busy machine
POCKET = ROOT / "mlx_chatterbox" / "pocket"


def _recording(seconds: float, seed: int) -> Callable[[Path], None]:
    return lambda path: save_audio(path, synthetic_voice(seconds, seed=seed), RATE)


def _text(*lines: str) -> Callable[[Path], None]:
    return lambda path: path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _book(path: Path) -> None:
    chapters = ("One", "Good morning."), ("Two", "Good night, and thank you.")
    bodies = {f"{i}.xhtml": f"<h1>{a}</h1><p>{b}</p>" for i, (a, b) in enumerate(chapters)}
    write_epub(path, bodies)


def _table(path: Path) -> None:
    _text("text,voice,output", "Good morning.,ann.wav,hello/morning.wav", "Good night.,,")(path)
    _recording(6.0, 5)(path.with_name("ann.wav"))


def _letters(path: Path) -> None:
    path.mkdir()
    _text("Dear Ann, thank you.")(path / "one.txt")
    _text("Dear Bob, good night.")(path / "two.txt")


def _voice_data(path: Path) -> None:
    path.mkdir()
    for number, sentence in enumerate(SENTENCES):
        _recording(1.6 + 0.1 * (number % 4), number)(path / f"{number}.wav")
        _text(sentence)(path / f"{number}.txt")


def _lexicon(path: Path) -> None:
    """Write the lexicon that the page shows."""
    page = blocks(ROOT / "docs" / "long-texts.md")
    path.write_text(next(b.code for b in page if b.code.startswith("# names.tsv")), "utf-8")


def _sounds(path: Path) -> None:
    path.mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "sounds" / "draw.py", path)


def _linked(target: Path) -> Callable[[Path], None]:
    def link(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    return link


# Inputs that a page's blocks name, and the functions that make them.
INPUTS: dict[str, Callable[[Path], None]] = {
    "me.wav": _recording(10.0, 1),
    "talk.wav": _recording(3.0, 2),
    "in.wav": _recording(2.0, 3),
    "hello.wav": _recording(2.0, 4),
    "letter.txt": _text("Dear Ann,", "", "thank you for the book."),
    "book.epub": _book,
    "spk_stat.txt": lambda path: path.write_text(text("speaker/stat_string"), encoding="utf-8"),
    "book.md": _text("# One", "", "Good morning.", "", "# Two", "", "Good night."),
    "rows.csv": _table,
    "letters": _letters,
    "names.tsv": _lexicon,
    "voice_data": _voice_data,
    "path/to/checkpoint": _linked(POCKET),
    "mlx_chatterbox/pocket/voices": _linked(POCKET / "voices"),
    "docs/sounds": _sounds,
    ".ci": _linked(ROOT / ".ci"),
}


@dataclass
class World:
    """Runs commands in a folder as a reader would.

    Attributes:
        folder: the current folder of one page's blocks.
        programs: the folder that is first on the path.
        runs: number so far; each has its own cache of the hub, so that `auto` is always pocket.
    """

    hub: Hub
    programs: Path
    cache: Path
    folder: Path = field(default_factory=Path)
    runs: int = 0

    def prepare(self, folder: Path, text: str) -> None:
        """Make a page's folder with every input that its blocks name."""
        self.folder = folder
        folder.mkdir()
        for name, make in INPUTS.items():
            if re.search(rf"(?<![\w./]){re.escape(name)}\b", text.replace("./", "")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                make(folder / name)

    def shell(self, command: Command) -> str:
        """Run a command and return its standard output.

        Raises:
            AssertionError: it failed, or did not end.
        """
        line = ["bash", "-euo", "pipefail", "-c", self._with_newest(command.text)]
        return self._run(line, str(command))

    def python(self, code: str, where: str) -> str:
        """Run a Python block and return its output; errors as in `shell`."""
        return self._run([str(self.programs / "python"), "-c", code], where)

    def _with_newest(self, text: str) -> str:
        """The command with the newest checkpoint in place of the one that the page names."""
        found = sorted(
            self.folder.glob("voice-training/checkpoint-*"), key=lambda path: path.stat().st_mtime
        )
        return re.sub(r"checkpoint-\d+", found[-1].name, text) if found else text

    def _run(self, line: list[str], where: str) -> str:
        self.runs += 1
        done = subprocess.run(
            line,
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST,
        )
        assert done.returncode == 0, f"{where}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.hub.environment(),
            "HF_HOME": str(self.cache / f"hub-{self.runs}"),
            "XDG_CACHE_HOME": str(self.cache),
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """A hub with small models under upstream's names, and programs that know their sizes."""
    cache, compiled = folder / "cache", cache_folder() / "kernels"
    if compiled.is_dir():  # otherwise every command would compile
        shutil.copytree(compiled, cache / "mlx-chatterbox" / "kernels")
        (cache / "mlx-chatterbox").chmod(0o700)
    with hub_stand_in() as hub:
        for name in ("english", "multilingual", "turbo", "flash"):
            made = fabricate(folder / name, variant=name, config=small_config(name))
            files = {path.name: path.read_bytes() for path in made.iterdir() if path.is_file()}
            repository = variant_named(name).repo
            known = hub.repositories.get(repository)
            hub.add(repository, {**(known.files if known else {}), **files})
        made = write_speaking_chattts(folder / "chattts")
        paths = (path for path in made.rglob("*") if path.is_file())
        files = {path.relative_to(made).as_posix(): path.read_bytes() for path in paths}
        hub.add(PUBLISHED.repo, files)
        yield World(hub, _programs(folder / "programs"), cache)


def _programs(folder: Path) -> Path:
    """Our programs by name, `python`, and ffmpeg where the machine has it only as a package."""
    folder.mkdir()
    ours = f"{shlex.quote(sys.executable)} -m tests.docs.small_sizes"
    lines = {"python": f'exec {ours} "$@"'}
    lines |= {name: f'exec {ours} -m {module} "$@"' for name, module in scripts().items()}
    for name, line in lines.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    if shutil.which("ffmpeg") is None:
        from imageio_ffmpeg import get_ffmpeg_exe

        (folder / "ffmpeg").symlink_to(get_ffmpeg_exe())
    return folder
