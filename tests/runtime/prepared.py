"""Folders that an attacker may have prepared, and special files."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

from mlx_chatterbox.longform.batch import speak_batch
from mlx_chatterbox.longform.book import speak_document
from mlx_chatterbox.longform.job import job_folder
from tests.longform.job_stub import StubTTS, document

SENTENCES = ["This is one.", "This is two.", "This is three."]


class Place:
    """A folder with an output and its job, and one outside that must not change."""

    def __init__(self, folder: Path):
        self.folder, self.outside = folder / "in", folder / "outside"
        self.folder.mkdir()
        self.outside.mkdir()
        for name in ("a.flac", "notes.txt", f"{'0' * 32}.flac", "job.json", "x.safetensors"):
            (self.outside / name).write_text("precious")
        (self.outside / "sub").mkdir()
        self._before = self._outside()
        self.output = self.folder / "out.wav"
        self.job = job_folder(self.output)

    def speak(self, **options) -> StubTTS:
        tts = StubTTS(self.folder.parent / "model")
        speak_document(tts, document(SENTENCES), self.output, seed=1, batch_size=2, **options)
        return tts

    def batch(self, table: str, **options) -> dict[str, tuple[str, str]]:
        """Status and message of each row's output."""
        source = self.folder.parent / "rows.csv"
        source.write_bytes(table.encode())
        tts = StubTTS(self.folder.parent / "model")
        lines = speak_batch(tts, source, self.folder, longest=300, seed=1, **options)
        return {line.output: (line.status, line.message) for line in lines}

    def untouched(self) -> bool:
        """Tell whether everything outside is unchanged."""
        return self._outside() == self._before

    def _outside(self) -> dict[str, str]:
        return {
            path.name: path.read_text() if path.is_file() else "" for path in self.outside.iterdir()
        }


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def make_odd(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket has 107 bytes at most
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(path.name)
        finally:
            os.chdir(here)


ODD = ["pipe", "folder", "device", "socket"]


def in_time(work):
    """Result or error of work, which may not wait for a pipe, or read a device to its end."""
    found = []

    def run():
        try:
            found.append(work())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert found, "it hangs"
    return found[0]
