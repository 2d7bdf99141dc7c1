"""The command that measures what each precision does to the parts that read recordings."""

from __future__ import annotations

import pytest

from mlx_chatterbox.convert import reading


@pytest.mark.numbers
@pytest.mark.slow
def test_the_command_reports_each_part_s_loss_and_none_for_exact_models(
    small_checkpoint, recording_file, capsys
):
    words = [str(small_checkpoint), str(recording_file), "--bits", "8", "3"]
    assert reading.main(words) == 0
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["part", "precision", "MB", "equal tokens", "voice cosine", "speaker cosine"]
    table = {(part, kind): [float(f.rstrip("%")) for f in rest] for part, kind, *rest in lines[1:]}
    for part in ("speech tokenizer", "voice encoder", "speaker encoder"):
        assert table[part, "float32"][1:] == [100.0, 1.0, 1.0]
        sizes = [table[part, kind][0] for kind in ("float32", "float16", "3 bits")]
        assert sizes == sorted(sizes, reverse=True)
    tokens = {kind: figures[1] for (part, kind), figures in table.items() if part != "all"}
    assert table["speech tokenizer", "3 bits"][1] < table["speech tokenizer", "float16"][1]
    assert tokens.keys() >= {"float16", "bfloat16", "8 bits", "3 bits"}
    for whole in ("8bit", "3bit", "balanced", "small"):
        assert table["all", whole][1] == table["all", "float16"][1]
        assert table["all", whole][0] < table["all", "float16"][0]


def test_what_cannot_be_measured_is_one_line(small_checkpoint, tmp_path, capsys):
    for words in ([tmp_path / "none"], [small_checkpoint, tmp_path / "none.wav"]):
        assert reading.main([str(word) for word in words]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
