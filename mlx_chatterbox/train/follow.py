"""Defaults that are taken from the base model.

Fine-tuning works best with the model's own training conditions: the same loudness, the same silence
around the speech, the same losses. Settings in the configuration always take precedence.
"""

from __future__ import annotations

import dataclasses

from ..models.config import FineTuningConfig, ModelConfig
from .config import TrainConfig

_RATE = "training.learning_rate"
_SHARES = tuple(
    f"training.{name}"
    for name in ("text_dropout", "token_noise", "condition_dropout", "start_share")
)
_TRIMMING = ("dataset.trim_silence", "dataset.trim_margin_s")
_NORMALIZE = "dataset.normalize"
_LEVEL = ("dataset.loudness_lufs", "dataset.loudness_range_lufs")


def follow_base(config: TrainConfig, model: ModelConfig) -> None:
    """Set what the configuration leaves out to the base model's values, in place.

    A second call changes nothing; a saved configuration leaves nothing out.
    """
    own = model.fine_tuning
    open_ = {name for name in (*_TRIMMING, *_LEVEL) if not is_given(config, name)}
    data, training = config.dataset, config.training
    if config.lora is None and not is_given(config, _RATE):
        training.learning_rate = own.learning_rate
    if data.normalize is None:
        data.normalize = model.text.normalize
    for name in ("trim_silence", "trim_margin_s"):
        if f"dataset.{name}" in open_:
            setattr(data, name, getattr(own, name))
    if set(_LEVEL) <= open_:  # each of the two decides about loudness
        data.loudness_lufs = model.generation.loudness_lufs
        data.loudness_range_lufs = None
        if data.loudness_lufs is None and own.speech_lufs is not None:
            data.loudness_range_lufs = list(own.speech_lufs)
    for key in _SHARES:
        if not is_given(config, key):
            name = key.rpartition(".")[2]
            setattr(training, name, getattr(own, name))
    for component in config.model.trained:
        for part, weight in own.loss_weights.get(component, {}).items():
            if not config.all_given:
                training.loss_weights.setdefault(part, weight)


def follow_run(config: TrainConfig, begun: TrainConfig) -> None:
    """Set what the configuration leaves out to the values of the run that it resumes.

    Args:
        begun: that run's saved configuration.
    """
    for key in (_RATE, _NORMALIZE, *_TRIMMING, *_LEVEL, *_SHARES):
        section, _, name = key.partition(".")
        if not is_given(config, key):
            setattr(getattr(config, section), name, getattr(getattr(begun, section), name))
            config.places[key] = "the run's own configuration"
    for part, weight in begun.training.loss_weights.items():
        config.training.loss_weights.setdefault(part, weight)


def is_given(config: TrainConfig, key: str) -> bool:
    """True if a setting is in the file, or differs from its default."""
    if config.all_given or key in config.places:
        return True
    section, _, name = key.partition(".")
    values = getattr(config, section)
    default = next(item.default for item in dataclasses.fields(values) if item.name == name)
    return getattr(values, name) != default


def base_lines(config: TrainConfig, model: ModelConfig | None) -> str:
    """Describe to the user how recordings are treated and which settings are the base model's.

    Call it before `follow_base`, which sets them.

    Args:
        model: None if it is not known before the download.
    """
    if model is None:
        return "recordings: trimming and loudness follow the base model, once it is downloaded"
    copy = dataclasses.replace(config, dataset=dataclasses.replace(config.dataset))
    weights = dict(config.training.loss_weights)
    copy.training = dataclasses.replace(config.training, loss_weights=weights)
    follow_base(copy, model)
    data = copy.dataset
    trimmed = any(is_given(config, name) for name in _TRIMMING)
    levelled = any(is_given(config, name) for name in _LEVEL)
    cut = f"silence cut to {data.trim_margin_s:g} s" if data.trim_silence else "silence kept"
    why = "as the configuration says" if trimmed else _why_cut(model)
    loud = "as the configuration says" if levelled else _why_loud(model)
    lines = f"recordings: {cut} ({why}); loudness {_level(data)} ({loud})"
    if "t3" in config.model.trained:
        read = "written out in words as when speaking" if data.normalize else "not normalised"
        why = (
            "as the base does" if config.dataset.normalize is None else "as the configuration says"
        )
        lines += f"\ntexts: {read} ({why})"
    training = TrainConfig().training
    taken = [
        f"{name} {getattr(copy.training, name):g}"
        for name in (key.rpartition(".")[2] for key in (_RATE, *_SHARES))
        if not is_given(config, f"training.{name}")
        and getattr(copy.training, name) != getattr(training, name)
    ]
    taken += [
        f"loss_weights.{part} {weight:g}"
        for part, weight in copy.training.loss_weights.items()
        if part not in config.training.loss_weights
    ]
    return lines + (f"\nas the base was trained: {', '.join(taken)}" if taken else "")


def _level(data) -> str:
    if data.loudness_lufs is not None:
        return f"brought to {data.loudness_lufs:g} LUFS"
    if data.loudness_range_lufs is not None:
        low, high = data.loudness_range_lufs
        return f"left as recorded from {low:g} to {high:g} LUFS, else brought to {middle(data):g}"
    return "left as recorded"


def middle(data) -> float:
    """The loudness, LUFS, that speakers outside of `loudness_range_lufs` are brought to."""
    low, high = data.loudness_range_lufs
    return round((low + high) / 2, 1)


def _why_cut(model: ModelConfig) -> str:
    usual = FineTuningConfig()
    own = model.fine_tuning
    same = (own.trim_silence, own.trim_margin_s) == (usual.trim_silence, usual.trim_margin_s)
    return "the default" if same else "as the base was trained"


def _why_loud(model: ModelConfig) -> str:
    if model.generation.loudness_lufs is not None:
        return "as the base has its references"
    if model.fine_tuning.speech_lufs is not None:
        return "as the base was trained"
    return "the base's references are not levelled either"
