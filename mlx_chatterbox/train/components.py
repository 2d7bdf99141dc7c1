"""Makes the tasks of a configuration's trained components, each with its settings."""

from __future__ import annotations

from ..models.config import ModelConfig
from ..synthesis.tokens import TOKENS_PER_SECOND
from .config import TrainConfig
from .config_options import nearest
from .tasks.base import Task

_FRAMES_PER_SECOND = 50


def make_tasks(config: TrainConfig, model: ModelConfig) -> list[Task]:
    """Make a task for each trained component, in the order of `COMPONENTS`.

    Raises:
        ConfigError: a loss weight for a part that no trained component has.
        SettingError: a component that cannot be trained in this model.
    """
    tasks = [_MAKERS[name](config, model) for name in config.model.trained]
    parts = {part for task in tasks for part in task.parts}
    for name in config.training.loss_weights:
        if name not in parts:
            raise config.fail(
                "training.loss_weights",
                f"loss_weights: there is no part {name}; {nearest(name, parts)}",
            )
    return tasks


def _t3(config: TrainConfig, model: ModelConfig) -> Task:
    from .tasks.t3 import T3Task

    training = config.training
    lengths = training.custom_params
    return T3Task(
        model.t3,
        text_dropout=training.text_dropout,
        token_noise=training.token_noise,
        prompt_tokens=round(lengths.audio_prompt_duration_s * TOKENS_PER_SECOND),
        max_text_len=lengths.max_text_len,
        max_speech_len=lengths.max_speech_len,
        weights=_weights(config, T3Task),
    )


def _flow(config: TrainConfig, model: ModelConfig) -> Task:
    from .tasks.flow import FlowTask

    training = config.training
    lengths = training.custom_params
    return FlowTask(
        model.s3gen,
        condition_dropout=training.condition_dropout,
        start_share=training.start_share,
        max_tokens=min(
            lengths.max_speech_token_len, lengths.max_mel_len // model.s3gen.token_mel_ratio
        ),
        max_prompt_frames=round(lengths.prompt_audio_duration_s * _FRAMES_PER_SECOND),
        weights=_weights(config, FlowTask),
    )


def _vocoder(config: TrainConfig, model: ModelConfig) -> Task:
    from .tasks.vocoder import VocoderTask

    return VocoderTask(model.s3gen.hift, weights=_weights(config, VocoderTask))


def _tokenizer(config: TrainConfig, model: ModelConfig) -> Task:
    from .tasks.tokenizer import TokenizerTask

    dims, most = config.training.tokenizer_dims, model.s3_tokenizer.quantizer_dims
    if dims is not None and dims > most:
        raise config.fail(
            "training.tokenizer_dims", f"tokenizer_dims {dims}: the quantiser has {most}."
        )
    weights = _weights(config, TokenizerTask)
    return TokenizerTask(model.s3_tokenizer, active_dims=dims, weights=weights)


def _speaker_encoder(config: TrainConfig, model: ModelConfig) -> Task:
    width = model.s3gen.speaker_encoder.embedding_size
    return _speaker("speaker_encoder", width, config)


def _voice_encoder(config: TrainConfig, model: ModelConfig) -> Task:
    return _speaker("voice_encoder", model.voice_encoder.speaker_embed_size, config)


def _speaker(name: str, width: int, config: TrainConfig) -> Task:
    from .tasks.speaker import SpeakerTask

    return SpeakerTask(name, None, width, weights=_weights(config, SpeakerTask))


def _weights(config: TrainConfig, task: type[Task]) -> dict[str, float]:
    return {
        part: weight for part, weight in config.training.loss_weights.items() if part in task.parts
    }


_MAKERS = {
    "t3": _t3,
    "flow": _flow,
    "vocoder": _vocoder,
    "s3_tokenizer": _tokenizer,
    "speaker_encoder": _speaker_encoder,
    "voice_encoder": _voice_encoder,
}
