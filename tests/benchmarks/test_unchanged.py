"""The comparison with another commit: what counts as a difference, and which names it uses."""

from __future__ import annotations

import ast

import pytest

import mlx_chatterbox
from benchmarks.unchanged import HERE, PROBE, count, differences, main


def test_equal_results_have_no_difference():
    found = {"a": {"tokens": [1, 2], "waveform": ["x", 3]}, "b": []}
    assert list(differences(found, found)) == []
    assert count(found) == 3


def test_each_difference_is_a_line_with_its_place():
    ours = {"a": {"tokens": [1, 2], "stopped": True}, "new": 1}
    theirs = {"a": {"tokens": [1, 3], "stopped": True}, "gone": 2}
    assert list(differences(ours, theirs)) == [
        "a: tokens: [1, 3] became [1, 2]",
        "new: null became 1",
        "gone: 2 became null",
    ]


def test_the_probe_knows_the_public_names_alone():
    """Trees with other internals could not be compared otherwise."""
    tree = ast.parse(PROBE.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("mlx_chatterbox"):
            assert node.module == "mlx_chatterbox"
            assert {one.name for one in node.names} <= set(mlx_chatterbox.__all__)
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        assert not {"mlx_chatterbox", "benchmarks", "parity", "convert"} & set(names)
        if isinstance(node, ast.Attribute):
            assert node.attr == "__name__" or not node.attr.startswith("_")


@pytest.mark.skipif(not (HERE / ".git").exists(), reason="no checkout")
def test_an_unknown_commit_is_one_line(capsys):
    assert main(["--against", "no-such-commit"]) == 1
    error = capsys.readouterr().err
    assert "no-such-commit" in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_commit_does_not_differ_from_itself(capsys):
    assert main(["--against", "HEAD"]) == 0
    assert capsys.readouterr().out.startswith("0 of ")
