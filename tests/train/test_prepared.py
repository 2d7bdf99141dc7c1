"""Files that training reads and others may have written: lists of clips, and its own notes."""

from __future__ import annotations

import json

import pytest

from mlx_chatterbox.errors import DataError
from mlx_chatterbox.train.data.check import read_clips
from mlx_chatterbox.train.metrics import METRICS_NAME, plot_losses, read_metrics
from mlx_chatterbox.train.trackers import WANDB_RUN_NAME, _run_id
from mlx_chatterbox.weights import source_paths
from tests.runtime.prepared import in_time, make_odd
from tests.train.data import section

KINDS = {"metadata.csv": "metadata_csv", "metadata.json": "metadata_json"}


@pytest.mark.parametrize("odd", ["pipe", "device"])
@pytest.mark.parametrize("name", KINDS)
def test_a_list_that_is_not_a_regular_file_is_refused(tmp_path, name, odd):
    make_odd(tmp_path / name, odd)
    data = section(tmp_path / name, KINDS[name])
    found = in_time(lambda: read_clips(data))
    assert isinstance(found, DataError), found
    assert "\n" not in str(found)


@pytest.mark.parametrize("odd", ["pipe", "device"])
def test_an_id_of_a_run_that_is_not_a_regular_file_is_not_read(tmp_path, odd):
    make_odd(tmp_path / WANDB_RUN_NAME, odd)
    assert len(in_time(lambda: _run_id(tmp_path, True))) == 12


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"a/b", b"x" * 10_000, b"../x\n", "é".encode()]
)
def test_an_invalid_id_of_a_run_is_replaced(tmp_path, content):
    (tmp_path / WANDB_RUN_NAME).write_bytes(content)
    made = _run_id(tmp_path, True)
    assert made.isalnum()
    assert _run_id(tmp_path, True) == made


@pytest.mark.parametrize(
    "damage",
    [b"\xff\xfe\n", b"[1]\n", b'{"loss": 1}\n', b'{"step": "x", "loss": 2}\n', b"{" * 90_000],
)
def test_metrics_are_drawn_up_to_what_is_damaged(tmp_path, damage):
    sound = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}]
    lines = "".join(json.dumps(line) + "\n" for line in sound).encode()
    path = tmp_path / METRICS_NAME
    path.write_bytes(lines + damage + lines)
    assert read_metrics(path) == sound


@pytest.mark.parametrize("value", ["x", None, [1], 2**70, 1e308, float("inf"), float("nan"), True])
def test_invalid_losses_do_not_end_a_run(tmp_path, value):
    lines = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": value}, {"step": 3, "loss": 1.0}]
    plot_losses(lines, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b"])
def test_damaged_notes_of_where_files_lie_count_as_missing(tmp_path, monkeypatch, content):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    hashes = {"ve.pt": "ab12"}
    source_paths.remember(hashes, tmp_path)
    (note,) = (tmp_path / "mlx-chatterbox" / "sources").iterdir()
    assert source_paths.recall({"files": hashes}) == tmp_path
    note.write_bytes(content)
    assert source_paths.recall({"files": hashes}) is None
    source_paths.remember({"ve.pt": "cd34"}, tmp_path)
    assert not note.exists()
    assert source_paths.recall({"files": {"ve.pt": "cd34"}}) == tmp_path
    assert source_paths.recall({"files": [1]}) is None
