"""Options as other trainers name them: Transformers, PEFT, TTSTune. Understood, or refused with a
sentence; never ignored in silence."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from mlx_chatterbox.errors import ConfigError
from mlx_chatterbox.train.config import TrainConfig
from mlx_chatterbox.train.config_options import rows
from mlx_chatterbox.train.loading import load_config, load_saved, save_config
from mlx_chatterbox.train.sections import CustomParams
from mlx_chatterbox.train.spellings import ALIASES, IGNORED, IGNORED_ADAPTERS, REFUSED
from mlx_chatterbox.train.translate import TRANSLATED

MINIMAL = "dataset:\n  dataset_path: voice_data\n"


@pytest.fixture
def read(tmp_path):
    """A configuration from text."""

    def load(text: str, *overrides: str) -> TrainConfig:
        path = tmp_path / "voice.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, overrides)

    return load


@pytest.fixture
def training(read):
    """A configuration with lines of its training section."""

    def load(*lines: str) -> TrainConfig:
        return read(f"{MINIMAL}training:\n" + "".join(f"  {line}\n" for line in lines))

    return load


@pytest.fixture
def refused(training):
    """The error for lines of the training section, from the line number on."""

    def message(*lines: str) -> str:
        with pytest.raises(ConfigError) as error:
            training(*lines)
        return re.sub(r"\S*/voice\.yaml:", "", str(error.value))

    return message


# Names that the newest Transformers has dropped, but files still use.
_OLDER = """
adafactor dispatch_batches evaluation_strategy fp16_backend fp16_opt_level fsdp_min_num_params
fsdp_transformer_layer_cls_to_wrap group_by_length half_precision_backend
include_inputs_for_metrics include_tokens_per_second jit_mode_eval logging_dir mp_parameters
no_cuda overwrite_output_dir past_index per_gpu_eval_batch_size per_gpu_train_batch_size
push_to_hub_model_id push_to_hub_organization push_to_hub_token ray_scope save_safetensors
sharded_ddp split_batches torchdynamo tpu_metrics_debug tpu_num_cores use_ipex use_mps_device
warmup_ratio xpu_backend
"""
_LORA = """
alpha_pattern auto_mapping base_model_name_or_path bias exclude_modules fan_in_fan_out
inference_mode init_lora_weights layers_pattern layers_to_transform loftq_config lora_alpha
lora_bias lora_dropout modules_to_save peft_type r rank_pattern revision target_modules
target_parameters task_type use_dora use_rslora
"""


def _known() -> set[str]:
    own = {key for key, *_ in rows(TrainConfig)}
    return {*own, *ALIASES, *IGNORED, *IGNORED_ADAPTERS, *REFUSED, *TRANSLATED}


def test_every_argument_of_transformers_is_known():
    """Arguments of the installed version, read without importing it, and of older ones."""
    spec = importlib.util.find_spec("transformers")
    names = set(_OLDER.split())
    source = Path(spec.origin).with_name("training_args.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == "TrainingArguments":
            fields = (item for item in node.body if isinstance(item, ast.AnnAssign))
            names |= {item.target.id for item in fields}
    assert len(names) > 100
    assert {f"training.{name}" for name in names} - _known() == set()


def test_every_argument_of_pefts_adapters_is_known():
    assert {f"model.lora.{name}" for name in _LORA.split()} - _known() == set()


def test_no_key_has_two_meanings():
    tables = [set(ALIASES), set(IGNORED), set(IGNORED_ADAPTERS), set(REFUSED), set(TRANSLATED)]
    own = {key for key, *_ in rows(TrainConfig)}
    for i, table in enumerate(tables):
        assert not table & set().union(own, *tables[i + 1 :])


@pytest.mark.parametrize("key", [key for key in REFUSED if key.startswith("training.")])
def test_what_is_not_done_is_refused_unless_it_is_off(training, refused, key):
    name = key.removeprefix("training.")
    message = refused(f"{name}: something")
    assert message.startswith(f"4: {key}: ")
    assert len(message) > len(key) + 20
    for off in ("null", "false", "0", "[]", "{}", "''", "{one: 0, other: {inner: false}}"):
        assert training(f"{name}: {off}").notes == []


def test_nothing_that_is_left_empty_is_noted(training):
    assert training("hub_model_id: null", "label_names: []", "logging_dir:").notes == []


# --- Values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("max_grad_norm: 0.5", "gradient_clip_norm", 0.5),
        ("max_grad_norm: 0", "gradient_clip_norm", None),
        ("max_grad_norm: null", "gradient_clip_norm", None),
        ("gradient_clip_norm: 0.0", "gradient_clip_norm", None),
        ("max_steps: -1", "max_steps", None),
        ("max_steps: 0", "max_steps", None),
        ("max_steps: null", "max_steps", None),
        ("max_steps: 7", "max_steps", 7),
        ("save_total_limit: 0", "save_total_limit", None),
        ("save_total_limit: -1", "save_total_limit", None),
        ("num_train_epochs: 2.5", "num_train_epochs", 2.5),
        ("num_train_epochs: 3", "num_train_epochs", 3.0),
        ("warmup_steps: 0.1", "warmup_ratio", 0.1),
        ("warmup_steps: 20", "warmup_steps", 20),
        ("logging_steps: 0.05", "logging_steps", 0.05),
        ("eval_steps: 0.2", "eval_steps", 0.2),
        ("save_steps: 1e3", "save_steps", 1000),
        ("logging_strategy: epoch", "logging_strategy", "epoch"),
        ("per_gpu_train_batch_size: 3", "per_device_train_batch_size", 3),
        ("per_gpu_train_batch_size: null", "per_device_train_batch_size", 4),
        ("torch_compile: true", "compile", True),
        ("activation_checkpointing: true", "gradient_checkpointing", True),
        ("gradient_checkpointing: null", "gradient_checkpointing", False),
        ("mixed_precision: bf16", "bf16", True),
        ("mixed_precision: float16", "fp16", True),
        ("mixed_precision: no", "fp16", False),
        ("metric_for_best_model: null", "metric_for_best_model", "eval_loss"),
        ("lr_scheduler_kwargs: null", "lr_scheduler_kwargs", {}),
        ("report_to: none", "report_to", []),
        ("report_to: null", "report_to", []),
        ("report_to:", "report_to", []),
        ("report_to: []", "report_to", []),
        ("report_to: [none]", "report_to", []),
        ("report_to: [null]", "report_to", []),
        ("report_to: 'none'", "report_to", ["none"]),
        ("custom_params:", "custom_params", CustomParams()),
        ("sample_texts:", "sample_texts", []),
        ("loss_weights: null", "loss_weights", {}),
        ("report_to: wandb", "report_to", ["wandb"]),
        ("report_to: [WandB, tensorboard]", "report_to", ["wandb", "tensorboard"]),
        ("resume_from_checkpoint: false", "resume_from_checkpoint", None),
        ("resume_from_checkpoint: no", "resume_from_checkpoint", None),
        ("resume_from_checkpoint: null", "resume_from_checkpoint", None),
    ],
)
def test_values_that_mean_something_elsewhere_mean_it_here(training, line, name, value):
    config = training(line)
    assert getattr(config.training, name) == value
    assert type(getattr(config.training, name)) is type(value)
    assert config.notes == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["max_grad_norm: -1"], "4: training.max_grad_norm must be more than 0"),
        (["max_grad_norm: big"], "4: training.max_grad_norm must be a number, not big"),
        (
            ["gradient_clip_norm: 1", "max_grad_norm: 2"],
            r"5: max_grad_norm is another name of gradient_clip_norm, which \S*4 sets too",
        ),
        (["num_train_epochs: 0"], "4: .*more than 0"),
        (["num_train_epochs: -1"], "4: .*more than 0"),
        (["logging_steps: 1.5"], "4: .*a share of all steps .* or a whole number, not 1.5"),
        (["eval_steps: -0.5"], "4: .*a share of all steps"),
        (["eval_steps: often"], "4: .*a share of all steps .* or a whole number, not often"),
        (["warmup_steps: 0.1", "warmup_ratio: 0.2"], "4: .*warmup_ratio"),
        (
            ["report_to: mlflow"],
            "4: .*mlflow is not supported: known are tensorboard, wandb and none",
        ),
        (["report_to: [tensorboard, comet_ml]"], "4: .*comet_ml is not supported"),
        (["report_to: [none, wandb]"], "4: .*none and wandb are both set"),
        (["report_to: wandbb"], "4: .*did you mean wandb"),
        (["report_to: 3"], "4: training.report_to"),
        (["lr_scheduler_type: reduce_lr_on_plateau"], "4: .*depends on evaluations"),
        (["lr_scheduler_type: cosine_with_restart"], "4: .*did you mean cosine_with_restarts"),
        (["lr_scheduler_type: cosine_with_min_lr"], "4: .*min_lr_rate"),
        (
            ["lr_scheduler_type: polynomial", "lr_scheduler_kwargs: {powr: 2}"],
            "5: .*no setting powr; did you mean power",
        ),
        (["lr_scheduler_kwargs: {num_cycles: 2}"], "4: .*linear has no setting num_cycles"),
        (["learning_rate: 1e-8", "lr_scheduler_type: polynomial"], "5: .*less than learning_rate"),
        (["optim: adafactor"], "4: optim adafactor: there is only adamw. For less memory"),
        (["optim: lion_32bit"], "4: .*there is only adamw"),
        (["optim: galore_adamw"], "4: .*there is only adamw"),
        (["optim: adamw_tourch"], "4: .*there is only adamw"),
        (["data_seed: 7"], "4: training.data_seed: one seed determines everything"),
        (["mixed_precision: fp8"], "4: .*must be no, fp16 or bf16"),
        (["mixed_precision: fp16", "fp16: true"], r"4: mixed_precision is another name of fp16"),
        (["resume_from_checkpoint: [a]"], "4: .*true or false or text, not a list"),
        (["use_cpu: maybe"], "4: training.use_cpu must be true or false"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(refused, lines, message):
    assert re.match(message, refused(*lines)), refused(*lines)


@pytest.mark.parametrize(
    ("lines", "note"),
    [
        (["optim: adamw_torch_fused"], "the same AdamW as adamw."),
        (["optim: adamw_hf"], "the same AdamW as adamw."),
        (["optim: paged_adamw_8bit"], "moments are in float32, not in 8 bits, and nothing is"),
        (["save_strategy: best"], "best-N"),
        (["eval_steps: null"], "every logging_steps (10)"),
        (["logging_steps: 7", "eval_steps: null"], "every logging_steps (7)"),
        (["lr_scheduler_type: warmup_stable_decay"], "the last tenth of all steps"),
        (["dataloader_pin_memory: false"], "nothing to pin"),
        (["dataloader_drop_last: true"], "every clip is trained on"),
        (["hub_model_id: me/voice"], "hf upload"),
        (["run_name: first"], "wandb.name has no effect: wandb is off"),
    ],
)
def test_options_that_act_differently_here_are_reported_once(training, lines, note):
    (said,) = training(*lines).notes
    assert note in said
    assert re.search(r"voice\.yaml:[45]: ", said)


def test_a_seed_may_stand_in_the_training_section(training, read, refused):
    assert training("seed: 7", "data_seed: 7").seed == 7
    assert training("data_seed: 42").seed == 42
    assert read(f"{MINIMAL}seed: 3\ntraining:\n  seed: 3\n").seed == 3
    with pytest.raises(ConfigError, match=r"training.seed is another name of seed"):
        read(f"{MINIMAL}seed: 3\ntraining:\n  seed: 4\n")


def test_the_processor_by_other_words(training, read):
    assert training("use_cpu: true").device == "cpu"
    assert training("no_cuda: true").device == "cpu"
    assert training("use_cpu: false").device is None
    (note,) = read(f"{MINIMAL}device: cuda\n").notes
    assert "device has no effect: MLX takes the device that it is built for" in note
    with pytest.raises(ConfigError, match="use_cpu is another name of device"):
        read(f"{MINIMAL}device: gpu\ntraining:\n  use_cpu: true\n")


def test_true_goes_on_from_the_output_folder(read, tmp_path, monkeypatch):
    text = f"{MINIMAL}training:\n  output_dir: mine\n  resume_from_checkpoint: true\n"
    config = read(text)
    assert config.training.resume_from_checkpoint == str(tmp_path / "mine")
    default = read(f"{MINIMAL}training:\n  resume_from_checkpoint: yes\n")
    assert default.training.resume_from_checkpoint == str(tmp_path / "outputs")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    moved = read(text, "training.output_dir=out")
    assert moved.training.resume_from_checkpoint == str(elsewhere / "out")
    by_option = read(f"{MINIMAL}", "training.resume_from_checkpoint=true")
    assert by_option.training.resume_from_checkpoint == str(tmp_path / "outputs")
    named = read(f"{MINIMAL}training:\n  resume_from_checkpoint: ./run/checkpoint-5\n")
    assert named.training.resume_from_checkpoint == str(tmp_path / "run" / "checkpoint-5")


def test_all_trackers_are_those_that_are_installed(training, monkeypatch, tmp_path):
    """A folder of that name is not the package: wandb makes one where it runs."""
    import sys

    for name in ("wandb", "tensorboard"):
        (tmp_path / name).mkdir()
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    config = training("report_to: all")
    assert config.training.report_to == []
    assert "report_to all: metrics.jsonl;" in config.notes[0]
    (tmp_path / "wandb" / "__init__.py").write_text("")
    importlib.invalidate_caches()
    config = training("report_to: [all]")
    assert config.training.report_to == ["wandb"]
    assert "metrics.jsonl, wandb;" in config.notes[0]
    assert training("report_to: [all, wandb]").trackers == ["wandb"]


def test_overrides_understand_other_names(read):
    text = f"{MINIMAL}training:\n  gradient_clip_norm: 1\n  evaluation_strategy: epoch\n"
    config = read(text, "training.max_grad_norm=3", "training.seed=9", "training.eval_strategy=no")
    assert config.training.gradient_clip_norm == 3
    assert config.seed == 9
    assert config.training.eval_strategy == "no"
    assert read(MINIMAL, "model.lora.r=4").lora.rank == 4


# --- Adapters ------------------------------------------------------------------------------------


def test_adapters_by_pefts_names(read):
    config = read(
        f"{MINIMAL}model:\n  lora: {{r: 8, lora_alpha: 24, lora_dropout: 0.1, use_dora: true,\n"
        "         target_modules: [q_proj, v_proj], bias: none, task_type: CAUSAL_LM}\n"
    )
    lora = config.lora
    assert (lora.rank, lora.alpha, lora.dropout, lora.dora) == (8, 24, 0.1, True)
    assert lora.targets == ["q_proj", "v_proj"]
    (note,) = config.notes
    assert "model.lora.task_type has no effect" in note


@pytest.mark.parametrize(
    ("lora", "rank"), [("true", 16), ("{target_modules: all-linear, r: 2}", 2), ("false", None)]
)
def test_adapters_in_other_words(read, lora, rank):
    config = read(f"{MINIMAL}model:\n  lora: {lora}\n")
    assert (config.lora and config.lora.rank) == rank
    assert config.lora is None or config.lora.targets is None


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("r: 0", "model.lora.r must be at least 1"),
        ("rank: 2, r: 3", "r is another name of rank"),
        ("use_rslora: true", "square root of the rank"),
        ("bias: all", "biases are not trained"),
        ("modules_to_save: [text_emb]", "nothing but the adapters is trained"),
        ("layers_to_transform: [1]", "write layers: N"),
        ("lora_alpa: 3", "did you mean lora_alpha"),
    ],
)
def test_adapters_that_cannot_be(read, key, message):
    with pytest.raises(ConfigError, match=message):
        read(f"{MINIMAL}model:\n  lora: {{{key}}}\n")


# --- Unknown keys --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("learning_rate: 1\n", "at the top; it belongs in training."),
        ("model:\n  output_dir: x\n", "in model; it belongs in training."),
        ("training:\n  lora: {}\n", "it belongs in model."),
        ("training:\n  device: cpu\n", "it belongs at the top."),
        ("training:\n  max_text_len: 9\n", "it belongs in training.custom_params."),
        ("model:\n  lora_alpha: 9\n", "it belongs in model.lora."),
        ("model:\n  lora_r: 8\n", "write lora: {rank: 16}, in model."),
        ("training:\n  lr: 1\n", "did you mean learning_rate, in training?"),
        ("training:\n  batch_size: 1\n", "per_device_train_batch_size, in training?"),
        ("training:\n  max_grad_nrm: 1\n", "did you mean max_grad_norm?"),
        ("training:\n  resume_from_chekpoint: x\n", "did you mean resume_from_checkpoint?"),
        ("wandb:\n  projct: x\n", "did you mean project?"),
        ("training:\n  custom_params: {max_speech_length: 3}\n", "did you mean max_speech_len?"),
    ],
)
def test_unknown_keys_are_shown_where_they_belong(read, text, hint):
    with pytest.raises(ConfigError) as error:
        read(MINIMAL + text)
    assert "unknown key" in str(error.value)
    assert str(error.value).endswith(hint)


# --- TTSTune -------------------------------------------------------------------------------------


def test_lengths_of_recordings_by_ttstunes_names(read):
    config = read(f"{MINIMAL}  max_audio_length: 20.0\n  min_audio_length: 1\n")
    assert config.dataset.max_audio_duration_s == 20
    assert config.dataset.min_audio_duration_s == 1
    unlimited = read(
        f"{MINIMAL}  max_audio_duration_s: null\n  min_audio_length: null\n  min_text_length:\n"
    ).dataset
    assert unlimited.max_audio_duration_s > 3600 * 24
    assert unlimited.min_audio_duration_s == 0
    assert unlimited.min_text_length == 1


def test_splits_of_the_hub_beside_a_folder_are_noted(read):
    config = read(
        f"{MINIMAL}  dataset_type: wav_txt\n  train_split_name: train\n"
        "  eval_split_name: validation\n  eval_split_size: 0.02\n"
    )
    (note,) = config.notes
    assert re.search(r"voice\.yaml:5: dataset\.eval_split_name has no effect: .*wav_txt", note)
    assert "eval_split_size" in note
    assert config.dataset.eval_split_name is None
    (note,) = read(f"{MINIMAL}  train_split_name: clean\n").notes
    assert "dataset.train_split_name has no effect" in note


def test_the_section_that_ttstune_does_not_read(read):
    config = read(
        f"{MINIMAL}model:\n  freeze_components: []\nadvanced:\n  component_learning_rates:\n"
        "    t3: 1e-4\n    s3gen: 2e-4\n    voice_encoder: 5e-5\n"
        "  progressive_training: false\n  data_augmentation: {enabled: false, speed: [1.1]}\n"
        "  preprocessing: {lowercase: true}\n"
    )
    assert config.training.component_learning_rates == {"t3": 1e-4, "flow": 2e-4}
    rate, preprocessing = config.notes
    assert "voice_encoder has no effect: voice_encoder is not trained" in rate
    assert "advanced.preprocessing has no effect" in preprocessing
    for wrong in ("progressive_training: true", "data_augmentation: {enabled: true}"):
        with pytest.raises(ConfigError, match=r"voice.yaml:4: advanced\.\w+: "):
            read(f"{MINIMAL}advanced:\n  {wrong}\n")
    frozen = read(
        f"{MINIMAL}model:\n  freeze_components: [s3gen]\nadvanced:\n"
        "  component_learning_rates: {t3: 1e-4, s3gen: 2e-4}\n"
    )
    assert frozen.training.component_learning_rates == {"t3": 1e-4}
    assert "s3gen is not trained" in frozen.notes[0]


def test_frozen_components_as_a_section_are_refused_beside_rates_of_the_advanced_section(read):
    with pytest.raises(ConfigError, match="freeze_components must be a list"):
        read(
            f"{MINIMAL}model:\n  freeze_components: {{t3: true}}\nadvanced:\n"
            "  component_learning_rates: {t3: 1e-4}\n"
        )


_BASE = "model_type: chatterbox\n  base_model: ResembleAI/chatterbox\n"
# Every block of TTSTune's guide to Chatterbox, by its content.
GUIDE = [
    f"model:\n  {_BASE}  freeze_components:\n    - voice_encoder\n    - s3gen\n",
    "model:\n  freeze_components:\n    - voice_encoder\n    - t3\n",
    "model:\n  freeze_components:\n    - voice_encoder  # always\n",
    f"model:\n  {_BASE}  freeze_components: [voice_encoder, s3gen]\n"
    "dataset:\n  dataset_path: ./voice_data\n  dataset_type: wav_txt\n"
    "  max_audio_duration_s: 20.0\n  min_audio_duration_s: 2.0\n"
    "training:\n  num_train_epochs: 10\n  per_device_train_batch_size: 8\n"
    "  learning_rate: 1e-4\n  eval_steps: 200\n  save_steps: 500\n",
    "dataset:\n  dataset_path: ./voice_data\n  dataset_type: wav_txt\n  eval_split_size: 0.05\n"
    "training:\n  num_train_epochs: 20\n  per_device_train_batch_size: 4\n  learning_rate: 5e-5\n"
    "  warmup_ratio: 0.1\n  eval_steps: 100\n  early_stopping_patience: 8\n  save_steps: 200\n",
    "training:\n  per_device_train_batch_size: 1\n  gradient_accumulation_steps: 8\n"
    "  gradient_checkpointing: true\n  fp16: true\n",
    "training:\n  custom_params:\n    max_text_len: 256\n    max_speech_len: 800\n"
    "    audio_prompt_duration_s: 3.0\n",
    "training:\n  custom_params:\n    max_speech_token_len: 750\n    max_mel_len: 1500\n"
    "    prompt_audio_duration_s: 3.0\n",
    "training:\n  fp16: true\n",
    "training:\n  per_device_train_batch_size: 8\n  dataloader_num_workers: 4\n",
    "training:\n  dataloader_pin_memory: true\ndataset:\n  preprocessing_num_workers: 8\n",
    "training:\n  learning_rate: 1e-4\n  warmup_ratio: 0.1\n  lr_scheduler_type: cosine\n",
    "training:\n  early_stopping_patience: 5\n  load_best_model_at_end: true\n",
    "training:\n  eval_steps: 100\n  metric_for_best_model: eval_loss\n",
    "training:\n  per_device_train_batch_size: 4\n",
    "model:\n  local_model_dir: /path/to/chatterbox/model\n",
    "training:\n  resume_from_checkpoint: ./outputs/checkpoint-1000\n",
]


@pytest.mark.parametrize("block", GUIDE)
def test_every_block_of_the_guide_is_a_configuration(read, block):
    overrides = [] if "dataset_path" in block else ["dataset.dataset_path=voice_data"]
    notes = read(block, *overrides).notes
    assert len(notes) == ("dataloader_pin_memory" in block)


def test_a_whole_file_of_ttstune(read):
    """A file with every option of its reference, empty where the reference leaves it empty."""
    config = read(
        f"""\
seed: 42
device: null
model:
  {_BASE}  local_model_dir: null
  cache_dir: null
  freeze_components: [voice_encoder, s3gen]
  model_params: {{}}
dataset:
  dataset_path: ./my_dataset
  dataset_type: wav_txt
  dataset_name: null
  dataset_config_name: null
  train_split_name: train
  eval_split_name: validation
  eval_split_size: 0.01
  preprocessing_num_workers: null
  ignore_verifications: false
  sample_rate: 16000
training:
  output_dir: ./outputs
  warmup_steps: 0
  warmup_ratio: 0.1
  eval_strategy: steps
  greater_is_better: false
  remove_unused_columns: false
  optim: adamw_torch
  resume_from_checkpoint: null
  custom_params: {{}}
wandb:
  enabled: true
  project: ttstune-training
  entity: team
  name: experiment
  tags: [chatterbox, finetuning]
  notes: "A voice"
  config: {{}}
"""
    )
    assert config.trackers == ["wandb"]
    assert (config.wandb.project, config.wandb.entity) == ("ttstune-training", "team")
    assert [note.split(": ")[1].split()[0] for note in config.notes] == [
        *("dataset.sample_rate", "training.remove_unused_columns", "dataset.eval_split_name"),
        "training.optim",
    ]


# --- Weights & Biases ----------------------------------------------------------------------------


def test_weights_and_biases_is_switched_on_by_either_word(read, training):
    assert training("report_to: [wandb]").trackers == ["wandb"]
    for written in ("{enabled: true}", "true"):
        assert read(f"{MINIMAL}wandb: {written}\n").trackers == ["wandb"]
    both = read(f"{MINIMAL}training:\n  report_to: [tensorboard, wandb]\nwandb: true\n")
    assert both.trackers == ["tensorboard", "wandb"]
    off = read(f"{MINIMAL}wandb: {{enabled: false, project: p, tags: [a]}}\n")
    assert (off.trackers, off.notes) == ([], [])
    assert read(f"{MINIMAL}wandb: null\n").trackers == []


def test_weights_and_biases_left_off_is_noted_and_contradicted_refused(read):
    config = read(f"{MINIMAL}wandb: {{project: p, name: n}}\n")
    assert config.trackers == []
    assert ["wandb.project" in config.notes[0], "wandb.name" in config.notes[1]] == [True, True]
    with pytest.raises(ConfigError, match=r"wandb\.enabled is false, but report_to names wandb"):
        read(f"{MINIMAL}training:\n  report_to: wandb\nwandb:\n  enabled: false\n")
    with pytest.raises(ConfigError, match=r"wandb\.mode.*did you mean offline"):
        read(f"{MINIMAL}wandb: {{enabled: true, mode: ofline}}\n")


def test_names_of_the_run_by_transformers(training):
    config = training("report_to: wandb", "run_name: first", "project: voices")
    assert (config.wandb.name, config.wandb.project) == ("first", "voices")


def test_translated_options_are_saved_under_our_names(training, tmp_path):
    config = training(
        *("max_grad_norm: 0", "num_train_epochs: 1.5", "eval_steps: 0.1", "report_to: wandb"),
        *("lr_scheduler_type: polynomial", "lr_scheduler_kwargs: {power: 2, lr_end: 1e-6}"),
        *("run_name: first", "resume_from_checkpoint: true"),
    )
    save_config(config, tmp_path / "again.yaml")
    assert load_saved(tmp_path / "again.yaml") == config
