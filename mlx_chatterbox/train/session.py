"""The subcommands of the command line: train, resume, validate, export.

Only here the parts come together: the base model, the data, the tasks, the trainer, the export.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from ..audio.resample import resample_soxr
from ..errors import CheckpointError, Interrupted
from ..models.config import FineTuningConfig, ModelConfig
from ..runtime.apart import is_within
from ..runtime.device_argument import on_device
from ..runtime.progress import Bars
from ..weights.checkpoint import Checkpoint
from . import base_model
from .clip_list import changes, listed, read_list, write_list
from .config import TrainConfig
from .data.listen import read_audio
from .dataset import Data
from .distributed import Group
from .early import check_early
from .export import check_model_folder
from .export import export as write_model
from .follow import base_lines, follow_base, follow_run, middle
from .loading import load_saved
from .metrics import speakers_of
from .output import alone_in, check_folders, plain_disk_errors, refuse_busy
from .prepared import PreparedModel, prepare
from .samples import TrainingError
from .state import CONFIG, Checkpoints, find_checkpoint, read_arrays, read_state, weights_file
from .trackers import check_trackers
from .trained import EXTRA
from .trainer import Trainer

REPORT_NAME, FINAL_NAME = "data-report.json", "final_model"


def begin(prepared: PreparedModel, data: Data) -> None:
    """Initialise the tasks with the names of the speakers, before the first step.

    Raises:
        SettingError: too few speakers for a speaker encoder's task.
    """
    speakers = {clip.speaker for clip in [*data.train, *data.evaluation]}
    for task in prepared.tasks:
        task.begin(prepared.checkpoint.networks, speakers)


def _speakers(config: TrainConfig, prepared: PreparedModel, data: Data) -> list:
    """Return the functions that speak samples, in the voice of an evaluation clip."""
    if not config.training.spoken_samples or not data.evaluation:
        return []
    # A longer reference is better, and every evaluation should use the same one.
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
    """Turn Ctrl-C into a message that says how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        folder = Path(config.training.output_dir)
        if Checkpoints(folder).newest() is None:
            raise Interrupted("interrupted before the first checkpoint") from None
        raise Interrupted(
            f"interrupted; continue with: python -m mlx_chatterbox.train resume {folder}"
        ) from None


def train(config: TrainConfig, progress: Bars) -> int:
    """Train to the end and write `final_model`; returns the exit code."""
    folder = Path(config.training.output_dir)
    with on_device(config.device), _interruptible(config), plain_disk_errors(folder):
        group = Group.start()
        if group.is_first:
            check_trackers(config)
        _check_early(config)
        with alone_in(folder, group):
            _train(config, progress, group)
    return 0


def _check_early(config: TrainConfig) -> ModelConfig | None:
    """Check everything that needs neither weights nor recordings, before any work.

    Returns:
        The base model's configuration, or None if it is not known yet.

    Raises:
        ChatterboxError: training would fail.
    """
    check_folders(config)
    resumed = config.training.resume_folder
    if resumed is None:
        refuse_other_run(config)
    else:
        checkpoint = find_checkpoint(resumed)
        if not config.all_given:
            follow_run(config, _config_of(checkpoint))
    return check_early(config)


def _train(config: TrainConfig, progress: Bars, group: Group) -> None:
    folder = Path(config.training.output_dir)
    quiet = progress if group.is_first else None
    prepared = prepare(config, quiet)
    data = Data(config, prepared, quiet)
    begin(prepared, data)
    if group.is_first:
        data.report.write(folder / REPORT_NAME)
        say(data.report.table())
        say(summary(config, prepared, data, prepared.followed, group.size))
        _note_clips(config, data)
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
    if (resumed := config.training.resume_folder) is not None:
        trainer.resume(resumed)
        if group.is_first and not trainer.steps_left:
            say(_nothing_left(config, trainer))
    progress.close()
    state = trainer.fit()
    if group.is_first:
        final = _final(config, prepared, trainer.weights)
        write_model(final, folder / FINAL_NAME, force=True)
        best = "" if state.best_step is None else f", the best evaluation at {state.best_step}"
        print(f"{folder / FINAL_NAME}: {state.step} steps{best}")


def _note_clips(config: TrainConfig, data: Data) -> None:
    """Report how the clips differ from those of the resumed run, and save their list."""
    folder = Path(config.training.output_dir)
    now = listed(data.train, data.evaluation)
    if (resumed := config.training.resume_folder) is not None:
        checkpoint = find_checkpoint(resumed)
        before = read_list(checkpoint.parent)
        if before is not None and (changed := changes(before, now)):
            say(
                f"note: the clips differ from those that the run began with: {changed}. Training "
                "continues with the present clips."
            )
    write_list(folder, now)


def _nothing_left(config: TrainConfig, trainer: Trainer) -> str:
    state, training = trainer.state, config.training
    why = f"step {state.step} of {trainer.total_steps} is done"
    if state.step < trainer.total_steps:
        why += f", and {state.waited} evaluations brought no improvement"
    more = "early_stopping_patience" if state.step < trainer.total_steps else "num_train_epochs"
    more = "max_steps" if more == "num_train_epochs" and training.max_steps is not None else more
    return (
        f"note: no step is left: {why}. {FINAL_NAME} is written again. To train further, set "
        f"training.resume_from_checkpoint to {training.output_dir} and a higher {more} in the "
        "configuration."
    )


def _final(
    config: TrainConfig, prepared: PreparedModel, weights: dict[str, mx.array]
) -> Checkpoint:
    """Return the trained model with the run's float32 weights."""
    if not (config.training.fp16 or config.training.bf16):
        return prepared.checkpoint
    # Half precision has rounded the weights that adapters do not change: read them again.
    checkpoint = prepare(config).checkpoint
    _take_weights(checkpoint.networks, weights, "the run")
    return checkpoint


def refuse_other_run(config: TrainConfig) -> None:
    """Raise TrainingError before anything is computed, if the output folder holds a run, or the
    base model."""
    folder = Path(config.training.output_dir)
    if Checkpoints(folder).newest() is not None:
        raise TrainingError(
            f"{folder} holds a run already: resume it (python -m mlx_chatterbox.train resume "
            f"{folder}), or choose another training.output_dir."
        )
    base = base_model.find(config)
    if base is not None and is_within(base, folder):
        raise TrainingError(
            f"the base model {base} lies in training.output_dir {folder}, where the run's models "
            "are written: choose another training.output_dir."
        )


def resume(folder: Path, progress: Bars) -> int:
    """Continue the run of an output folder or of one of its checkpoints; returns the exit code."""
    checkpoint = find_checkpoint(folder)
    config = _config_of(checkpoint)
    config.training.resume_from_checkpoint = str(checkpoint)
    return train(config, progress)


def _config_of(checkpoint: Path) -> TrainConfig:
    """Read a checkpoint's configuration; `output_dir` is the folder where the checkpoint is now."""
    config = load_saved(checkpoint / CONFIG)
    config.training.output_dir = str(checkpoint.parent)
    if read_state(checkpoint).version < 2:
        # It had no effect in that version.
        config.dataset.trim_margin_s = FineTuningConfig().trim_margin_s
        # That version did not normalise texts.
        config.dataset.normalize = False
    return config


def validate(config: TrainConfig, progress: Bars, listing: bool = False) -> int:
    """Check everything that training needs, and print what it would do; returns the exit code.

    Args:
        listing: print every clip to standard output, and everything else to standard error.
    """
    tell = say if listing else print
    check_trackers(config)
    output = Path(config.training.output_dir)
    with on_device(config.device), plain_disk_errors(output):
        model = _check_early(config)
        refuse_busy(output)
        folder = base_model.find(config)
        prepared = None
        if folder is None:
            variant = base_model.published(config.model)
            size = f" ({variant.size})" if variant is not None else ""
            say(
                f"model: {config.model.source} is not on this machine; training downloads "
                f"it{size}. Texts are not checked against its vocabulary."
            )
        else:
            prepared = prepare(config, progress)
        followed = base_lines(config, model)
        if prepared is not None:
            followed = prepared.followed
        elif model is not None:
            follow_base(config, model)
        data = Data(config, prepared, progress, model)
        if prepared is not None:
            begin(prepared, data)
        progress.close()
        if listing:
            print("\n".join(data.lines()))
        tell(data.report.table(examples=10))
        tell(summary(config, prepared, data, followed))
    tell("everything is ready; nothing was trained.")
    return 0


def summary(
    config: TrainConfig,
    prepared: PreparedModel | None,
    data: Data,
    followed: str,
    machines: int = 1,
) -> str:
    """Describe model, data and steps for the user; `followed` is the text of `base_lines`."""
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
        f"{followed}\n{_levelled(config, data)}"
        f"steps: {steps} of {batch} clips; {an_epoch} are an epoch\n"
        f"output: {training.output_dir}"
    )


def _levelled(config: TrainConfig, data: Data) -> str:
    """Return a line with the speakers whose loudness is changed; "" if there are none."""
    if not data.levelled:
        return ""
    some = [f"{name} ({lufs:.1f} LUFS)" for name, lufs in list(data.levelled.items())[:3]]
    more = f" and {len(data.levelled) - 3} more" if len(data.levelled) > 3 else ""
    return f"brought to {middle(config.dataset):g} LUFS: {', '.join(some)}{more}\n"


def say(text: str) -> None:
    """Print a line to standard error."""
    print(text, file=sys.stderr)


def export(source: Path, output: Path, upstream: bool) -> int:
    """Turn a checkpoint, or a run's best or newest one, into a model; returns the exit code."""
    checkpoint = _to_export(source)
    config = _config_of(checkpoint)
    check_model_folder(output, base_model.find(config))
    with on_device(config.device), plain_disk_errors(output):
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
    """Load a run's weights into the networks, except heads that only serve training."""
    arrays = {k: v for k, v in weights.items() if not k.startswith(EXTRA)}
    present = dict(tree_flatten(networks.parameters()))
    wrong = [k for k, v in arrays.items() if k not in present or present[k].shape != v.shape]
    if wrong or not arrays:
        raise CheckpointError(
            f"{source} does not fit the base model: {len(wrong)} tensor(s), the first {wrong[:1]}."
        )
    networks.update(tree_unflatten(list(arrays.items())))
    mx.eval(networks.parameters())
