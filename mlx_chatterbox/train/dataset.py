"""A configuration's clips, checked and split, and the batches that are made of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..harmless import harmless
from ..models.config import ModelConfig
from ..runtime.progress import Bars
from ..text.multilingual import MultilingualTokenizer
from .config import TrainConfig
from .data.batches import Batches, group_by_speaker, make_sample, split
from .data.check import read_clips
from .data.clip import Clip
from .data.features import FeatureStore, token_count
from .data.text import TextEncoder
from .distributed import Group
from .early import check_language
from .follow import middle
from .prepared import PreparedModel
from .samples import Samples, TrainingError
from .schedules import share

FEATURES_NAME = "features"


class Data:
    """A configuration's clips, checked and split.

    Attributes:
        train, evaluation: clips.
        report: the clips that were left out, with reasons.
        levelled: speakers whose clips are brought to the middle of `loudness_range_lufs`, and
            their median loudness, LUFS.
    """

    def __init__(
        self,
        config: TrainConfig,
        prepared: PreparedModel | None,
        progress: Bars | None = None,
        model: ModelConfig | None = None,
    ):
        """Read and check every recording.

        Args:
            prepared: None: texts are not checked against the model's vocabulary.
            model: the base model's configuration, if `prepared` is None.

        Raises:
            DataError: there is nothing to train on.
        """
        self._config = config
        lengths = config.training.custom_params
        self._encoder = None
        most_text = most_speech = None
        if "t3" in config.model.trained:
            most_text, most_speech = lengths.max_text_len, lengths.max_speech_len
            if prepared is not None:
                checkpoint = prepared.checkpoint
                self._encoder = TextEncoder(
                    checkpoint.tokenizer, checkpoint.config, config.dataset.normalize
                )
                task = next(task for task in prepared.tasks if task.name == "t3")
                # A small model may have fewer positions than the configuration allows.
                most_text, most_speech = task.max_text_len, task.max_speech_len
        if prepared is not None:
            model = prepared.checkpoint.config
        multilingual = (
            "t3" in config.model.trained
            and model is not None
            and model.text.tokenizer == "multilingual"
        )
        if multilingual and prepared is not None:
            tokenizer = prepared.checkpoint.tokenizer
            assert isinstance(tokenizer, MultilingualTokenizer)  # as the configuration says
            check_language(config, tokenizer.languages)
        clips, self.report = read_clips(
            config.dataset,
            self._encoder,
            max_text_tokens=most_text,
            max_speech_tokens=most_speech,
            cache_dir=self.cache_dir,
            progress=progress,
        )
        if multilingual:
            _check_languages(clips)
        self._clips = clips
        self.levelled = _outside(clips, config.dataset.loudness_range_lufs)
        self.train, self.evaluation = split(clips, config.dataset.eval_split_size, config.seed)
        if not self.train:
            raise TrainingError(f"all {len(clips)} clips are for evaluation, none for training.")
        if config.training.eval_strategy == "no":
            self.evaluation = []

    @property
    def cache_dir(self) -> Path:
        chosen = self._config.dataset.feature_cache_dir
        return Path(chosen or Path(self._config.training.output_dir) / FEATURES_NAME)

    def _loudness(self) -> float | dict[str, float] | None:
        """Target loudness of all clips, LUFS, or by speaker; None: unchanged."""
        dataset = self._config.dataset
        if dataset.loudness_range_lufs is None:
            return dataset.loudness_lufs
        return {speaker: middle(dataset) for speaker in self.levelled}

    def steps(self, machines: int = 1) -> tuple[int, int]:
        """Return the optimizer steps of an epoch, and of the run."""
        training = self._config.training
        size = training.per_device_train_batch_size * training.gradient_accumulation_steps
        an_epoch = len(self._plan(self.train, size * machines))
        return an_epoch, training.max_steps or share(training.num_train_epochs, an_epoch)

    def lines(self) -> Iterator[str]:
        """Yield a tab-separated line a clip: name, seconds, speaker, language ("-" for none), the
        text as the tokenizer gets it, and its phones if the model reads those."""
        for clip in self._clips:
            cells = [clip.id, f"{clip.seconds:.2f}", clip.speaker, clip.language or "-"]
            if self._encoder is None:
                cells.append(clip.text)
            else:
                cells.append(self._encoder.normalized(clip.text))
                cells += filter(None, [self._encoder.phones(clip.text)])
            yield "\t".join(harmless(" ".join(cell.split())) for cell in cells)

    def features(
        self, prepared: PreparedModel, group: Group, progress: Bars | None = None
    ) -> FeatureStore:
        """Compute the features that the tasks need; several machines share the work."""
        dataset = self._config.dataset
        store = FeatureStore(
            self.cache_dir,
            prepared.checkpoint.networks,
            self._encoder,
            loudness_lufs=self._loudness(),
            workers=dataset.preprocessing_num_workers,
        )
        needed = set().union(*(t.features | t.prompt_features for t in prepared.tasks))
        clips = [*self.train, *self.evaluation]
        if group.size > 1:
            # Each its part first: in a shared folder the others' parts exist afterwards.
            store.compute(group.share(clips), needed, progress)
            group.wait()
        store.compute(clips, needed, progress)
        return store

    def samples(self, store: FeatureStore, group: Group) -> tuple[Samples, Samples | None]:
        """Return the training set and the evaluation set, or None without one."""
        training = self._config.training
        size = training.per_device_train_batch_size * training.gradient_accumulation_steps
        train = self._samples(store, self.train, [], size * group.size)
        if not self.evaluation:
            return train, None
        size = training.per_device_eval_batch_size * group.size
        return train, self._samples(store, self.evaluation, self.train, size)

    def _samples(
        self, store: FeatureStore, clips: list[Clip], others: list[Clip], batch: int
    ) -> Samples:
        """Make a set of `clips`; prompts come from these and from `others`."""
        pool = [*clips, *others]
        speakers = group_by_speaker(pool)
        seconds = self._config.training.custom_params.audio_prompt_duration_s

        def make(index: int, key: np.ndarray) -> dict:
            return make_sample(store, pool, index, key, seconds, speakers)

        return Samples(self._plan(clips, batch), make)

    def _plan(self, clips: list[Clip], batch: int) -> Batches:
        return Batches([token_count(clip) for clip in clips], batch, self._config.seed)


def _outside(clips: list[Clip], limits: list[float] | None) -> dict[str, float]:
    """Return speakers whose median loudness is outside of these limits, and the median, LUFS."""
    if limits is None:
        return {}
    measured: dict[str, list[float]] = {}
    for clip in clips:
        if clip.lufs is not None:
            measured.setdefault(clip.speaker, []).append(clip.lufs)
    medians = {speaker: float(np.median(values)) for speaker, values in measured.items()}
    return {s: value for s, value in medians.items() if not limits[0] <= value <= limits[1]}


def _check_languages(clips: list[Clip]) -> None:
    """Refuse clips without a language: a multilingual model takes each text with its language."""
    without = [clip for clip in clips if clip.language is None]
    if without:
        raise DataError(
            f"{len(without)} of {len(clips)} clips have no language, which a multilingual model "
            f"needs (the first is {without[0].id}): set dataset.language."
        )
