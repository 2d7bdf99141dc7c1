"""Checks of a training configuration that need only the model's configuration.

No weights and no recordings are read. The checks are the code that would refuse later.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from ..models.config import ModelConfig
from . import base_model
from .config import TrainConfig
from .data.item import path_of
from .follow import follow_base
from .naming import metrics_by_name

_TAG_ENDS = "[]"


def check_early(config: TrainConfig) -> ModelConfig | None:
    """Check everything that can be checked before the model is downloaded or loaded.

    Returns:
        The base model's configuration; None if it cannot be known yet.

    Raises:
        ChatterboxError: training would fail.
    """
    model = base_model.configuration(config)
    if model is None:
        _check_path(config)
        return None
    config = copy.deepcopy(config)
    follow_base(config, model)
    _check_tasks(config, model)
    if "t3" in config.model.trained:
        _check_texts(config, model)
    if config.lora is not None and config.lora.targets is not None:
        _check_targets(config, model)
    _check_path(config)
    return model


def _check_path(config: TrainConfig) -> None:
    """Raise DataError if the data is missing, before gigabytes of weights are downloaded."""
    if config.dataset.dataset_path is not None:
        path_of(config.dataset)


def _check_tasks(config: TrainConfig, model: ModelConfig) -> None:
    from .components import make_tasks

    tasks = make_tasks(config, model)
    if config.training.eval_strategy == "no":
        return
    losses = {task.name: dict.fromkeys(("loss", *task.parts, *task.metrics), 0.0) for task in tasks}
    known, wanted = metrics_by_name("eval", losses), config.training.metric_for_best_model
    if wanted not in known and f"eval_{wanted}" not in known:
        raise config.fail(
            "training.metric_for_best_model",
            f"metric_for_best_model: there is no {wanted}; there are {', '.join(known)}.",
        )


def _check_texts(config: TrainConfig, model: ModelConfig) -> None:
    kind, data = model.text.tokenizer, config.dataset
    if kind == "gpt2" and config.model.new_tokens:
        raise config.fail(
            "model.new_tokens",
            "new_tokens: Turbo's and Nano's tokenizer spells any letter by its bytes; there is "
            "nothing to add.",
        )
    if kind != "multilingual":
        return
    known = languages_of(config, model)
    check_language(config, known)
    if data.language is None and data.dataset_type == "wav_txt":
        raise config.fail(
            "dataset",
            "the clips have no language (wav_txt has none), and a multilingual model needs "
            f"one: set dataset.language ({', '.join(known)}).",
        )


def languages_of(config: TrainConfig, model: ModelConfig) -> list[str]:
    """Return the language codes that a multilingual model knows, and those of its new tokens."""
    from ..text.multilingual import SUPPORTED_LANGUAGES

    new = [
        token.strip(_TAG_ENDS)
        for token in config.model.new_tokens
        if token.startswith("[") and token.endswith("]")
    ]
    return list(dict.fromkeys((*SUPPORTED_LANGUAGES, *model.text.languages, *new)))


def check_language(config: TrainConfig, known: Sequence[str]) -> None:
    """Raise ConfigError if the model does not know the language that is set for all clips."""
    language = config.dataset.language
    if language is not None and language.lower() not in known:
        raise config.fail(
            "dataset.language",
            f"the model does not know language {language!r} ({', '.join(known)}); to teach it a "
            f'new one, add its tag to model.new_tokens: ["[{language.lower()}]"].',
        )


def _check_targets(config: TrainConfig, model: ModelConfig) -> None:
    from ..weights.checkpoint import build
    from .adapters import targets

    networks = build(model)  # random weights are computed lazily, so never here
    for name in config.model.trained:
        targets(networks, name, config.lora)
