"""Predictable temporary names are not written to, wherever files are made."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest

from mlx_chatterbox.parity import whole_file
from mlx_chatterbox.parity.dumps import read_dump, write_dump
from mlx_chatterbox.parity.fabricate import checkpoint as fabricate
from mlx_chatterbox.parity.report import tables
from mlx_chatterbox.train.state import link as point_to
from mlx_chatterbox.weights.conversion.shared import link_shared


def in_parity(path):
    write_dump(path, {"a": np.arange(3)})


def of_report(path):
    tables.write_file(path, "report")


def fabricated(path):
    fabricate._write_weights(path, {"a": (2, 3)}, 0, 0, 24, None)


@pytest.mark.parametrize("write", [in_parity, of_report, fabricated])
def test_links_at_temporary_names_are_not_followed(tmp_path, write):
    outside = tmp_path / "outside"
    outside.write_text("precious")
    folder = tmp_path / "work"
    folder.mkdir()
    path = folder / "a.safetensors"
    (folder / f".{path.name}.{os.getpid()}.tmp").symlink_to(outside)
    path.symlink_to(outside)
    write(path)
    assert outside.read_text() == "precious"
    assert path.is_file()
    assert not path.is_symlink()
    mask = os.umask(0)
    os.umask(mask)
    if write is not in_parity:  # safetensors gives its files to their owner alone
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_what_fails_leaves_nothing(tmp_path):
    path = tmp_path / "a.json"
    whole_file.write_text(path, "before")
    with pytest.raises(UnicodeEncodeError):
        whole_file.write_text(path, "after\ud800")
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


def test_names_as_long_as_a_disk_takes_are_written(tmp_path):
    path = tmp_path / ("a" * 255)
    in_parity(path)
    assert read_dump(path).keys() == {"a"}


# --- Shared weights ------------------------------------------------------------------------------


@pytest.fixture
def part(tmp_path):
    path = tmp_path / "model" / "model-ve.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


DIGEST = hashlib.sha256(b"weights").hexdigest()


def test_a_link_at_a_former_temporary_name_does_not_matter(tmp_path, part):
    (tmp_path / "precious").write_text("precious")
    (part.parent / f".{part.name}.link").symlink_to(tmp_path / "precious")
    known = tmp_path / "shared" / f"{DIGEST}.safetensors"
    known.parent.mkdir()
    known.write_bytes(b"weights")
    assert link_shared(part, DIGEST, known.parent)
    assert part.samefile(known)
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("kind", ["other bytes", "link", "folder"])
def test_other_content_under_the_name_of_a_shared_file_is_not_used(tmp_path, part, kind):
    known = tmp_path / "shared" / f"{DIGEST}.safetensors"
    known.parent.mkdir()
    if kind == "folder":
        known.mkdir()
    elif kind == "link":
        (tmp_path / "same").write_bytes(b"weights")
        known.symlink_to(tmp_path / "same")
    else:
        known.write_bytes(b"planted")
    assert not link_shared(part, DIGEST, known.parent)
    assert part.read_bytes() == b"weights"
    assert not part.is_symlink()
    assert [path.name for path in part.parent.iterdir()] == [part.name]


# --- Training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_an_entry_at_a_former_temporary_name_does_not_matter(tmp_path, kind):
    (tmp_path / "checkpoint-1").mkdir()
    odd = tmp_path / ".last.link"
    if kind == "file":
        odd.write_text("kept")
    elif kind == "folder":
        odd.mkdir()
    else:
        odd.symlink_to(tmp_path / "checkpoint-1")
    point_to(tmp_path / "last", tmp_path / "checkpoint-1")
    assert (tmp_path / "last").resolve() == tmp_path / "checkpoint-1"
    left = {"checkpoint-1", "last"} | (set() if kind == "link" else {".last.link"})
    assert {path.name for path in tmp_path.iterdir()} == left
