"""Options of the configuration through the whole command line: precision, adapters,
quantised bases, new languages, data of the hub, TensorBoard."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from mlx_chatterbox.train.__main__ import main
from mlx_chatterbox.train.optimizer import LossScale
from tests.train.data import without_timings


@pytest.mark.parametrize("kind", [pytest.param("bf16", marks=pytest.mark.slow), "fp16"])
def test_half_precision_rounds_nothing_that_adapters_leave(
    configuration, two_voices, small_checkpoint, tmp_path, capsys, kind
):
    from mlx_chatterbox.weights.checkpoint import read_weights

    model = "freeze_components: [s3gen]\n  lora: {rank: 2, targets: [q_proj]}"
    file = configuration(model, f"{kind}: true")
    arguments = ["--config", str(file), "--set", f"dataset.dataset_path={two_voices}"]
    assert main([*arguments, "--set", "training.max_steps=2"]) == 0, capsys.readouterr().err
    base, made = read_weights(small_checkpoint), read_weights(tmp_path / "run" / "final_model")
    changed = {key for key in base if not np.array_equal(np.array(base[key]), np.array(made[key]))}
    assert changed
    assert all(key.endswith(".q_proj.weight") for key in changed)
    for key in changed:  # by two small updates, not by rounding
        np.testing.assert_allclose(np.array(made[key]), np.array(base[key]), atol=1e-3)
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "voice")]) == 0
    first = (tmp_path / "run" / "final_model" / "model.safetensors").read_bytes()
    assert first == (tmp_path / "voice" / "model.safetensors").read_bytes()


def test_a_new_letter_goes_all_the_way(configuration, tmp_path, capsys):
    """The vocabulary grows, is trained, exported, and loaded again."""
    from mlx_chatterbox.weights.checkpoint import load

    file = configuration("new_tokens: ['ő', 'ű']")
    arguments = ["--config", str(file), "--set", "training.max_steps=2"]
    assert main(arguments) == 0, capsys.readouterr().err
    loaded = load(tmp_path / "run" / "final_model")
    assert loaded.config.t3.text_tokens_dict_size == 706
    assert loaded.tokenizer.encode("ő") == [704]


COMPONENTS = ("vocoder", "s3_tokenizer", "speaker_encoder", "voice_encoder")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bf16", "fp16"])
@pytest.mark.parametrize("component", COMPONENTS)
def test_half_precision_from_scratch(
    configuration, two_voices, small_checkpoint, tmp_path, capsys, monkeypatch, component, kind
):
    """Every network that is trained from scratch, learning, resumed exactly, saved in float32."""
    import mlx.core as mx

    from mlx_chatterbox.train.metrics import read_metrics
    from mlx_chatterbox.weights.checkpoint import load, read_weights

    # The scale starts so high that it is halved several times before the first update.
    monkeypatch.setattr(LossScale, "START", 2.0**4)
    file = configuration(
        f"freeze_components: [t3, flow]\n  train_components: [{component}]\n  init: scratch",
        f"{kind}: true",
    )
    arguments = ["--config", str(file), "--set", f"dataset.dataset_path={two_voices}"]
    arguments += ["--set", "training.max_steps=3", "--set", "training.save_steps=2"]
    arguments += ["--set", "training.eval_steps=2"]
    assert main(arguments) == 0, capsys.readouterr().err
    run = tmp_path / "run"
    whole = without_timings(read_metrics(run / "metrics.jsonl"))
    losses = [line[name] for line in whole for name in line if name.endswith("_loss")]
    assert losses
    assert np.isfinite(losses).all()
    assert not any(line.get("skipped") for line in whole)
    saved = mx.load(str(run / "last" / "weights.safetensors"))
    assert {value.dtype for value in saved.values()} == {mx.float32}
    assert main(["resume", str(run / "checkpoint-2")]) == 0, capsys.readouterr().err
    assert without_timings(read_metrics(run / "metrics.jsonl")) == whole
    load(run / "final_model")
    base, made = read_weights(small_checkpoint), read_weights(run / "final_model")
    place = {
        "vocoder": "s3gen.mel2wav.",
        "s3_tokenizer": "s3_tokenizer.",
        "speaker_encoder": "s3gen.speaker_encoder.",
        "voice_encoder": "ve.",
    }[component]
    for key in base:
        assert made[key].dtype == base[key].dtype
        if not key.startswith(place):
            assert mx.array_equal(base[key], made[key]), key


@pytest.mark.parametrize(
    ("settings", "loss_tolerance"),
    [
        ("lora: {rank: 2, targets: [q_proj]}\n  quantize_base: 4", 0.2),
        pytest.param(
            "lora: {rank: 2, targets: [q_proj], dora: true}", 0.02, marks=pytest.mark.slow
        ),
    ],
)
def test_quantised_bases_and_dora_are_exported_in_full(
    configuration, two_voices, small_checkpoint, tmp_path, capsys, settings, loss_tolerance
):
    """Exported weights differ in the adapted layers alone, and by more than rounding;
    the result is evaluated as it was in training, but for what 4 bits had left."""
    import mlx.core as mx

    from mlx_chatterbox.train.metrics import read_metrics
    from mlx_chatterbox.weights.checkpoint import load, read_weights

    file, run = configuration(f"freeze_components: [s3gen]\n  {settings}"), tmp_path / "run"
    arguments = ["--config", str(file), "--set", f"dataset.dataset_path={two_voices}"]
    arguments += ["--set", "training.max_steps=4", "--set", "training.eval_steps=2"]
    assert main(arguments) == 0, capsys.readouterr().err
    assert main(["export", str(run / "last"), str(tmp_path / "voice")]) == 0
    load(tmp_path / "voice")
    base, made = read_weights(small_checkpoint), read_weights(tmp_path / "voice")
    assert {key: (v.shape, v.dtype) for key, v in base.items()} == {
        key: (v.shape, v.dtype) for key, v in made.items()
    }
    changed = {key for key in base if not mx.array_equal(base[key], made[key])}
    assert changed
    assert all(key.endswith(".q_proj.weight") for key in changed)
    for key in changed:  # 4 bits alone would move weights by a fifteenth of their range
        assert np.abs(np.array(made[key]) - np.array(base[key])).max() < 2e-3
    trained = [line["eval_loss"] for line in read_metrics(run / "metrics.jsonl")
               if "eval_loss" in line][-1]  # fmt: skip
    after = ["--config", str(file), "--set", f"dataset.dataset_path={two_voices}"]
    after += ["--set", f"model.local_model_dir={tmp_path / 'voice'}"]
    after += ["--set", f"training.output_dir={tmp_path / 'again'}", "--set", "training.max_steps=1"]
    after += ["--set", "training.eval_on_start=true", "--set", "model.quantize_base=null"]
    assert main(after) == 0, capsys.readouterr().err
    again = next(line["eval_loss"] for line in read_metrics(tmp_path / "again" / "metrics.jsonl")
                 if "eval_loss" in line)  # fmt: skip
    assert again == pytest.approx(trained, rel=loss_tolerance)
    resumed = without_timings(read_metrics(run / "metrics.jsonl"))
    assert main(["resume", str(run / "last")]) == 0
    assert without_timings(read_metrics(run / "metrics.jsonl")) == resumed


def test_a_new_language_of_a_multilingual_model(
    configuration, two_voices, small_models, recording_file, tmp_path, capsys
):
    """Refused with a hint, then taught by its tag and a letter, exported, and spoken."""
    from mlx_chatterbox.generate import main as generate
    from mlx_chatterbox.train.metrics import read_metrics
    from mlx_chatterbox.weights.checkpoint import load

    base = small_models("multilingual")
    file = configuration(f"local_model_dir: {base}")
    file.write_text(file.read_text().replace("  local_model_dir", "  # local_model_dir", 1))
    arguments = ["--config", str(file), "--set", f"dataset.dataset_path={two_voices}"]
    arguments += ["--set", "dataset.language=hu", "--set", "training.max_steps=2"]
    arguments += ["--set", "model.freeze_components=[s3gen]"]
    assert main(arguments) == 1
    assert 'add its tag to model.new_tokens: ["[hu]"]' in capsys.readouterr().err
    arguments += ["--set", 'model.new_tokens=["[hu]", "ⴰ"]', "--set", "training.eval_steps=1"]
    arguments += ["--set", "training.spoken_samples=true", "--set", "training.sample_texts=[Hⴰ.]"]
    assert main(arguments) == 0, capsys.readouterr().err
    run = tmp_path / "run"
    assert any("eval_text_loss" in line for line in read_metrics(run / "metrics.jsonl"))
    assert (run / "samples" / "step-2.wav").stat().st_size > 1000
    model = load(run / "final_model")
    before = load(base)
    size = before.config.t3.text_tokens_dict_size
    tag, letter = (model.tokenizer._tokenizer.token_to_id(token) for token in ("[hu]", "ⴰ"))
    assert model.config.text.languages == ["hu"]
    assert model.config.t3.text_tokens_dict_size == max(size, tag + 1, letter + 1)
    assert model.tokenizer.encode("Taⴰ", "hu")[0] == tag
    assert model.tokenizer.encode("Taⴰ", "hu")[-1] == letter
    assert model.tokenizer.encode("Wie?", "de") == before.tokenizer.encode("Wie?", "de")
    spoken = ["--model", str(run / "final_model"), "--voice", str(recording_file), "--text", "Hⴰ."]
    spoken += ["--cfm-steps", "1", "--max-new-tokens", "8", "--output", str(tmp_path / "o.wav")]
    assert generate([*spoken, "--language", "hu"]) == 0, capsys.readouterr().err
    assert generate([*spoken, "--language", "xx"]) == 1
    assert "known are ar," in capsys.readouterr().err
    # Trained on once more, the language is there already.
    again = ["--config", str(file), "--set", f"dataset.dataset_path={two_voices}"]
    again += ["--set", "dataset.language=hu", "--set", "model.freeze_components=[s3gen]"]
    again += ["--set", f"training.output_dir={tmp_path / 'elsewhere'}"]
    assert main(["validate", *again, "--set", f"model.local_model_dir={run / 'final_model'}"]) == 0


def test_a_broken_data_set_is_reported_and_the_rest_trained_on(
    configuration, two_voices, tmp_path, capsys
):
    """Faults: no text, unreadable audio, 0.1 s, three minutes, another encoding."""
    from mlx_chatterbox.audio.files import save_audio
    from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice
    from mlx_chatterbox.train.metrics import read_metrics

    folder = tmp_path / "broken"
    shutil.copytree(two_voices, folder)
    voice = synthetic_voice(2.0, seed=7)
    faults = {
        "no_text": (voice, None),
        "unreadable": (None, "Unreadable."),
        "blip": (voice[12000:14400], "Too short."),
        "lecture": (np.tile(voice[12000:36000], 180), "Three minutes."),
        "encoding": (voice, "Schöne Grüße.".encode("utf-16-le")),
    }
    for name, (waveform, text) in faults.items():
        if waveform is None:
            (folder / f"{name}.wav").write_bytes(b"RIFF")
        else:
            save_audio(folder / f"{name}.wav", waveform, 24000)
        if text is not None:
            text = text.encode() if isinstance(text, str) else text
            (folder / f"{name}.txt").write_bytes(text)
    arguments = ["--config", str(configuration()), "--set", f"dataset.dataset_path={folder}"]
    assert main([*arguments, "--set", "training.max_steps=2"]) == 0, capsys.readouterr().err
    report = json.loads((tmp_path / "run" / "data-report.json").read_text())
    assert {entry["id"] for entry in report["left_out"]} == set(faults)
    assert report["kept"] == 5
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == 2


@pytest.mark.slow
def test_a_saved_data_set_of_the_hubs_package(
    configuration, two_voices, small_checkpoint, tmp_path, capsys
):
    """A real one, with paths in one split and bytes in the other; and TensorBoard's real files."""
    datasets = pytest.importorskip("datasets")
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from mlx_chatterbox.train.metrics import read_metrics

    clips = sorted(two_voices.rglob("*.wav"))
    rows = {
        "audio": [{"path": str(clip), "bytes": None} for clip in clips],
        "sentence": [clip.with_suffix(".txt").read_text() for clip in clips],
        "speaker_id": [clip.parent.name for clip in clips],
    }
    inside = {**rows, "audio": [{"path": None, "bytes": clip.read_bytes()} for clip in clips[:2]]}
    inside = {name: values[:2] for name, values in inside.items()}
    rows = {name: values[2:] for name, values in rows.items()}
    rows["sentence"][0] = ""
    # Cast to recordings afterwards: made of recordings at once, they would be decoded, by PyTorch.
    text = datasets.Value("string")
    recording = {"path": text, "bytes": datasets.Value("binary")}
    features = datasets.Features(audio=recording, sentence=text, speaker_id=text)
    saved = datasets.DatasetDict(
        train=datasets.Dataset.from_dict(rows, features=features),
        test=datasets.Dataset.from_dict(inside, features=features),
    ).cast_column("audio", datasets.Audio())
    saved.save_to_disk(str(tmp_path / "saved"))
    arguments = ["--config", str(configuration()), "--set", "dataset.dataset_type=hf_dataset"]
    arguments += ["--set", f"dataset.dataset_path={tmp_path / 'saved'}"]
    arguments += ["--set", "dataset.eval_split_name=test", "--set", "dataset.eval_split_size=0"]
    arguments += ["--set", "training.report_to=[tensorboard]", "--set", "training.max_steps=3"]
    assert main(["validate", *arguments]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "4 of 5 clips can be trained on" in out
    assert "2 to train on, 2 to evaluate on" in out
    assert main(arguments) == 0, capsys.readouterr().err
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    for name in ("train_loss", "eval_speech_loss", "learning_rate"):
        written = {event.step: event.value for event in events.Scalars(name)}
        logged = {line["step"]: line[name] for line in lines if name in line}
        assert written == pytest.approx(logged)
