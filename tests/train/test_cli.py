"""The training command line: help, templates, checks, and a whole run on a small model."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mlx_chatterbox.train.__main__ import main
from mlx_chatterbox.train.settings_table import with_table
from tests.train.data import without_timings

ROOT = Path(__file__).parents[2]


def python(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_help_teaches_at_once():
    started = time.perf_counter()
    result = python("-X", "importtime", "-m", "mlx_chatterbox.train", "--help")
    seconds = time.perf_counter() - started
    assert result.returncode == 0
    for word in ("init", "validate", "resume", "export", "--set", "mlx.launch", "consent"):
        assert word in result.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()}
    assert not {"mlx.core", "numpy", "yaml", "mlx_lm"} & imported
    assert seconds < 2  # half a second on an idle machine


@pytest.mark.parametrize("command", ["init", "validate", "resume", "export"])
def test_each_subcommand_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert len(capsys.readouterr().out) > 200


def test_without_a_configuration_the_use_is_wrong(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert "--config FILE is needed" in capsys.readouterr().err


def test_init_writes_a_template_and_never_overwrites(tmp_path, capsys):
    file = tmp_path / "voice.yaml"
    assert main(["init", str(file), "--strategy", "lora", "--data", "speech"]) == 0
    assert "rank: 16" in file.read_text()
    assert "validate --config" in capsys.readouterr().out
    assert main(["init", str(file)]) == 1
    assert "is not overwritten" in capsys.readouterr().err


def test_mistakes_are_one_line(tmp_path, capsys):
    file = tmp_path / "voice.yaml"
    file.write_text("dataset:\n  dataset_path: x\n  sped: 1\n")
    assert main(["--config", str(file)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{file}:3: unknown key sped in dataset" in error
    assert main(["validate", "--config", str(file), "--set", "nonsense"]) == 1
    assert "section.key=value" in capsys.readouterr().err


def test_the_documented_options_are_the_real_ones():
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    assert text == with_table(text), "run: python -m mlx_chatterbox.train.settings_table"


# --- A whole run on a small model ----------------------------------------------------------------


def test_validate_reports_and_trains_nothing(configuration, tmp_path, capsys):
    assert main(["validate", "--config", str(configuration())]) == 0
    out = capsys.readouterr().out
    assert "10 of 13 clips can be trained on" in out
    assert "silent" in out
    assert "broken" in out
    assert "alone" in out
    assert "trained: t3" in out
    assert "steps: " in out
    assert not (tmp_path / "run" / "final_model").exists()
    assert not list((tmp_path / "run").glob("checkpoint*"))


def test_validate_fails_where_training_would(configuration, tmp_path, capsys):
    file = configuration()
    assert main(["validate", "--config", str(file), "--set", "dataset.dataset_path=nowhere"]) == 1
    assert "nowhere" in capsys.readouterr().err
    arguments = ["--set", "dataset.min_audio_duration_s=20"]
    assert main(["validate", "--config", str(file), *arguments]) == 1
    assert "none of the 13 clips" in capsys.readouterr().err
    arguments = ["--set", f"model.local_model_dir={tmp_path / 'none'}"]
    assert main(["validate", "--config", str(file), *arguments]) == 1
    assert "is not a folder" in capsys.readouterr().err


def test_a_language_that_is_missing_is_asked_for(configuration, small_models, capsys):
    arguments = ["--set", f"model.local_model_dir={small_models('multilingual')}"]
    file = configuration()
    assert main(["validate", "--config", str(file), *arguments]) == 1
    assert "the clips have no language" in capsys.readouterr().err
    arguments += ["--set", "dataset.language=no"]
    assert main(["validate", "--config", str(file), *arguments]) == 0


@pytest.mark.parametrize(
    "model",
    [
        "freeze_components: [voice_encoder, s3gen]",
        pytest.param("freeze_components: [voice_encoder, t3]", marks=pytest.mark.slow),
        "lora: {rank: 2}",
    ],
)
def test_from_recordings_to_a_voice(configuration, voice_data, tmp_path, capsys, model):
    """Train, resume, export, speak: every command of the guide once."""
    from mlx_chatterbox.generate import main as generate
    from mlx_chatterbox.train.metrics import read_metrics

    file, run = configuration(model), tmp_path / "run"
    assert main(["--config", str(file)]) == 0, capsys.readouterr().err
    assert {"final_model", "last", "metrics.jsonl", "data-report.json"} <= {
        path.name for path in run.iterdir()
    }
    said = capsys.readouterr().err
    assert "10 of 13 clips can be trained on" in said
    assert "silent.wav: its loudest sample" in said
    whole = without_timings(read_metrics(run / "metrics.jsonl"))
    assert any("eval_loss" in line for line in whole)

    # From an earlier checkpoint to the same result.
    assert main(["resume", str(run / "checkpoint-3")]) == 0, capsys.readouterr().err
    assert without_timings(read_metrics(run / "metrics.jsonl")) == whole

    assert main(["--config", str(file)]) == 1
    assert "holds a run already" in capsys.readouterr().err

    assert main(["export", str(run), str(tmp_path / "voice")]) == 0, capsys.readouterr().err
    spoken = tmp_path / "out.wav"
    arguments = ["--text", "Hello.", "--voice", str(voice_data / "0.wav"), "--cfm-steps", "2"]
    arguments += ["--max-new-tokens", "8", "--output", str(spoken)]
    assert generate(["--model", str(tmp_path / "voice"), *arguments]) == 0, capsys.readouterr().err
    assert spoken.stat().st_size > 1000
    first = (run / "final_model" / "model.safetensors").read_bytes()
    assert first == (tmp_path / "voice" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("component", "place", "metric"),
    [
        ("vocoder", "s3gen.mel2wav.", "f0_loss"),
        ("s3_tokenizer", "s3_tokenizer.", "mel_loss"),
        ("speaker_encoder", "s3gen.speaker_encoder.", "speaker_accuracy"),
        ("voice_encoder", "ve.", "speaker_loss"),
    ],
)
def test_a_component_from_scratch(
    configuration, two_voices, small_checkpoint, tmp_path, capsys, component, place, metric
):
    """It is trained and resumed exactly, its head is dropped, and all others are unchanged."""
    from mlx_chatterbox.train.metrics import read_metrics
    from mlx_chatterbox.weights.checkpoint import load, read_weights

    file = configuration(
        f"freeze_components: [t3, flow]\n  train_components: [{component}]\n  init: scratch",
        "tokenizer_dims: 6",
    )
    arguments = ["--config", str(file), "--set", f"dataset.dataset_path={two_voices}"]
    arguments += ["--set", "training.max_steps=3", "--set", "training.save_steps=2"]
    assert main(arguments) == 0, capsys.readouterr().err
    run = tmp_path / "run"
    whole = without_timings(read_metrics(run / "metrics.jsonl"))
    assert all(np.isfinite(line.get("train_loss", 0.0)) for line in whole)
    assert any(f"eval_{metric}" in line for line in whole)
    final = run / "final_model" / "model.safetensors"
    first = final.read_bytes()
    assert main(["resume", str(run / "checkpoint-2")]) == 0, capsys.readouterr().err
    assert without_timings(read_metrics(run / "metrics.jsonl")) == whole
    assert final.read_bytes() == first
    base, made = read_weights(small_checkpoint), read_weights(final.parent)
    load(final.parent)
    assert base.keys() == made.keys()
    same = {key for key in base if np.array_equal(np.array(base[key]), np.array(made[key]))}
    others = {key for key in base if not key.startswith(place)}
    assert others <= same
    assert same - others < base.keys() - others
    if component == "s3_tokenizer":  # unused dimensions stay silent, and all others learn
        rows = np.abs(np.array(made["s3_tokenizer.quantizer.codebook.project_down.weight"]))
        assert rows[:6].max(axis=1).min() > 0
        assert rows[6:].max() == 0


def test_a_speaker_encoder_needs_two_speakers(configuration, capsys):
    file = configuration("freeze_components: [t3, flow]\n  train_components: [voice_encoder]")
    assert main(["validate", "--config", str(file)]) == 1
    assert "two speakers or more" in capsys.readouterr().err


def test_an_interruption_prints_how_to_resume(configuration, tmp_path, capsys, monkeypatch):
    from mlx_chatterbox.train.metrics import Metrics

    file, steps = configuration(), []

    def interrupt(self, shown):
        steps.append(shown)
        if len(steps) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Metrics, "advance", interrupt)
    assert main(["--config", str(file)]) == 130
    assert f"continue with: python -m mlx_chatterbox.train resume {tmp_path / 'run'}" in (
        capsys.readouterr().err
    )
    assert (tmp_path / "run" / "last").resolve().name == "checkpoint-3"
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "final_model" / "config.json").is_file()


def test_upstreams_files_are_exported(configuration, tmp_path, capsys):
    file, run = configuration(), tmp_path / "run"
    arguments = ["--set", "training.max_steps=1", "--set", "training.spoken_samples=true"]
    arguments += ["--set", "training.sample_texts=[Hi.]"]
    assert main(["--config", str(file), *arguments]) == 0, capsys.readouterr().err
    assert (run / "samples" / "step-1.wav").stat().st_size > 1000
    assert main(["export", str(run), str(tmp_path / "theirs"), "--upstream"]) == 0
    names = {path.name for path in (tmp_path / "theirs").iterdir()}
    assert {"t3_cfg.safetensors", "s3gen.safetensors", "ve.safetensors", "tokenizer.json"} <= names
    assert main(["export", str(run), str(tmp_path / "theirs")]) == 1
    assert "exists already" in capsys.readouterr().err


def test_true_goes_on_with_the_run_of_the_output_folder(configuration, tmp_path, capsys):
    """`true` means this in Transformers; a missing run is reported before any work."""
    file = configuration("lora: {r: 2, target_modules: [q_proj]}\n  freeze_components: [s3gen]")
    arguments = ["--config", str(file), "--set", "training.max_grad_norm=0.5"]
    again = [*arguments, "--set", "training.resume_from_checkpoint=true"]
    assert main(again) == 1
    error = capsys.readouterr().err
    assert "nothing to resume" in error
    assert "features" not in error
    assert main([*arguments, "--set", "training.num_train_epochs=0.5"]) == 0
    assert "2 steps" in capsys.readouterr().out
    assert main([*again, "--set", "training.max_steps=3"]) == 0, capsys.readouterr().err
    assert "3 steps" in capsys.readouterr().out
    assert (tmp_path / "run" / "checkpoint-3").is_dir()
