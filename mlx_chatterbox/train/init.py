"""`train init`: a first configuration, with comments that explain the settings."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import ConfigError

_STRATEGIES = {
    "t3": """\
  # T3 learns how the speaker talks: rhythm, intonation, pronunciation. S3Gen, which reproduces the
  # sound of a reference voice, is not trained. The usual choice.
  freeze_components: [voice_encoder, s3gen]
""",
    "s3gen": """\
  # S3Gen's flow learns the sound of the recordings; T3, the way of talking, is not trained.
  # Useful for a kind of voice or room that the model reproduces badly.
  freeze_components: [voice_encoder, t3]
""",
    "both": """\
  # T3 and S3Gen's flow are both trained, each by its own loss. For many hours of speech.
  # Keep the voice encoder frozen: both were trained to understand it.
  freeze_components: [voice_encoder]
""",
    "lora": """\
  # Only small matrices added to T3's weights are trained: less memory, and less is forgotten.
  freeze_components: [voice_encoder, s3gen]
  lora:
    rank: 16          # width, 8 to 64; a larger one learns more and needs more speech
    alpha: 32         # strength: the adapters' output is multiplied by alpha / rank
    dropout: 0.05
    # dora: true      # DoRA: often better at a low rank, slower
  # quantize_base: 4  # keep the frozen weights in 4 bits, if memory is short
""",
}

STRATEGIES = tuple(_STRATEGIES)

# Learning rates by strategy, for an effective batch of 8 clips.
_RATES = {"t3": "2e-5", "s3gen": "2e-5", "both": "2e-5", "lora": "1e-4"}

_TEMPLATE = """\
# Fine-tuning of Chatterbox, strategy "{strategy}". Every option: docs/training.md
#
#   python -m mlx_chatterbox.train validate --config {name}   # checks everything, trains nothing
#   python -m mlx_chatterbox.train --config {name}            # trains
#   python -m mlx_chatterbox.train resume {output}            # continues after an interruption
#
# Paths are relative to this file. Train on a voice only with its owner's consent.

model:
  model_type: chatterbox
  # A name (chatterbox, multilingual, turbo, nano), OWNER/REPOSITORY, or a folder.
  base_model: ResembleAI/chatterbox
  # local_model_dir: ./my-checkpoint    # a folder of weights; overrides base_model
{strategy_lines}
dataset:
  # wav_txt: a folder with 1.wav and 1.txt, 2.wav and 2.txt, ...
  # metadata_csv: a table (CSV, TSV, ...); metadata_json: JSON (Lines); hf_dataset: from the hub.
  dataset_type: wav_txt
  dataset_path: {data}
  # language: de                 # for multilingual models: language of clips without one
  min_audio_duration_s: 1.0      # shorter and longer clips are left out, and reported
  max_audio_duration_s: 20.0
  eval_split_size: 0.05          # share of the clips kept for evaluation

training:
  output_dir: {output}
  num_train_epochs: 10           # how often each clip is seen; or max_steps: N
  per_device_train_batch_size: 2
  gradient_accumulation_steps: 4 # 2 x 4 = 8 clips in a step; the first number costs memory
  gradient_checkpointing: true   # less memory, about a third more time
  learning_rate: {rate}
  lr_scheduler_type: cosine
  warmup_ratio: 0.05
  # bf16: true                   # half the memory for weights and activations; faster on GPUs
  logging_steps: 10
  eval_steps: 100                # evaluate, speak a sample, keep the best weights
  save_steps: 200                # for `resume`
  save_total_limit: 2
  early_stopping_patience: 5     # stop after five evaluations without improvement
  # sample_texts: ["This is how I sound now."]

seed: 42                         # same seed, same run
"""


def template(strategy: str, name: str = "voice.yaml", data: str = "./voice_data") -> str:
    """Return a configuration as text.

    Args:
        strategy: one of `STRATEGIES`.
        name: the file's name, for the commands in the comments.
        data: the folder with the recordings.
    """
    from .yaml_lines import write_yaml

    return _TEMPLATE.format(
        strategy=strategy,
        name=name,
        output=f"./{Path(name).stem}-training",
        strategy_lines=_STRATEGIES[strategy],
        rate=_RATES[strategy],
        data=write_yaml([data]).strip()[1:-1],
    )


def write_template(path: Path, strategy: str, data: str = "./voice_data") -> None:
    """Write a configuration to a new file.

    Raises:
        ConfigError: the file exists, or cannot be written.
    """
    text = template(strategy, path.name, data)
    try:
        # Exclusive, so that two processes cannot overwrite each other's file either.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists already and is not overwritten: choose another name, or remove it."
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
    with open(handle, "w", encoding="utf-8") as file:
        file.write(text)
