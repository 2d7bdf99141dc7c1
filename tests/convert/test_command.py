"""`python -m convert`: built-in voices, output and failures."""

from __future__ import annotations

import copy
import dataclasses
import os
import shlex
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.convert import COMMAND, options
from mlx_chatterbox.convert import __main__ as cli
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.voices.voice import Voice
from mlx_chatterbox.weights.conversion.core import convert
from mlx_chatterbox.weights.conversion.upstream import to_upstream
from mlx_chatterbox.weights.variants import VARIANTS
from tests.small import small_config
from tests.weights.test_conversion import change, left_in, save, small_weights
from tests.weights.test_unpickle import FakeTensor, Global, torch_save


def conds() -> dict:
    """A voice as upstream saves it; stand-ins pickle as tensors."""
    rng = np.random.default_rng(1)

    def floats(*shape):
        return FakeTensor(rng.normal(size=shape).astype(np.float32))

    def tokens(*shape):
        return FakeTensor(rng.integers(0, 6561, size=shape))

    return {
        "t3": {
            "speaker_emb": floats(1, 256),
            "clap_emb": None,
            "cond_prompt_speech_tokens": tokens(1, 150),
            "cond_prompt_speech_emb": None,
            "emotion_adv": FakeTensor(np.full((1, 1, 1), 0.5, np.float32)),
        },
        "gen": {
            "prompt_token": tokens(1, 25),
            "prompt_token_len": FakeTensor(np.array([25])),
            "prompt_feat": floats(1, 50, 80),
            "prompt_feat_len": None,
            "embedding": floats(1, 192),
        },
    }


@pytest.fixture
def source(tmp_path):
    """An upstream folder without a built-in voice."""
    return save(tmp_path / "upstream", to_upstream(small_weights()))


def make_small(monkeypatch, variant: str, **generation) -> None:
    """The command line converts the small configuration as if it were the published one."""
    config = small_config(variant)
    config.generation = dataclasses.replace(config.generation, **generation)
    row = dataclasses.replace(VARIANTS[variant], default_config=lambda: copy.deepcopy(config))
    monkeypatch.setitem(VARIANTS, variant, row)


@pytest.fixture
def small_variant(monkeypatch):
    make_small(monkeypatch, "english")


@pytest.fixture
def run(capsys):
    """Runs the command line; returns exit code, stdout and stderr."""

    def call(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return call


# --- The built-in voice ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_built_in_voice_comes_along_in_full_precision(source, tmp_path, dtype):
    given = conds()
    torch_save(source / "conds.pt", given)
    result = convert(source, tmp_path / "ours", config=small_config(), dtype=dtype)
    tensors = mx.load(str(result.folder / "conds.safetensors"))
    expected = {
        f"{part}.{key}": value.storage
        for part, values in given.items()
        for key, value in values.items()
        if value is not None
    }
    assert tensors.keys() == expected.keys()
    for key, value in expected.items():
        whole = np.issubdtype(value.dtype, np.integer)
        assert tensors[key].dtype == (mx.int32 if whole else mx.float32)
        np.testing.assert_array_equal(np.array(tensors[key]), value)
    assert result.voice
    assert "conds.pt" in ModelConfig.load(result.folder).source["files"]
    assert Voice.load(result.folder / "conds.safetensors").emotion == 0.5


def test_what_a_voice_does_not_need_is_dropped_by_name(source, tmp_path):
    given = conds()
    given["gen"]["prompt_feat_len"] = FakeTensor(np.array([50]))
    torch_save(source / "conds.pt", given)
    result = convert(source, tmp_path / "ours", config=small_config())
    assert "gen.prompt_feat_len" in [item.key for item in result.dropped]


@pytest.mark.parametrize(
    ("part", "key", "value", "match"),
    [
        ("gen", "embedding", None, r"lacks gen\.embedding"),
        ("gen", "unheard_of", FakeTensor(np.ones(1)), r"no voice has: gen\.unheard_of"),
        ("gen", "prompt_feat", FakeTensor(np.ones((50, 80))), r"prompt_feat has shape"),
        (
            "t3",
            "speaker_emb",
            FakeTensor(np.full((1, 256), np.nan)),
            "speaker_emb holds NaN",
        ),
        ("t3", "speaker_emb", Global("os", "system", ("touch ran",)), r"asks for os\.system"),
    ],
)
def test_a_damaged_voice_stops_the_conversion(source, tmp_path, part, key, value, match):
    given = conds()
    given[part][key] = value
    torch_save(source / "conds.pt", given)
    with pytest.raises(CheckpointError, match=match):
        convert(source, tmp_path / "ours", config=small_config())
    assert left_in(tmp_path) == ["upstream"]


# --- The command line --------------------------------------------------------------------------


def test_it_reports_what_was_written_and_what_was_dropped(run, source, tmp_path, small_variant):
    torch_save(source / "conds.pt", conds())
    code, out, err = run(source, tmp_path / "ours", "--dtype", "bfloat16")
    assert (code, err) == (0, "")
    assert "english" in out
    assert "bfloat16" in out
    assert "with the built-in voice" in out
    assert "similarity_weight" in out
    assert "*.num_batches_tracked (" in out
    assert "head.bn1.num_batches_tracked" not in out
    _, out, _ = run(source, tmp_path / "ours", "--force", "--verbose")
    assert "head.bn1.num_batches_tracked" in out


def test_errors_are_one_line_and_exit_with_1(run, source, tmp_path, small_variant):
    for arguments in ((tmp_path / "nowhere", "out"), (source, tmp_path)):
        code, out, err = run(*arguments)
        assert (code, out) == (1, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    _, _, err = run(tmp_path / "nowhere", "out", "--verbose")
    assert "Traceback" in err


def test_a_tensor_that_does_not_fit_exits_with_1(run, source, tmp_path, small_variant):
    change(source, "ve.safetensors", lambda tensors: tensors.pop("proj.bias"))
    code, _, err = run(source, tmp_path / "ours")
    assert code == 1
    assert "ve.proj.bias" in err
    assert left_in(tmp_path) == ["upstream"]


def test_an_interrupt_exits_with_130(run, source, tmp_path, small_variant, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mlx_chatterbox.weights.checkpoint.verify_folder", interrupt)
    code, _, err = run(source, tmp_path / "ours")
    assert (code, err) == (130, "interrupted; nothing was written\n")
    assert left_in(tmp_path) == ["upstream"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["a"], ["a", "b", "--dtype", "float8"], ["a", "b", "c"], ["a", "b", "--check"]],
)
def test_wrong_use_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_repository_is_resolved_by_the_hub(run, source, tmp_path, small_variant, monkeypatch):
    monkeypatch.setattr(
        "mlx_chatterbox.weights.hub.resolve", lambda name, t3: {"owner/name": source}[name]
    )
    code, _, err = run("owner/name", tmp_path / "ours")
    assert (code, err) == (0, "")
    assert ModelConfig.load(tmp_path / "ours").source["repository"] == "owner/name"


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["multilingual"], ("multilingual", None, "multilingual")),
        (["chatterbox"], ("english", None, "english")),
        (["ResembleAI/chatterbox"], ("ResembleAI/chatterbox", None, None)),
        (
            ["ResembleAI/chatterbox", "--variant", "multilingual"],
            ("multilingual", None, "multilingual"),
        ),
        (["owner/pack", "--t3", "a.safetensors"], ("owner/pack", "a.safetensors", None)),
        (
            ["owner/pack", "--variant", "multilingual", "--t3", "a.safetensors"],
            ("owner/pack", "a.safetensors", "multilingual"),
        ),
    ],
)
def test_only_the_files_of_the_model_asked_for_are_fetched(
    run, tmp_path, monkeypatch, arguments, asked
):
    calls = []
    monkeypatch.setattr(
        "mlx_chatterbox.weights.hub.resolve", lambda *call: calls.append(call) or tmp_path
    )

    def convert(source, output, variant, t3_file, **_):
        calls.append((variant, t3_file))
        raise CheckpointError("enough")

    monkeypatch.setattr("mlx_chatterbox.weights.conversion.core.convert", convert)
    assert run(arguments[0], "out", *arguments[1:])[0] == 1
    assert calls == [asked[:2], (asked[2], asked[1])]


def test_a_variant_and_a_t3_are_chosen(run, tmp_path, monkeypatch):
    make_small(monkeypatch, "multilingual")
    files = to_upstream(small_weights("multilingual"), variant="multilingual")
    files["mine.safetensors"] = files["t3_mtl23ls_v3.safetensors"]
    folder = save(tmp_path / "family", files, "multilingual")
    code, out, err = run(folder, tmp_path / "a", "--variant", "multilingual")
    assert (code, err) == (0, "")
    assert ": multilingual, " in out
    code, _, err = run(folder, tmp_path / "b", "--t3", "mine.safetensors")
    assert (code, err) == (0, "")
    assert "mine.safetensors" in ModelConfig.load(tmp_path / "b").source["files"]
    code, _, err = run(folder, tmp_path / "c", "--t3", "yours.safetensors")
    assert code == 1
    assert "mine.safetensors, t3_mtl23ls_v3.safetensors" in err


def test_help_teaches_and_comes_at_once():
    seconds = []
    for _ in range(3):  # the best of three, and the processor's time: the machine may be busy
        before = os.times()
        done = subprocess.run(
            [sys.executable, "-m", "convert", "--help"], capture_output=True, text=True, check=True
        )
        after = os.times()
        seconds.append(sum(after[2:4]) - sum(before[2:4]))
    assert min(seconds) < 0.5
    assert "examples:" in done.stdout
    assert "float16" in done.stdout
    for source in ("upstream's files", "mlx-audio's", "this library's", "our trainer's"):
        assert source in done.stdout
    for option in ("--check", "--s3gen", "--t3", "--variant", "--force ", "--force-upload"):
        assert option in done.stdout


def test_the_examples_are_commands_that_it_takes_and_all_different():
    outputs = []
    for line in options.EXAMPLES.splitlines():
        words = shlex.split(line, comments=True)
        if " ".join(words[:3]) == COMMAND:
            arguments = options.parser().parse_args(words[3:])
            assert options.misuse(arguments) == "", line
            outputs += [arguments.output] if arguments.output else []
    assert len(outputs) == len(set(outputs)) > 5
