"""The training configuration: accepted values, refused ones, and the line in errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlx_chatterbox.errors import ConfigError
from mlx_chatterbox.train.config import TrainConfig
from mlx_chatterbox.train.config_options import rows
from mlx_chatterbox.train.init import STRATEGIES, template, write_template
from mlx_chatterbox.train.loading import load_config, load_saved, save_config
from mlx_chatterbox.train.spellings import IGNORED

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
def refused(read):
    """The message with which a text is refused, without the folder in front of the file."""

    def message(text: str, *overrides: str) -> str:
        with pytest.raises(ConfigError) as error:
            read(text, *overrides)
        return re.sub(r"\S*/voice\.yaml", "voice.yaml", str(error.value))

    return message


@pytest.mark.parametrize("written", ["1e-4", "1E-4", "0.0001", ".0001", "1.0e-4", "+1e-04"])
def test_numbers_may_be_written_as_people_write_them(read, written):
    config = read(f"{MINIMAL}training:\n  learning_rate: {written}\n")
    assert config.training.learning_rate == pytest.approx(1e-4)


def test_whole_numbers_are_numbers_and_the_other_way_round(read):
    config = read(f"{MINIMAL}training:\n  save_steps: 1e3\n  weight_decay: 1\n")
    assert config.training.save_steps == 1000
    assert isinstance(config.training.save_steps, int)
    assert isinstance(config.training.weight_decay, float)


@pytest.mark.parametrize(("word", "value"), [("yes", True), ("no", False), ("On", True)])
def test_yes_and_no_are_booleans_where_booleans_belong(read, word, value):
    assert read(f"{MINIMAL}training:\n  bf16: {word}\n").training.bf16 is value


def test_no_is_norwegian_and_never_where_words_belong(read):
    config = read(f"{MINIMAL}  language: no\ntraining:\n  eval_strategy: no\n")
    assert config.dataset.language == "no"
    assert config.training.eval_strategy == "no"


def test_defaults_train_t3_and_flow(read):
    config = read(MINIMAL)
    assert config.model.trained == ["t3", "flow"]
    assert config.seed == 42
    assert config.training.custom_params.max_speech_len == 800
    assert config.lora is None
    assert config.notes == []


@pytest.mark.parametrize(
    ("frozen", "named", "trained"),
    [
        ("[voice_encoder, s3gen]", "[]", ["t3"]),
        ("[voice_encoder, t3]", "[]", ["flow"]),
        ("[voice_encoder]", "[]", ["t3", "flow"]),
        ("[t3, flow]", "[vocoder]", ["vocoder"]),
        ("[]", "[vocoder, t3]", ["t3", "flow", "vocoder"]),
    ],
)
def test_strategies_follow_from_what_is_frozen(read, frozen, named, trained):
    config = read(f"{MINIMAL}model:\n  freeze_components: {frozen}\n  train_components: {named}\n")
    assert config.model.trained == trained


@pytest.mark.parametrize(
    ("written", "meant"),
    [("jsonl", "metadata_json"), ("hf", "hf_dataset"), ("huggingface", "hf_dataset")],
)
def test_dataset_types_have_other_names(read, written, meant):
    assert read(MINIMAL, f"dataset.dataset_type={written}").dataset.dataset_type == meant


def test_paths_are_relative_to_the_file_and_overrides_to_the_current_folder(
    read, tmp_path, monkeypatch
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (tmp_path / "base").mkdir()
    config = read(f"{MINIMAL}model:\n  base_model: base\n", "training.output_dir=out")
    assert config.dataset.dataset_path == str(tmp_path / "voice_data")
    assert config.model.base_model == str(tmp_path / "base")
    assert config.training.output_dir == str(elsewhere / "out")


def test_local_folder_overrides_the_base_model_with_a_note(read, tmp_path):
    config = read(f"{MINIMAL}model:\n  base_model: turbo\n  local_model_dir: mine\n")
    assert config.model.source == str(tmp_path / "mine")
    assert "voice.yaml:4: model.base_model has no effect" in config.notes[0]


def test_lora_with_nothing_in_it_takes_the_defaults(read):
    config = read(f"{MINIMAL}model:\n  lora: {{}}\n")
    assert config.lora.rank == 16
    assert read(f"{MINIMAL}model:\n  lora:\n").lora is None


def test_one_word_is_a_list_of_one(read):
    config = read(f"{MINIMAL}model:\n  freeze_components: s3gen\n")
    assert config.model.trained == ["t3"]


def test_anchors_and_merged_sections_are_yaml_too(read):
    config = read(
        "dataset: &data\n  dataset_path: a\n"
        "training:\n  custom_params: &lengths\n    max_text_len: 99\n    max_mel_len: 1000\n"
    )
    assert config.training.custom_params.max_text_len == 99


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "training:\n  learning_rte: 1\n",
            r"voice.yaml:4: unknown key learning_rte .*learning_rate",
        ),
        ("trainig:\n  seed: 1\n", r"voice.yaml:3: unknown key trainig at the top.*training"),
        (
            "training:\n  custom_params:\n    max_txt_len: 1\n",
            r"voice.yaml:5: .*did you mean max_text_len",
        ),
        ("training:\n  learning_rate: fast\n", r"voice.yaml:4: .* must be a number, not fast"),
        ("training:\n  learning_rate: '1e-4'\n", r"voice.yaml:4: .*Leave the quotes out"),
        ("training:\n  bf16: 2\n", r"voice.yaml:4: .*true or false, not 2"),
        ("training:\n  save_steps: 1.5\n", r"voice.yaml:4: .*whole number, not 1.5"),
        ("training:\n  save_steps:\n", r"voice.yaml:4: .*whole number, not nothing"),
        ("training:\n  save_steps: [1]\n", r"voice.yaml:4: .*whole number, not a list"),
        ("training: 3\n", r"voice.yaml:3: training must be a section"),
        ("training:\n  eval_steps: 0\n", r"voice.yaml:4: .*at least 1, not 0"),
        ("training:\n  learning_rate: 0\n", r"voice.yaml:4: .*more than 0"),
        ("training:\n  text_dropout: 1.5\n", r"voice.yaml:4: .*at most 1"),
        ("training:\n  lr_scheduler_type: cosin\n", r"voice.yaml:4: .*did you mean cosine"),
        ("model:\n  freeze_components: [vocodr]\n", r"voice.yaml:4: .*did you mean vocoder"),
        ("model:\n  model_type: f5_tts\n", r"voice.yaml:4: .*'f5_tts' is not known"),
        ("model:\n  variant: englsh\n", r"voice.yaml:4: .*did you mean english"),
        ("seed: -1\n", r"voice.yaml:3: seed must be at least 0"),
        ("seed: 1\nseed: 2\n", r"voice.yaml:4: seed is set twice: here and at .*voice.yaml:3"),
        ("model: {a: [}\n", r"voice.yaml:3: this is no YAML"),
        ("\tmodel: 1\n", r"voice.yaml:3: this is no YAML"),
        ("training:\n  loss_weights: {text: -1}\n", r"voice.yaml:4: .*at least 0"),
    ],
)
def test_mistakes_name_the_line_and_what_was_meant(refused, text, message):
    assert re.match(message, refused(MINIMAL + text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training:\n  fp16: true\n  bf16: true\n", "voice.yaml:4: fp16 and bf16"),
        (
            "training:\n  eval_strategy: no\n  load_best_model_at_end: true\n",
            "voice.yaml:5: load_best_model_at_end needs evaluation, but eval_strategy is no",
        ),
        (
            "  eval_split_size: 0\ntraining:\n  early_stopping_patience: 3\n",
            "voice.yaml:5: early_stopping_patience needs evaluation, but no clips",
        ),
        ("model:\n  freeze_components: [t3, s3gen]\n", "voice.yaml:4: everything is frozen"),
        (
            "model:\n  freeze_components: [s3gen]\n  train_components: [vocoder]\n",
            "voice.yaml:5: vocoder is frozen .*freeze flow instead",
        ),
        ("model:\n  init: scratch\n  lora: {}\n", "voice.yaml:5: lora adapts"),
        ("model:\n  train_components: [vocoder]\n  lora: {}\n", "voice.yaml:5: lora is for t3"),
        (
            "model:\n  train_components: [s3_tokenizer]\n",
            "voice.yaml:4: t3 and flow would learn from speech tokens of the s3_tokenizer as",
        ),
        (
            "model:\n  freeze_components: [t3]\n  train_components: [speaker_encoder]\n",
            "voice.yaml:5: flow would learn from speaker vectors",
        ),
        (
            "model:\n  freeze_components: [flow]\n  train_components: [voice_encoder]\n",
            "voice.yaml:5: t3 would .* train voice_encoder in a run of its own first",
        ),
        ("model:\n  quantize_base: 4\n", "voice.yaml:4: quantize_base needs lora"),
        ("model:\n  lora: {}\n  quantize_base: 5\n", "voice.yaml:5: .*'5' is not known"),
        ("model:\n  config: {t3: {}}\n", "voice.yaml:4: model.config sets sizes"),
        (
            "model:\n  init: scratch\n  config:\n    t3:\n      hiden_size: 4\n",
            "voice.yaml:7: unknown key hiden_size in model.config.t3; did you mean hidden_size",
        ),
        (
            "model:\n  init: scratch\n  config: {t3: {hidden_size: big}}\n",
            "voice.yaml:5: model.config.t3.hidden_size must be a whole number, not big",
        ),
        (
            "model:\n  freeze_components: [t3]\n  new_tokens: [ø]\n",
            "voice.yaml:5: new_tokens belong to t3",
        ),
        (
            "  min_audio_duration_s: 9\n  max_audio_duration_s: 5\n",
            "voice.yaml:3: min_audio_duration_s 9 is more than max_audio_duration_s 5",
        ),
        ("  max_text_length: 3\n  min_text_length: 5\n", "voice.yaml:4: min_text_length 5"),
        ("  dataset_name: a/b\n", "voice.yaml:3: dataset_name is only for hf_dataset"),
        ("  dataset_type: hf_dataset\n  dataset_name: a/b\n", "voice.yaml:4: .*choose one"),
        ("training:\n  warmup_steps: 5\n  warmup_ratio: 0.1\n", "voice.yaml:5: .*choose one"),
        (
            "training:\n  lr_scheduler_type: constant\n  warmup_steps: 5\n",
            "voice.yaml:5: .*constant_with_warmup",
        ),
        (
            "training:\n  max_steps: 5\n  warmup_steps: 5\n",
            "voice.yaml:5: .*must be less than max_steps",
        ),
        ("training:\n  optim: sgd\n", "voice.yaml:4: .*there is only adamw"),
        (
            "training:\n  component_learning_rates: {vocoder: 1e-4}\n",
            "voice.yaml:4: .*vocoder is not trained",
        ),
        (
            "training:\n  evaluation_strategy: no\n  eval_strategy: no\n",
            "voice.yaml:4: evaluation_strategy is the old name",
        ),
    ],
)
def test_contradictions_are_errors_with_a_line(refused, text, message):
    assert re.match(message, refused(MINIMAL + text))


def test_a_data_set_is_needed(refused):
    assert "dataset_path is needed" in refused("seed: 1\n")
    assert "dataset_path is needed" in refused("")
    assert refused("dataset:\n  dataset_type: hf_dataset\n").startswith("voice.yaml:2: ")


def test_defaults_contradict_nothing_that_is_switched_off(read):
    config = read(f"{MINIMAL}  eval_split_size: 0\ntraining:\n  eval_strategy: no\n")
    assert config.training.eval_strategy == "no"


def test_the_old_name_of_the_evaluation_strategy_works(read):
    config = read(f"{MINIMAL}training:\n  evaluation_strategy: epoch\n")
    assert config.training.eval_strategy == "epoch"


@pytest.mark.parametrize("key", sorted(IGNORED))
def test_options_without_effect_are_accepted_and_reported_once(read, key):
    section, _, name = key.partition(".")
    line = f"{section}:\n  {name}: true\n" if name else f"{section}:\n  enabled: true\n"
    text = MINIMAL + (f"  {name}: true\n" if section == "dataset" else line)
    notes = read(text).notes
    assert len(notes) == 1
    assert f"{key} has no effect" in notes[0]
    assert re.search(r"voice\.yaml:\d: ", notes[0])


def test_spellings_of_adamw_are_one(read):
    config = read(f"{MINIMAL}training:\n  optim: adamw_torch\n")
    assert "the same AdamW" in config.notes[0]


def test_overrides_act_and_name_themselves_in_errors(read, refused):
    config = read(MINIMAL, "training.learning_rate=3e-5", "model.lora.rank=4", "seed=7")
    assert (config.training.learning_rate, config.lora.rank, config.seed) == (3e-5, 4, 7)
    assert read(MINIMAL, "model.freeze_components=[t3]").model.trained == ["flow"]
    assert refused(MINIMAL, "training.learnin_rate=1").startswith("--set training.learnin_rate: ")
    assert "section.key=value" in refused(MINIMAL, "seed")
    assert "seed is not a section" in refused(MINIMAL + "seed: 1\n", "seed.x=1")


def test_a_saved_configuration_reads_back_equal(read, tmp_path):
    config = read(
        f"{MINIMAL}  language: no\nmodel:\n  lora: {{rank: 4, targets: [q_proj]}}\n"
        "  new_tokens: ['yes', '1', 'ø', '~']\ntraining:\n  learning_rate: 1e-7\n"
        "  loss_weights: {text: 0.5}\n"
    )
    save_config(config, tmp_path / "again.yaml")
    again = load_saved(tmp_path / "again.yaml")
    assert again == config
    assert again.model.new_tokens == ["yes", "1", "ø", "~"]


def test_defaults_that_are_saved_contradict_nothing(read, tmp_path):
    config = read(f"{MINIMAL}  eval_split_size: 0\ntraining:\n  eval_strategy: no\n")
    save_config(config, tmp_path / "again.yaml")
    assert load_saved(tmp_path / "again.yaml") == config


def test_files_that_cannot_be_read_are_one_line(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("seed: 1 # größer".encode("latin-1"))
    with pytest.raises(ConfigError, match="no UTF-8"):
        load_config(tmp_path / "latin.yaml")


def test_a_file_that_contains_itself_ends(read, refused):
    assert "nested too deeply" in refused(f"{MINIMAL}model:\n  config: &a\n    t3: *a\n")


def test_the_guides_examples_are_valid(read):
    config = read(
        """\
model:
  model_type: chatterbox
  base_model: ResembleAI/chatterbox
  freeze_components: [voice_encoder, s3gen]
dataset:
  dataset_path: ./voice_data
  dataset_type: wav_txt
  eval_split_size: 0.05  # Larger validation set
  preprocessing_num_workers: 8
training:
  num_train_epochs: 20
  per_device_train_batch_size: 1
  gradient_accumulation_steps: 8
  gradient_checkpointing: true
  fp16: true
  learning_rate: 5e-5
  warmup_ratio: 0.1
  lr_scheduler_type: cosine
  eval_steps: 100
  early_stopping_patience: 8
  load_best_model_at_end: true
  metric_for_best_model: eval_loss
  save_steps: 200
  dataloader_num_workers: 4
  custom_params:
    max_text_len: 256          # Maximum text tokens
    max_speech_len: 800        # Maximum speech tokens
    audio_prompt_duration_s: 3.0  # Reference audio length
    max_speech_token_len: 750    # Max speech tokens for S3Gen
    max_mel_len: 1500           # Max mel frames
    prompt_audio_duration_s: 3.0 # Prompt duration
  resume_from_checkpoint: ./outputs/checkpoint-1000
"""
    )
    assert config.training.learning_rate == 5e-5
    # Only T3 is trained, so S3Gen's lengths are unused.
    assert [note.split(" ")[1] for note in config.notes] == [
        "training.custom_params.max_speech_token_len",
        "training.custom_params.max_mel_len",
        "training.custom_params.prompt_audio_duration_s",
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_template_is_a_valid_configuration(read, strategy):
    config = read(template(strategy, data="./my: data"))
    assert config.notes == []
    assert Path(config.dataset.dataset_path).name == "my: data"
    expected = {"s3gen": ["flow"], "both": ["t3", "flow"]}.get(strategy, ["t3"])
    assert config.model.trained == expected
    assert (config.lora is not None) == (strategy == "lora")


def test_a_template_overwrites_nothing(tmp_path):
    path = tmp_path / "voice.yaml"
    write_template(path, "t3")
    before = path.read_text()
    with pytest.raises(ConfigError, match="exists already"):
        write_template(path, "lora")
    assert path.read_text() == before
    with pytest.raises(ConfigError, match="cannot be written"):
        write_template(tmp_path / "nowhere" / "voice.yaml", "t3")


def test_every_option_has_a_description():
    for key, kind, default, doc in rows(TrainConfig):
        assert len(doc) > 10, key
        assert kind
        assert default
