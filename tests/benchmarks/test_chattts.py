"""The benchmark of ChatTTS, on a small model."""

from __future__ import annotations

import json

import pytest

import mlx_chatterbox  # noqa: F401  (before mlx.core)
from benchmarks import chattts
from mlx_chatterbox.doctor.made_up import fill
from mlx_chatterbox.doctor.small_chattts import small_chattts_config
from mlx_chatterbox.models.chattts.networks import ChatTTSNetworks


@pytest.fixture
def small(monkeypatch):
    networks = fill(ChatTTSNetworks(small_chattts_config(n_fft=1024, hop=256)), "float32")
    monkeypatch.setattr(chattts, "make_networks", lambda precision: networks)
    monkeypatch.setattr(
        chattts, "limits", lambda: {"bytes_per_second": 1e9, "flops_per_second": 1e9}
    )
    return networks


def test_everything_is_measured(small, tmp_path, capsys):
    path = tmp_path / "chattts.json"
    assert chattts.main(["--short", "--json", str(path)]) == 0
    result = json.loads(path.read_text(encoding="utf-8"))
    assert list(result["steps"]) == ["1", "2", "4", "8", "16"]
    assert all(len(taken) == 1 and taken[0] > 0 for taken in result["steps"].values())
    assert result["reading"] == [chattts.bytes_of_step(small) / 1e9]
    assert set(result["sound"]) == {
        "decoder of hidden states", "decoder of codes", "vocoder",
    }  # fmt: skip
    errors = result["lookaheads"]
    # The small decoder sees fewer frames than the large one.
    assert errors["52"] < 1e-5
    assert errors["26"] < 1e-5
    shown = capsys.readouterr().out
    assert "| 16 |" in shown
    assert "| 26 | 48 |" in shown
    assert "peak memory: " in shown


def test_a_steps_bytes_are_those_of_the_llama_and_the_heads_of_codes(small):
    config = small.gpt.config
    layer = 4 * config.hidden_size**2 + 3 * config.hidden_size * config.intermediate_size
    norms = (2 * config.num_hidden_layers + 1) * config.hidden_size
    heads = config.num_vq * config.num_audio_tokens * config.hidden_size
    expected = 4 * (config.num_hidden_layers * layer + norms + heads)
    assert chattts.bytes_of_step(small) == expected
