"""Invalid, huge or infinite numbers: wrong use, in a line, before any work."""

from __future__ import annotations

import argparse
import importlib
import time

import pytest

from mlx_chatterbox.errors import ConfigError
from mlx_chatterbox.runtime.number_options import any_real, any_whole, real, seed, whole
from mlx_chatterbox.train.base_model import open_base
from mlx_chatterbox.train.config import TrainConfig
from mlx_chatterbox.train.config_options import MAX_REAL, MAX_WHOLE, rows
from mlx_chatterbox.train.loading import load_config
from mlx_chatterbox.train.schedules import SCHEDULES, check_settings

LONG = "9" * 100_000
TOO_LARGE = ["inf", "1e308", "1e999", str(2**64), LONG]
ODD = [*TOO_LARGE, "nan", "-inf", "-1e308", "-1", str(2**63), "", "x"]


@pytest.mark.parametrize("text", [*ODD, "0", "11", "1.5", "0x1", "1e0"])
def test_integers_out_of_range_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError) as error:
        whole(1, 10)(text)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("text", [*ODD, "10.5", "0"])
def test_numbers_out_of_range_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError) as error:
        real(0, 10, above=True)(text)
    assert len(str(error.value)) < 200


def test_valid_numbers_are_read():
    assert whole(-1, 10)("-1") == -1
    assert whole(1, 10)("10") == 10
    assert real(0, 10)("0") == 0
    assert real(0, 10)("1e1") == 10
    assert seed(str(2**64 - 1)) == 2**64 - 1
    assert any_whole("-12") == -12
    assert any_real("-1e308") == -1e308


# Programs with a numeric option, and their other required arguments.
OPTIONS = [
    ("convert.__main__", "--positions", ["a", "b", "--verify"]),
    ("convert.__main__", "--quantize", ["a", "b"]),
    ("convert.__main__", "--group-size", ["a", "b", "--quantize", "4"]),
    ("convert.damage", "--positions", ["a"]),
    ("convert.damage", "--seed", ["a"]),
    ("convert.damage", "--bits", ["a"]),
    ("convert.damage", "--group-size", ["a"]),
    ("convert.reading", "--bits", ["a"]),
    ("mlx_chatterbox.doctor.__main__", "--minutes", []),
    ("mlx_chatterbox.doctor.__main__", "--memory", []),
    ("mlx_chatterbox.train.pocket.__main__", "--rounds", ["--work", "a"]),
    ("mlx_chatterbox.vc", "--seed", ["--input", "a.wav"]),
    ("mlx_chatterbox.vc", "--cfm-steps", ["--input", "a.wav"]),
    ("mlx_chatterbox.vc", "--speed", ["--input", "a.wav"]),
    ("mlx_chatterbox.generate", "--ray", ["--file", "a.txt"]),
    ("mlx_chatterbox.generate", "--redo", ["--file", "a.txt"]),
    ("mlx_chatterbox.generate", "--chapters", ["--file", "a.txt"]),
    ("parity.__main__", "--seed", ["inputs", "nowhere/a"]),
    ("parity.__main__", "--seed", ["bisect"]),
    ("parity.__main__", "--calls", ["bisect"]),
    ("benchmarks.__main__", "--runs", []),
    ("benchmarks.__main__", "--steps", []),
    ("benchmarks.jobs", "--words", []),
    ("benchmarks.kills", "--kills", []),
    ("benchmarks.memory", "--tokens", ["a"]),
    ("benchmarks.batch", "--sentences", ["a"]),
    ("benchmarks.company", "--rounds", []),
    ("benchmarks.streaming", "--sentences", ["a"]),
    ("benchmarks.training", "--rank", ["--model", "a"]),
]  # fmt: skip


@pytest.mark.parametrize("text", ["nan", "inf", "1e308", "1e999", LONG, "", "x"])
@pytest.mark.parametrize(("module", "option", "words"), OPTIONS)
def test_programs_refuse_them_in_a_line(module, option, words, text, capsys):
    program = importlib.import_module(module)
    started = time.process_time()
    try:
        code = program.main([*words, f"{option}={text}"])
    except SystemExit as end:
        code = end.code
    assert time.process_time() - started < 10
    err = capsys.readouterr().err
    assert code in (1, 2)
    assert "bug" not in err
    assert "Traceback" not in err
    assert len(err.splitlines()[-1]) < 400
    assert option.strip("-") in err


# --- Training's configuration --------------------------------------------------------------------

NUMBERS = [key for key, kind, _, _ in rows(TrainConfig) if "number" in kind]


@pytest.fixture
def refused(tmp_path):
    """Function that tells whether a setting is refused: in one line, and quickly."""
    path = tmp_path / "voice.yaml"
    path.write_text("dataset:\n  dataset_path: data\n")

    def is_refused(setting: str) -> bool:
        started, said = time.process_time(), ""
        try:
            load_config(path, [setting])
        except ConfigError as error:
            said = str(error)
        assert time.process_time() - started < 5
        assert len(said.splitlines()) < 2
        assert len(said) < 1000
        return bool(said)

    return is_refused


@pytest.mark.parametrize("text", [*TOO_LARGE, ".inf", ".nan", "nan", "1e10", "[1e308]"])
@pytest.mark.parametrize("key", NUMBERS)
def test_settings_that_are_not_numbers_are_refused(refused, key, text):
    assert refused(f"{key}={text}") or (key, text) == ("seed", "1e10")


@pytest.mark.parametrize(
    "setting",
    [
        "training.component_learning_rates={flow: 1e308}",
        "training.loss_weights={text: .inf}",
        "model.lora={rank: 1e9}",
        "dataset.loudness_range_lufs=[-1e308, 0]",
        "training.lr_scheduler_kwargs={num_cycles: 1e308}",
        "training.optim=" + LONG,
        "dataset.preprocessing_num_workers=100000",
        "training.dataloader_num_workers=100000",
    ],
)
def test_numbers_within_others_are_refused_too(refused, setting):
    assert refused(setting)


@pytest.mark.parametrize(
    "setting",
    [
        f"seed={2**64 - 1}",
        f"training.save_steps={MAX_WHOLE}",
        f"training.weight_decay={MAX_REAL}",
        "training.learning_rate=1e-320",
        "training.max_steps=-1",
    ],
)
def test_numbers_at_the_ends_of_their_range_are_accepted(refused, setting):
    assert not refused(setting)


@pytest.mark.parametrize("kind", ["cosine", "polynomial", "inverse_sqrt", "cosine_with_restarts"])
def test_schedules_refuse_what_they_cannot_compute_with(kind):
    for name in SCHEDULES[kind]:
        for value in (1e308, float("inf"), float("nan"), 2**200, -1):
            with pytest.raises(ValueError, match=name):
                check_settings(kind, {name: value}, 1.0)


@pytest.mark.parametrize(
    "sizes",
    [
        "{t3: {num_hidden_layers: 1000000000}}",
        "{t3: {num_hidden_layers: 100000}}",
        "{t3: {hidden_size: 1000000000}}",
        "{t3: {hidden_size: 1000000, intermediate_size: 1000000}}",
        "{s3gen: {vocab_size: 2147483647}}",
        "{voice_encoder: {num_layers: 1e6}}",
    ],
)
def test_networks_that_no_machine_holds_are_refused_before_they_are_made(tmp_path, sizes):
    path = tmp_path / "voice.yaml"
    path.write_text(
        f"model:\n  base_model: pocket\n  init: scratch\n  config: {sizes}\n"
        "dataset:\n  dataset_path: data\n"
    )
    config = load_config(path)
    started = time.process_time()
    with pytest.raises(ConfigError, match=r"at most|are the most|this machine has"):
        open_base(config)
    assert time.process_time() - started < 20
