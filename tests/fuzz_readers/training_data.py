"""Lists of clips to train on, and files that training keeps about them and its progress."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path

from tests.fuzz_damage import damage_bytes, damage_json, damage_text
from tests.fuzzing import Reader

_NAMES = ("a", "b", "c")
_TEXT = "He said, it rains today."


def _with_recordings(path: Path, name: str) -> Path:
    """A folder with recordings that the list may name."""
    import numpy as np
    import soundfile

    folder = path.parent / "data"
    folder.mkdir()
    for number, one in enumerate(_NAMES):
        samples = 0.1 * np.sin(np.arange(36_000) / (5 + number))
        soundfile.write(folder / f"{one}.wav", samples, 24000)
    path.rename(folder / name)
    return folder


def _read_clips(folder: Path, kind: str) -> None:
    from mlx_chatterbox.train.data.check import read_clips
    from tests.train.data import section

    clips, report = read_clips(section(folder, kind), cache_dir=folder / "cache")
    assert len(clips) <= report.listed
    str(report)
    # Transcripts are cached, and read again.
    again, _ = read_clips(section(folder, kind), cache_dir=folder / "cache")
    assert [clip.id for clip in again] == [clip.id for clip in clips]


def read_table(path: Path) -> None:
    _read_clips(_with_recordings(path, "metadata.csv"), "metadata_csv")


def read_json(path: Path) -> None:
    _read_clips(_with_recordings(path, "metadata.json"), "metadata_json")


def read_transcript(path: Path) -> None:
    _read_clips(_with_recordings(path, "a.txt"), "wav_txt")


def tables() -> list[bytes]:
    texts = [
        "".join(f"{name}|ann|{_TEXT}\n" for name in _NAMES),
        "file,text,speaker\n" + "".join(f'{name}.wav,"{_TEXT}",ann\n' for name in _NAMES),
        "".join(f"{name}.wav\t{_TEXT}\ten\n" for name in _NAMES),
    ]
    return [text.encode() for text in texts] + [texts[0].encode("utf-16")]


def lists() -> list[bytes]:
    rows = [
        {"audio": f"{name}.wav", "text": _TEXT, "speaker": "ann", "offset": 0} for name in _NAMES
    ]
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    by_id = dict(zip(_NAMES, rows, strict=True))
    whole = [json.dumps(value).encode() for value in (rows, columns, by_id, {"data": rows})]
    return [*whole, "".join(json.dumps(row) + "\n" for row in rows).encode()]


def transcripts() -> list[bytes]:
    return [_TEXT.encode(), _TEXT.encode("utf-16")]


def damage_rows(rng: random.Random, content: bytes) -> bytes:
    """Damage one line of JSON Lines; any other content as a whole."""
    lines = content.split(b"\n")
    if len(lines) < 2:
        return damage_json(rng, content)
    at = rng.randrange(len(lines) - 1)
    lines[at] = damage_json(rng, lines[at])
    return b"\n".join(lines)


# --- What training keeps -------------------------------------------------------------------------


@cache
def _remembered() -> dict[str, bytes]:
    """Files that are read again, by name."""
    facts = {
        "content": "0" * 32,
        "rate": 24000,
        "start": 0,
        "end": 4800,
        "peak": 0.1,
        "clipped": 0.0,
        "lufs": None,
    }
    steps = [{"step": n, "loss": 1 / n, "lr": 1e-5, "t3/text": 0.5} for n in range(1, 5)]
    steps.append({"step": 4, "eval_loss": 0.3})
    return {
        "metrics.jsonl": "".join(json.dumps(step) + "\n" for step in steps).encode(),
        "clips.json": json.dumps({"a": "0" * 16, "b": "1" * 16}).encode(),
        "recordings.jsonl": (json.dumps({"key": "/a.wav 1 1", "facts": facts}) + "\n").encode(),
        "wandb_run_id": b"0123456789ab\n",
    }


def read_remembered(path: Path) -> None:
    """The first line is the file's name."""
    from mlx_chatterbox.train.clip_list import changes, read_list
    from mlx_chatterbox.train.data.listen import Listener
    from mlx_chatterbox.train.metrics import METRICS_NAME, plot_losses, read_metrics
    from mlx_chatterbox.train.trackers import WANDB_RUN_NAME, _run_id
    from tests.train.data import section

    files = dict(_remembered())
    files[WANDB_RUN_NAME] = files.pop("wandb_run_id")
    name, _, content = path.read_bytes().partition(b"\n")
    known = name.decode("latin-1").replace("wandb_run_id", WANDB_RUN_NAME)
    files[known if known in files else METRICS_NAME] = content
    for file, text in files.items():
        (path.parent / file).write_bytes(text)
    plot_losses(read_metrics(path.parent / METRICS_NAME), path.parent / "loss.png")
    changes(read_list(path.parent) or {}, {"a": "2"})
    Listener(section(path.parent), path.parent)
    assert _run_id(path.parent, True).isalnum()


def remembered() -> list[bytes]:
    return [name.encode() + b"\n" + content for name, content in _remembered().items()]


def damage_remembered(rng: random.Random, content: bytes) -> bytes:
    name, _, rest = content.partition(b"\n")
    damage = damage_bytes if rng.random() < 0.4 else damage_rows
    return name + b"\n" + damage(rng, rest)


_OF_TEXT = (damage_text, damage_text, damage_bytes)

READERS = (
    Reader("train-table", read_table, tables, _OF_TEXT, ".csv", quick=25),
    Reader("train-json", read_json, lists, (damage_rows, damage_rows, damage_text), quick=25),
    Reader("train-text", read_transcript, transcripts, _OF_TEXT, ".txt", quick=20),
    Reader("train-kept", read_remembered, remembered, (damage_remembered,), quick=0),
)
