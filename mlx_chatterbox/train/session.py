"""From a configuration to a trained model: what the command line's subcommands do.

The parts meet here and nowhere else: the base model, the data, the tasks, the trainer, the export.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from ..audio.resample import resample_soxr
from ..checkpoint import Checkpoint
from ..cli import Bars
from ..errors import ChatterboxError, CheckpointError, DataError
from ..pipeline import on_device
from . import base_model, checkpointing
from .adapters import apply_lora, quantize_base, trainable
from .components import make_tasks
from .config import TrainConfig, load_saved
from .data.batches import Batches, group_by_speaker, make_sample, split
from .data.check import Clip, read_clips
from .data.features import FeatureStore, token_count
from .data.listen import read_audio
from .data.text import TextEncoder
from .distributed import Group
from .export import export as write_model
from .metrics import speakers_of
from .state import CONFIG, Checkpoints, find_checkpoint, read_arrays, read_state, weights_file
from .trained import EXTRA, seeded
from .trainer import Samples, Trainer, TrainingError
from .vocabulary import extend_vocabulary

REPORT_NAME, FINAL_NAME, FEATURES_NAME = "data-report.json", "final_model", "features"
NEW_ROWS = ["t3.text_emb.weight", "t3.text_head.weight"]


@dataclass
class Prepared:
    """A model ready to be trained.

    Attributes:
        checkpoint: the base model, its networks holding adapters and new rows as configured.
        tasks: one for each trained component.
    """

    checkpoint: Checkpoint
    tasks: list

    @property
    def trained_weights(self) -> dict[str, int]:
        """How many numbers are trained, by component."""
        networks = self.checkpoint.networks
        return {
            task.name: sum(
                value.size
                for _, value in tree_flatten(task.module(networks).trainable_parameters())
            )
            for task in self.tasks
        }


def prepare(config: TrainConfig, progress: Bars | None = None) -> Prepared:
    """Load the model and make ready what is trained of it."""
    checkpoint = base_model.open_base(config, progress)
    if config.model.new_tokens:
        checkpoint = extend_vocabulary(checkpoint, config.model.new_tokens)
    with seeded(config.seed):  # heads draw their first weights
        tasks = make_tasks(config, checkpoint.config)
    networks, model = checkpoint.networks, config.model
    modules = [task.module(networks) for task in tasks]
    also = []
    if model.lora is not None:
        for task in tasks:
            if model.quantize_base is not None:
                quantize_base(networks, task.name, model.quantize_base)
            apply_lora(networks, task.name, model.lora, config.seed)
        # Adapters cannot teach rows that begin as the mean of all others.
        also = NEW_ROWS if model.new_tokens else []
    trainable(networks, modules, also)
    if config.training.gradient_checkpointing:
        for module in modules:
            checkpointing.enable(module)
    return Prepared(checkpoint, tasks)


class Data:
    """The clips of a configuration, judged and divided.

    Attributes:
        train, evaluation: clips.
        report: what was left out.
    """

    def __init__(
        self, config: TrainConfig, prepared: Prepared | None, progress: Bars | None = None
    ):
        """Listen to every recording.

        Args:
            prepared: without it texts are not held against the model's vocabulary.

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
                self._encoder = TextEncoder(checkpoint.tokenizer, checkpoint.config)
                task = next(task for task in prepared.tasks if task.name == "t3")
                # A small model may have fewer positions than the configuration allows.
                most_text, most_speech = task.max_text_len, task.max_speech_len
        clips, self.report = read_clips(
            config.dataset,
            self._encoder,
            max_text_tokens=most_text,
            max_speech_tokens=most_speech,
            cache_dir=self.cache_dir,
            progress=progress,
        )
        if (
            self._encoder is not None
            and prepared.checkpoint.config.text.tokenizer == "multilingual"
        ):
            _check_languages(clips)
        self.train, self.evaluation = split(clips, config.dataset.eval_split_size, config.seed)
        if not self.train:
            raise TrainingError(f"all {len(clips)} clips are for evaluation, none for training.")
        if config.training.eval_strategy == "no":
            self.evaluation = []

    @property
    def cache_dir(self) -> Path:
        given = self._config.dataset.feature_cache_dir
        return Path(given or Path(self._config.training.output_dir) / FEATURES_NAME)

    def steps(self, machines: int = 1) -> tuple[int, int]:
        """Optimizer steps of an epoch, and in all."""
        training = self._config.training
        size = training.per_device_train_batch_size * training.gradient_accumulation_steps
        an_epoch = len(self._plan(self.train, size * machines))
        return an_epoch, training.max_steps or an_epoch * training.num_train_epochs

    def features(
        self, prepared: Prepared, group: Group, progress: Bars | None = None
    ) -> FeatureStore:
        """Compute what the tasks need of every clip; several machines share the work."""
        dataset = self._config.dataset
        store = FeatureStore(
            self.cache_dir,
            prepared.checkpoint.networks,
            self._encoder,
            loudness_lufs=dataset.loudness_lufs,
            workers=dataset.preprocessing_num_workers,
        )
        needed = set().union(*(t.features | t.prompt_features for t in prepared.tasks))
        clips = [*self.train, *self.evaluation]
        if group.size > 1:
            # Each its part first: where they share the folder, the rest is then there already.
            store.compute(group.share(clips), needed, progress)
            group.wait()
        store.compute(clips, needed, progress)
        return store

    def samples(self, store: FeatureStore, group: Group) -> tuple[Samples, Samples | None]:
        """What the trainer learns from, and what it is judged by."""
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
        """`others` give prompts too."""
        pool = [*clips, *others]
        speakers = group_by_speaker(pool)
        seconds = self._config.training.custom_params.audio_prompt_duration_s

        def make(index: int, key: np.ndarray) -> dict:
            return make_sample(store, pool, index, key, seconds, speakers)

        return Samples(self._plan(clips, batch), make)

    def _plan(self, clips: list[Clip], batch: int) -> Batches:
        return Batches([token_count(clip) for clip in clips], batch, self._config.seed)


def begin(prepared: Prepared, data: Data) -> None:
    """Tell the tasks who speaks, before the first step.

    Raises:
        SettingError: there are too few speakers to tell them apart.
    """
    speakers = {clip.speaker for clip in [*data.train, *data.evaluation]}
    for task in prepared.tasks:
        task.begin(prepared.checkpoint.networks, speakers)


def _check_languages(clips: list[Clip]) -> None:
    """Multilingual models are told the language of a text, and so they must learn it with one."""
    without = [clip for clip in clips if clip.language is None]
    if without:
        raise DataError(
            f"{len(without)} of {len(clips)} clips have no language, which a multilingual model "
            f"needs (the first is {without[0].id}): set dataset.language."
        )


def _speakers(config: TrainConfig, prepared: Prepared, data: Data) -> list:
    """What speaks the samples: in the voice of a clip that is not trained on."""
    if not config.training.spoken_samples or not data.evaluation:
        return []
    # A longer reference serves better, and the voice should be the same at every evaluation.
    clip = max(data.evaluation, key=lambda clip: (min(clip.seconds, 10.0), clip.id))
    samples, rate = read_audio(clip.audio)
    voice = resample_soxr(samples[clip.start : clip.end], rate, 24000)
    return speakers_of(
        prepared.checkpoint,
        config.training.sample_texts or [clip.text],
        voice,
        language=clip.language,
        seed=config.seed,
    )


@contextmanager
def _interruptible(config: TrainConfig) -> Iterator[None]:
    """Say after Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        folder = Path(config.training.output_dir)
        if Checkpoints(folder).newest() is None:
            raise ChatterboxError("interrupted before the first checkpoint.") from None
        raise ChatterboxError(
            f"interrupted; go on with: python -m mlx_chatterbox.train resume {folder}"
        ) from None


def train(config: TrainConfig, progress: Bars) -> int:
    """Train to the end and write `final_model`; the exit code."""
    with on_device(config.device), _interruptible(config):
        group = Group.start()
        quiet = progress if group.is_first else None
        if config.training.resume_from_checkpoint is None:
            refuse_other_run(config)
        prepared = prepare(config, quiet)
        data = Data(config, prepared, quiet)
        begin(prepared, data)
        folder = Path(config.training.output_dir)
        if group.is_first:
            folder.mkdir(parents=True, exist_ok=True)
            data.report.write(folder / REPORT_NAME)
            say(summary(config, prepared, data, group.size))
        store = data.features(prepared, group, quiet)
        samples, evaluation = data.samples(store, group)
        speakers = _speakers(config, prepared, data) if group.is_first else []
        trainer = Trainer(
            config,
            prepared.checkpoint.networks,
            prepared.tasks,
            samples,
            evaluation,
            group,
            speakers,
        )
        if config.training.resume_from_checkpoint is not None:
            trainer.resume(config.training.resume_from_checkpoint)
        progress.close()
        state = trainer.fit()
        if group.is_first:
            final = _final(config, prepared, trainer.weights)
            write_model(final, folder / FINAL_NAME, force=True)
            best = "" if state.best_step is None else f", the best evaluation at {state.best_step}"
            print(f"{folder / FINAL_NAME}: {state.step} steps{best}")
    return 0


def _final(config: TrainConfig, prepared: Prepared, weights: dict[str, mx.array]) -> Checkpoint:
    """The model with what was trained of it; `weights` are float32."""
    if not (config.training.fp16 or config.training.bf16):
        return prepared.checkpoint
    # Half precision has rounded the weights that adapters leave alone, so these are read again.
    checkpoint = prepare(config).checkpoint
    _take_weights(checkpoint.networks, weights, "the run")
    return checkpoint


def refuse_other_run(config: TrainConfig) -> None:
    """Raise TrainingError before anything is computed, if the output folder holds a run."""
    folder = Path(config.training.output_dir)
    if Checkpoints(folder).newest() is not None:
        raise TrainingError(
            f"{folder} holds a run already: resume it (python -m mlx_chatterbox.train resume "
            f"{folder}), or choose another training.output_dir."
        )


def resume(folder: Path, progress: Bars) -> int:
    """Go on with the run of an output folder or of one of its checkpoints; the exit code."""
    checkpoint = find_checkpoint(folder)
    config = _config_of(checkpoint)
    config.training.resume_from_checkpoint = str(checkpoint)
    return train(config, progress)


def _config_of(checkpoint: Path) -> TrainConfig:
    """The configuration that a checkpoint was made with, wherever its folder is now."""
    config = load_saved(checkpoint / CONFIG)
    config.training.output_dir = str(checkpoint.parent)
    return config


def validate(config: TrainConfig, progress: Bars) -> int:
    """Check everything that training needs, and say what it would do; the exit code."""
    with on_device(config.device):
        folder = base_model.find(config)
        prepared = None
        if folder is None:
            variant = base_model.published(config.model)
            size = f" ({variant.size})" if variant is not None else ""
            say(
                f"model: {config.model.source} is not on this machine; training downloads "
                f"it{size}. Texts are not held against its vocabulary."
            )
        else:
            prepared = prepare(config, progress)
        data = Data(config, prepared, progress)
        if prepared is not None:
            begin(prepared, data)
        progress.close()
        print(data.report.table(examples=10))
        print(summary(config, prepared, data))
        if config.training.resume_from_checkpoint is None:
            refuse_other_run(config)
        else:
            find_checkpoint(config.training.resume_from_checkpoint)
    print("everything is ready; nothing was trained.")
    return 0


def summary(config: TrainConfig, prepared: Prepared | None, data: Data, machines: int = 1) -> str:
    """What is trained on what, for people."""
    an_epoch, steps = data.steps(machines)
    training = config.training
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps * machines
    how = "all weights" if config.lora is None else "adapters"
    if prepared is None:
        trained = ", ".join(config.model.trained)
    else:
        weights = prepared.trained_weights
        trained = ", ".join(f"{name} ({count / 1e6:.3g} M)" for name, count in weights.items())
    source = config.model.source if prepared is None else prepared.checkpoint.folder
    return (
        f"model: {source}\n"
        f"trained: {trained}; {how}\n"
        f"clips: {len(data.train)} to train on, {len(data.evaluation)} to evaluate on\n"
        f"steps: {steps} of {batch} clips; {an_epoch} are an epoch\n"
        f"output: {training.output_dir}"
    )


def say(text: str) -> None:
    print(text, file=sys.stderr)


def export(source: Path, output: Path, upstream: bool) -> int:
    """Make a model of a checkpoint, or of a run's best or newest one; the exit code."""
    checkpoint = _to_export(source)
    config = _config_of(checkpoint)
    with on_device(config.device):
        prepared = prepare(config)
        file = weights_file(checkpoint)
        _take_weights(prepared.checkpoint.networks, read_arrays(file), file)
        write_model(prepared.checkpoint, output, upstream=upstream)
    print(f"{output}: step {read_state(checkpoint).step} of {checkpoint.parent}")
    return 0


def _to_export(source: Path) -> Path:
    checkpoint = find_checkpoint(source)
    if (source / CONFIG).is_file():
        return checkpoint
    best = Checkpoints(source).best(read_state(checkpoint).best_step)
    wants_best = load_saved(checkpoint / CONFIG).training.load_best_model_at_end
    return best if best is not None and wants_best else checkpoint


def _take_weights(networks, weights: dict[str, mx.array], source: Path | str) -> None:
    """Put a run's weights into the networks; heads that only serve training are left."""
    arrays = {k: v for k, v in weights.items() if not k.startswith(EXTRA)}
    there = dict(tree_flatten(networks.parameters()))
    wrong = [k for k, v in arrays.items() if k not in there or there[k].shape != v.shape]
    if wrong or not arrays:
        raise CheckpointError(
            f"{source} does not fit the base model: {len(wrong)} tensor(s), the first {wrong[:1]}."
        )
    networks.update(tree_unflatten(list(arrays.items())))
    mx.eval(networks.parameters())
