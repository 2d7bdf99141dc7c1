"""Settings that contradict each other, found before anything is loaded.

What is an error here would otherwise be ignored, or fail after hours.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from ..checks.config_base import Config
from .config import TrainConfig
from .config_options import kind_name, nearest
from .schedules import check_settings
from .sections import LoraConfig
from .spellings import ADAMW
from .yaml_lines import Node


def check(config: TrainConfig, tree: Node) -> None:
    """Refuse contradictions.

    Args:
        tree: the parsed file, for the lines of keys inside `model.config` and the like.

    Raises:
        ConfigError: see the message.
    """
    _check_model(config)
    _check_sizes(config, tree)
    _check_dataset(config)
    _check_precision(config)
    _check_schedule(config)
    _check_evaluation(config)
    _check_trackers(config)
    _check_actors(config)


def _check_model(config: TrainConfig) -> None:
    from ..weights.variants import VARIANTS

    model, places = config.model, config.places
    if "model.local_model_dir" in places and "model.base_model" in places and model.local_model_dir:
        config.notes.append(
            f"{places['model.base_model']}: model.base_model has no effect: model.local_model_dir "
            "overrides it."
        )
    both = model.frozen & set(model.train_components)
    if both:
        names = ", ".join(sorted(both))
        hint = " (s3gen includes it; freeze flow instead)" if _by_s3gen(model, both) else ""
        raise config.fail(
            "model.train_components",
            f"{names} is frozen by freeze_components and trained by train_components{hint}.",
        )
    if not model.trained:
        raise config.fail("model.freeze_components", "everything is frozen: nothing is trained.")
    _check_teachers(config)
    if model.variant is not None and model.variant not in VARIANTS:
        raise config.fail(
            "model.variant", f"model.variant {model.variant!r}; {nearest(model.variant, VARIANTS)}"
        )
    if model.lora is not None:
        _check_lora(config, model.lora)
    elif model.quantize_base is not None:
        raise config.fail(
            "model.quantize_base",
            "quantize_base needs lora: quantised weights cannot be trained themselves.",
        )
    if model.config and model.init != "scratch":
        raise config.fail(
            "model.config", "model.config sets sizes, which only init: scratch can change."
        )
    if model.new_tokens and "t3" not in model.trained:
        raise config.fail("model.new_tokens", "new_tokens belong to t3, which is frozen.")
    if len(set(model.new_tokens)) < len(model.new_tokens) or "" in model.new_tokens:
        raise config.fail("model.new_tokens", "a new token is empty or is listed twice.")


# A network that computes features, once and before training, their name, and who learns from them.
_TEACHERS = {
    "s3_tokenizer": ("speech tokens", ("t3", "flow")),
    "speaker_encoder": ("speaker vectors", ("flow",)),
    "voice_encoder": ("speaker embeddings", ("t3",)),
}


def _check_teachers(config: TrainConfig) -> None:
    """Refuse to train a network while others learn from the features that it computes."""
    trained = config.model.trained
    for teacher, (features, learners) in _TEACHERS.items():
        both = [name for name in learners if name in trained]
        if teacher in trained and both:
            raise config.fail(
                "model.train_components",
                f"{' and '.join(both)} would learn from {features} of the {teacher} as it was "
                f"before: train {teacher} in a run of its own first (freeze_components: "
                f"[{', '.join(both)}]), then {' and '.join(both)} from its final_model.",
            )


def _by_s3gen(model, names: set[str]) -> bool:
    return "s3gen" in model.freeze_components and not names & set(model.freeze_components)


def _check_lora(config: TrainConfig, lora: LoraConfig) -> None:
    model = config.model
    if model.init == "scratch":
        raise config.fail(
            "model.lora",
            "lora adapts trained weights; with init: scratch they are random.",
        )
    others = [name for name in model.trained if name not in ("t3", "flow")]
    if others:
        raise config.fail(
            "model.lora",
            f"lora is for t3 and flow, but {', '.join(others)} is trained: leave lora out.",
        )
    if not lora.targets and lora.targets is not None:
        raise config.fail("model.lora.targets", "targets is empty: no layer gets an adapter.")


def _check_sizes(config: TrainConfig, tree: Node) -> None:
    """Refuse keys of `model.config` that `ModelConfig` lacks; values are checked later."""
    from ..models.config import ModelConfig

    section = tree.entries.get("model")
    node = section.value.get("config") if section and isinstance(section.value, dict) else None
    if node is not None and not node.is_null:
        _check_keys(ModelConfig, node, "model.config")


def _check_keys(cls: type[Config], node: Node, path: str) -> None:
    hints = typing.get_type_hints(cls)
    names = {f.name for f in dataclasses.fields(cls)}
    if not isinstance(node.value, dict):
        raise node.fail(f"{path} must be a section with keys of its own.")
    for key, value in node.value.items():
        if key not in names:
            where = Node("", node.keys.get(key, node.where))
            raise where.fail(f"unknown key {key} in {path}; {nearest(key, names)}")
        kind = hints[key]
        if isinstance(kind, type) and issubclass(kind, Config):
            _check_keys(kind, value, f"{path}.{key}")
        elif kind in (int, float, str, bool):
            _check_kind(kind, value, f"{path}.{key}")


def _check_kind(kind: type, node: Node, path: str) -> None:
    reader: dict[type, Any] = {int: node.as_int, float: node.as_float, bool: node.as_bool}
    bad = isinstance(node.value, list | dict) or (kind in reader and reader[kind]() is None)
    if bad:
        raise node.fail(f"{path} must be {kind_name(kind)}, not {node.describe()}.")


# Set only to name a data set of the hub, so an error elsewhere; the others are noted.
_HUB_NAMES = ("dataset_name", "dataset_config_name")
_HUB_ONLY = {
    "train_split_name": "train",
    "eval_split_name": None,
    "ignore_verifications": False,
    "trust_remote_code": False,
    "use_auth_token": False,
}


def _check_dataset(config: TrainConfig) -> None:
    data = config.dataset
    hub = data.dataset_type == "hf_dataset"
    where = "dataset.dataset_type" if "dataset.dataset_type" in config.places else "dataset"
    if not data.dataset_path and not (hub and data.dataset_name):
        needed = "dataset_name or dataset_path" if hub else "dataset_path"
        raise config.fail(where, f"dataset.{needed} is needed for {data.dataset_type}.")
    if hub and data.dataset_path and data.dataset_name:
        raise config.fail(
            "dataset.dataset_name", "dataset_name and dataset_path are both set: choose one."
        )
    if not hub:
        _check_hub_only(config)
    if data.loudness_range_lufs is not None:
        if data.loudness_lufs is not None:
            raise config.fail(
                "dataset.loudness_range_lufs",
                "loudness_lufs and loudness_range_lufs are both set: choose one.",
            )
        if len(data.loudness_range_lufs) != 2 or sorted(set(data.loudness_range_lufs)) != (
            data.loudness_range_lufs
        ):
            raise config.fail(
                "dataset.loudness_range_lufs",
                "loudness_range_lufs must be two numbers, the lower first: [-23, -14].",
            )
    for what in ("audio_duration_s", "text_length"):
        low, high = getattr(data, f"min_{what}"), getattr(data, f"max_{what}")
        if high is not None and low > high:
            where = f"dataset.min_{what}"
            where = where if where in config.places else f"dataset.max_{what}"
            raise config.fail(where, f"min_{what} {low:g} is more than max_{what} {high:g}.")
    if (
        hub
        and data.eval_split_name
        and config.places.get("dataset.eval_split_size")
        and data.eval_split_size
    ):
        raise config.fail(
            "dataset.eval_split_size",
            "eval_split_name is the evaluation set; leave eval_split_size out.",
        )


def _check_hub_only(config: TrainConfig) -> None:
    """Note or refuse settings of the hub's data sets; TTSTune's examples set them for all kinds."""
    data = config.dataset
    for name in _HUB_NAMES:
        if getattr(data, name):
            raise config.fail(f"dataset.{name}", f"{name} is only for hf_dataset.")
    for name, usual in _HUB_ONLY.items():
        if getattr(data, name) == usual:
            continue
        why = f"only a data set of the hub has it, and this is {data.dataset_type}"
        if name == "eval_split_name":
            why += "; eval_split_size says how many clips are kept for evaluation"
            data.eval_split_name = None
        _note(config, f"dataset.{name}", why)


def _note(config: TrainConfig, key: str, why: str) -> None:
    where = config.places.get(key) or config.places.get("", "configuration")
    config.notes.append(f"{where}: {key} has no effect: {why}.")


def _check_precision(config: TrainConfig) -> None:
    if config.device in ("mps", "cuda"):
        _note(config, "device", "MLX takes the device that it is built for, or cpu")
    if config.training.fp16 and config.training.bf16:
        raise config.fail("training.fp16", "fp16 and bf16 are both on: choose one.")


def _check_schedule(config: TrainConfig) -> None:
    training = config.training
    if training.warmup_steps and training.warmup_ratio:
        raise config.fail(
            "training.warmup_ratio",
            "warmup_steps and warmup_ratio are both set: choose one (Transformers would take "
            "warmup_steps).",
        )
    if training.lr_scheduler_type == "constant" and (
        training.warmup_steps or training.warmup_ratio
    ):
        key = "training.warmup_steps" if training.warmup_steps else "training.warmup_ratio"
        raise config.fail(key, "constant has no warm-up: choose constant_with_warmup.")
    if training.max_steps and training.warmup_steps >= training.max_steps:
        raise config.fail(
            "training.warmup_steps",
            f"warmup_steps {training.warmup_steps} must be less than max_steps "
            f"{training.max_steps}.",
        )
    try:
        check_settings(
            training.lr_scheduler_type, training.lr_scheduler_kwargs, training.learning_rate
        )
    except ValueError as error:
        key = "training.lr_scheduler_kwargs"
        key = key if key in config.places else "training.lr_scheduler_type"
        raise config.fail(key, f"training.lr_scheduler_kwargs: {error}") from None
    if (
        training.lr_scheduler_type == "warmup_stable_decay"
        and "num_decay_steps" not in training.lr_scheduler_kwargs
    ):
        config.notes.append(
            f"{config.places['training.lr_scheduler_type']}: warmup_stable_decay falls in the last "
            "tenth of all steps; lr_scheduler_kwargs: {num_decay_steps: N} sets another number."
        )
    _check_optimizer(config)
    for name in training.component_learning_rates:
        if name not in config.model.trained:
            raise config.fail(
                "training.component_learning_rates",
                f"component_learning_rates: {name} is not trained (trained: "
                f"{', '.join(config.model.trained)}).",
            )


def _check_optimizer(config: TrainConfig) -> None:
    optim = config.training.optim
    differs = ADAMW.get(optim.lower())
    if differs is None:
        raise config.fail(
            "training.optim",
            f"optim {optim}: there is only adamw. For less memory: model.lora, "
            "gradient_checkpointing or bf16.",
        )
    if optim.lower() != "adamw" and "training.optim" in config.places:
        config.notes.append(
            f"{config.places['training.optim']}: training.optim {optim} is the same AdamW as adamw"
            f"{f': {differs}' if differs else ''}."
        )


def _check_trackers(config: TrainConfig) -> None:
    if config.wandb.enabled is False and "wandb" in config.training.report_to:
        raise config.fail(
            "wandb.enabled", "wandb.enabled is false, but report_to names wandb: choose one."
        )
    if "wandb" not in config.trackers and config.wandb.enabled is None:
        for key in config.places:
            if key.startswith("wandb."):
                _note(config, key, "wandb is off; write training.report_to: wandb")


def _check_evaluation(config: TrainConfig) -> None:
    training, data = config.training, config.dataset
    evaluated = training.eval_strategy != "no" and (data.eval_split_size or data.eval_split_name)
    if evaluated:
        return
    why = (
        "eval_strategy is no"
        if training.eval_strategy == "no"
        else "no clips are kept for it (eval_split_size is 0)"
    )
    needing = {
        "load_best_model_at_end": training.load_best_model_at_end,
        "early_stopping_patience": training.early_stopping_patience,
        "eval_on_start": training.eval_on_start,
    }
    for name, value in needing.items():
        # A default asks for nothing; what is written down does.
        if value and f"training.{name}" in config.places:
            raise config.fail(f"training.{name}", f"{name} needs evaluation, but {why}.")
    if "training.eval_steps" in config.places and training.eval_strategy != "steps":
        _note(config, "training.eval_steps", why)


# Settings that only one component's training reads.
_ACTORS = {
    "text_dropout": "t3",
    "token_noise": "t3",
    "condition_dropout": "flow",
    "start_share": "flow",
    "tokenizer_dims": "s3_tokenizer",
    "custom_params.max_text_len": "t3",
    "custom_params.max_speech_len": "t3",
    "custom_params.audio_prompt_duration_s": "t3",
    "custom_params.max_speech_token_len": "flow",
    "custom_params.max_mel_len": "flow",
    "custom_params.prompt_audio_duration_s": "flow",
}


def _check_actors(config: TrainConfig) -> None:
    """Note settings of components that are not trained; the guide's examples have some."""
    for name, component in _ACTORS.items():
        key = f"training.{name}"
        if key in config.places and component not in config.model.trained:
            _note(config, key, f"{component} is not trained")
