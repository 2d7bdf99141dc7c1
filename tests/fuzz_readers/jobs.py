"""Folders of jobs and batches: one of their files is damaged, and the job resumes."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from tests.fuzz_damage import damage_bytes, damage_json
from tests.fuzzing import Reader

_TEXTS = ["This is one.", "It babbles, two.", "This is three."]
_TABLE = "text,output\nHello there.,a.wav\nAnd you.,b.wav\n"


def _speak(folder: Path) -> None:
    from mlx_chatterbox.longform.book import speak_document
    from tests.longform.job_stub import StubTTS, document

    speak_document(
        StubTTS(folder / "model"), document(_TEXTS), folder / "a.wav", seed=1, batch_size=2
    )


def _speak_table(folder: Path) -> None:
    from mlx_chatterbox.longform.batch import speak_batch
    from tests.longform.job_stub import StubTTS

    source = folder / "rows.csv"
    source.write_text(_TABLE)
    (folder / "out").mkdir(exist_ok=True)
    speak_batch(StubTTS(folder / "model"), source, folder / "out", longest=300, seed=1)


_KINDS = {"job": _speak, "batch": _speak_table}


@cache
def _finished(kind: str) -> dict[Path, bytes]:
    """The files of a finished job, made once a process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _KINDS[kind](folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder): path.read_bytes() for path in files}


def _files(kind: str) -> list[Path]:
    """The job's own files, one of each kind."""
    found: dict[tuple[str, str], Path] = {}
    for place in _finished(kind):
        if any(part.endswith(".job") for part in place.parts):
            long = len(place.name) > 30
            found.setdefault((str(place.parent), place.suffix if long else place.name), place)
    return [place for place in found.values() if place.name != "lock"]


def _read(path: Path, kind: str) -> None:
    """The first line is the number of the damaged file."""
    number, _, content = path.read_bytes().partition(b"\n")
    files = _files(kind)
    place = files[int(number) % len(files) if number.isdigit() and len(number) < 5 else 0]
    folder = path.parent / "work"
    for name, sound in _finished(kind).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if name == place else sound)
    _KINDS[kind](folder)
    # Whatever was accepted, the job is finished in the end.
    _KINDS[kind](folder)


def read_job(path: Path) -> None:
    _read(path, "job")


def read_batch(path: Path) -> None:
    _read(path, "batch")


def _seeds(kind: str) -> list[bytes]:
    return [
        str(number).encode() + b"\n" + _finished(kind)[place]
        for number, place in enumerate(_files(kind))
    ]


def jobs() -> list[bytes]:
    return _seeds("job")


def batches() -> list[bytes]:
    return _seeds("batch")


def _after_number(damage):
    """Damage of what follows the first line."""

    def damaged(rng, content: bytes) -> bytes:
        number, _, rest = content.partition(b"\n")
        return number + b"\n" + damage(rng, rest)

    return damaged


_DAMAGES = (_after_number(damage_json), _after_number(damage_json), _after_number(damage_bytes))

READERS = (
    Reader("job", read_job, jobs, _DAMAGES, quick=15),
    Reader("batch", read_batch, batches, _DAMAGES, quick=0),
)
