"""Faults that would fail training are refused before anything is downloaded, loaded or read."""

from __future__ import annotations

import pytest

from mlx_chatterbox.train.__main__ import main


@pytest.fixture
def refusal(tmp_path, capsys, monkeypatch):
    """The error that a configuration gets from `validate` and from training, before any work.

    There is no recording, so looking for one gives another error; and no model is on this machine
    except in named folders.
    """
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def refused(base: str, model: str = "", training: str = "", dataset: str = "") -> str:
        file = tmp_path / "voice.yaml"
        file.write_text(
            f"model:\n  base_model: {base}\n  cache_dir: {tmp_path / 'cache'}\n  {model}\n"
            f"dataset:\n  dataset_path: {tmp_path / 'nowhere'}\n  {dataset}\n"
            f"training:\n  output_dir: ./run\n  {training}\n"
        )
        said = []
        for command in ([], ["validate"]):
            assert main([*command, "--config", str(file)]) == 1
            said += [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
        assert len(said) == 2
        assert said[0] == said[1]
        assert not (tmp_path / "run").exists()
        return said[0]

    return refused


@pytest.mark.parametrize("base", ["turbo", "nano", "ResembleAI/chatterbox-turbo"])
def test_turbos_flow_is_refused_by_name(refusal, base):
    assert "add s3gen to freeze_components and train T3 alone" in refusal(base)
    assert "no data set at" in refusal(base, "freeze_components: [s3gen]")


def test_turbos_flow_is_refused_by_configuration(refusal, small_models):
    assert "add s3gen to freeze_components" in refusal(small_models("turbo"))


@pytest.mark.parametrize("base", ["flash", "ResembleAI/chatterbox-flash"])
def test_flashs_t3_and_flow_are_refused_by_name(refusal, base):
    """Upstream has published how neither is trained; the vocoder is as everywhere."""
    assert "Flash's T3 is trained to fill in blocks of masked tokens" in refusal(base)
    assert "Flash is distilled to a mean flow" in refusal(base, "freeze_components: [t3]")
    assert "no data set at" in refusal(
        base, "freeze_components: [t3, flow]\n  train_components: [vocoder]"
    )


def test_flashs_t3_is_refused_by_configuration(refusal, small_models):
    assert "Flash's T3" in refusal(small_models("flash"))


def test_a_multilingual_model_asks_for_a_language(refusal):
    frozen = "freeze_components: [s3gen]"
    assert "the clips have no language" in refusal("multilingual", frozen)
    asked = refusal("multilingual", frozen, dataset="language: xx")
    assert "does not know language 'xx'" in asked
    assert "new_tokens" in asked
    for given in ("language: no", "language: DE", "dataset_type: metadata_csv"):
        assert "no data set at" in refusal("multilingual", frozen, dataset=given)
    new = 'freeze_components: [s3gen]\n  new_tokens: ["[xx]"]'
    assert "no data set at" in refusal("multilingual", new, dataset="language: xx")
    # The flow takes no text.
    assert "no data set at" in refusal("multilingual", "freeze_components: [t3]")


def test_letters_cannot_be_added_to_turbo(refusal):
    asked = 'freeze_components: [s3gen]\n  new_tokens: ["ä"]'
    assert "there is nothing to add" in refusal("turbo", asked)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "metric_for_best_model: eval_los",
            "metric_for_best_model: there is no eval_los; there are",
        ),
        ("metric_for_best_model: mos", "metric_for_best_model: there is no mos; there are"),
        ("loss_weights: {pitch: 2}", "loss_weights: there is no part pitch"),
    ],
)
def test_a_name_that_does_not_exist_is_refused(refusal, setting, message):
    assert message in refusal("chatterbox", training=setting)


@pytest.mark.parametrize(
    "metric", ["eval_loss", "loss", "eval_t3_loss", "flow_loss", "speech_loss", "speech_accuracy"]
)
def test_a_metric_that_exists_is_not(refusal, metric):
    assert "no data set at" in refusal("chatterbox", training=f"metric_for_best_model: {metric}")


def test_adapters_on_no_layer_are_refused(refusal, small_checkpoint):
    lora = "freeze_components: [s3gen]\n  lora: {{targets: [{}]}}"
    gpt2, llama = lora.format("c_attn"), lora.format("q_proj")
    for base in (small_checkpoint, "chatterbox"):
        assert "no linear layer of t3 ends in c_attn" in refusal(base, gpt2)
    assert "no data set at" in refusal("chatterbox", llama)


def test_a_tokenizer_has_no_more_dimensions_than_it_has(refusal):
    model = "freeze_components: [t3, flow]\n  train_components: [s3_tokenizer]"
    asked = refusal("chatterbox", model, "tokenizer_dims: 9")
    assert "tokenizer_dims 9: the quantiser has 8" in asked
