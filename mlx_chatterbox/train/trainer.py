"""The training loop: steps, evaluations, checkpoints, and resuming.

Every random choice comes from a key made of the seed, the epoch and the clip, and every sum that
is logged is part of the saved state, so a run that was killed and resumed writes the same
`metrics.jsonl`, bit for bit, as one that was not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import mlx.core as mx

from .config import TrainConfig
from .distributed import Group
from .feed import Feed
from .judge import Judge, note_best
from .metrics import Metrics, Speak
from .naming import below, means, metrics_by_name
from .optimizer import OptimizerSettings
from .samples import Samples, TrainingError
from .schedules import is_due, schedule, share, steps_of, warmup_length
from .state import (
    OPTIMIZER,
    Checkpoints,
    RunState,
    check_keys,
    find_checkpoint,
    read_arrays,
    read_state,
    weights_file,
)
from .trackers import Tracker, trackers
from .trained import TrainedTask


class Trainer:
    """Trains the tasks on the networks.

    Args:
        config: the whole configuration.
        networks: all networks; the trainable parameters of the tasks' modules change in place.
        tasks: `tasks.base.Task`s; each has its own optimizer and loss scale.
        train: the training set.
        evaluation: the evaluation set, or None.
        group: the machines; None: this one alone.
        speakers: functions called with a path after each evaluation, to write a spoken sample.

    Attributes:
        state: the run's progress.
        judge: computes a trained task's loss and parts over the evaluation set; None without an
            evaluation set.
    """

    def __init__(
        self,
        config: TrainConfig,
        networks,
        tasks: Sequence,
        train: Samples,
        evaluation: Samples | None = None,
        group: Group | None = None,
        speakers: Sequence[Speak] = (),
    ):
        self.config = config
        self.networks = networks
        self.group = group or Group()
        self.state = RunState()
        self._train, self._evaluation = train, evaluation
        self.judge = Judge(config, evaluation, self.group) if evaluation is not None else None
        self._speakers = speakers
        self._folder = Path(config.training.output_dir)
        self._checkpoints = Checkpoints(self._folder, config.training.save_total_limit)
        self._adapters = config.lora is not None
        networks.eval()
        self.tasks = [
            TrainedTask(task, networks, self._settings(task.name), self._adapters) for task in tasks
        ]
        self._lengths: dict[int, int] = {}
        self.total_steps = self._total_steps()
        training = config.training
        self._factor = schedule(
            training.lr_scheduler_type,
            self.total_steps,
            warmup_length(self.total_steps, training.warmup_steps, training.warmup_ratio),
            training.learning_rate,
            training.lr_scheduler_kwargs,
        )
        self._log_steps, self._eval_steps, self._save_steps = (
            steps_of(steps, self.total_steps)
            for steps in (training.logging_steps, training.eval_steps, training.save_steps)
        )
        self._metrics_size: int | None = None
        self._resumed = False
        self._tokens = self._seconds = 0.0

    def _settings(self, component: str) -> OptimizerSettings:
        training = self.config.training
        dtype = "float16" if training.fp16 else "bfloat16" if training.bf16 else "float32"
        return OptimizerSettings(
            learning_rate=training.component_learning_rates.get(component, training.learning_rate),
            weight_decay=training.weight_decay,
            beta1=training.adam_beta1,
            beta2=training.adam_beta2,
            epsilon=training.adam_epsilon,
            max_grad_norm=training.gradient_clip_norm or 0.0,
            dtype=dtype,
            compile=training.compile,
        )

    def _steps_in(self, epoch: int) -> int:
        if epoch not in self._lengths:
            self._lengths[epoch] = len(self._train.plan.epoch(epoch))
            if not self._lengths[epoch]:
                raise TrainingError("there is no clip to train on.")
        return self._lengths[epoch]

    def _total_steps(self) -> int:
        training = self.config.training
        if training.max_steps is not None:
            return training.max_steps
        whole = int(training.num_train_epochs)
        part = training.num_train_epochs - whole
        steps = sum(self._steps_in(epoch) for epoch in range(whole))
        return steps + (share(part, self._steps_in(whole)) if part else 0)

    # --- Starting and resuming -------------------------------------------------------------------

    def resume(self, path: str | Path) -> None:
        """Continue from a checkpoint, or from the newest one of an output folder.

        The first machine reads it and sends it to the others.

        Raises:
            CheckpointError: it is no checkpoint, or one of other networks.
        """
        folder, text = None, b""
        if self.group.is_first:
            folder = find_checkpoint(path)
            text = read_state(folder).to_json().encode()
        self.state = RunState.from_json(self.group.bytes_from_first(text).decode())
        weights, moments = {}, {}
        if folder is not None:
            weights = read_arrays(weights_file(folder))
            moments = read_arrays(folder / OPTIMIZER)
            if folder.parent == self._folder.resolve():
                self._metrics_size = self.state.metrics_bytes
                self._checkpoints.go_back_to(self.state)
        self._take(weights, moments, folder)
        for trained in self.tasks:
            trained.optimizer.loss_scale.state = self.state.loss_scales[trained.name]
        if self.state.step < self.total_steps and not self._out_of_patience:
            self.state.finished = False  # the configuration has more steps than before
        self._resumed = True

    def _take(self, weights: dict, moments: dict, folder: Path | None) -> None:
        mine = self.weights
        mine_moments = self._moments()
        if folder is not None:
            check_keys(folder, weights, mine)
            check_keys(folder, moments, mine_moments)
            mine, mine_moments = weights, moments
        weights = self.group.from_first(mine)
        moments = self.group.from_first(mine_moments)
        for trained in self.tasks:
            trained.weights = weights
            prefix = f"{trained.name}/"
            trained.optimizer.arrays = {
                key.removeprefix(prefix): value
                for key, value in moments.items()
                if key.startswith(prefix)
            }
            mx.eval(trained.optimizer.master, list(trained.optimizer.arrays.values()))

    def _moments(self) -> dict[str, mx.array]:
        return {
            f"{trained.name}/{key}": value
            for trained in self.tasks
            for key, value in trained.optimizer.arrays.items()
        }

    def _trackers(self) -> list[Tracker]:
        if self.state.finished or not self.group.is_first:
            return []
        # A checkpoint of another output folder begins a new run.
        resumed = self._metrics_size is not None
        return trackers(self.config, self._folder, resumed)

    def _check_machines(self) -> None:
        """Raise DistributedError unless all have the same configuration and data."""
        values = self.config.to_dict()
        # Paths may differ from machine to machine, settings may not.
        values = values["training"] | {"output_dir": "", "resume_from_checkpoint": ""}
        plans = [self._train.plan.epoch(0)]
        plans += [self._evaluation.plan.epoch(0)] if self._evaluation is not None else []
        text = json.dumps([values, self.config.seed, plans], default=int)
        self.group.check_same("configuration or data", hashlib.sha256(text.encode()).digest())

    @property
    def steps_left(self) -> int:
        """Optimizer steps that `fit` will make, unless it stops early."""
        return 0 if self._out_of_patience else max(0, self.total_steps - self.state.step)

    # --- The loop --------------------------------------------------------------------------------

    def fit(self) -> RunState:
        """Train to the end; returns the final state.

        Afterwards `weights` are the final ones: with `load_best_model_at_end` those of the best
        evaluation.

        Raises:
            TrainingError: the output folder holds another run, or there is nothing to train on.
            NotFinite: the loss or its gradients are NaN or Inf.
        """
        self._check_machines()
        self._prepare_folder()
        if not self._resumed:
            # New weights are random; all machines take those of the first.
            self._take({}, {}, None)
        metrics = Metrics(
            self._folder if self.group.is_first else None,
            self.total_steps,
            self._metrics_size,
            self._trackers(),
            self.state.step,
        )
        try:
            if not self.state.finished:
                self._run(metrics)
        except BaseException:
            metrics.close(failed=True)
            raise
        metrics.close()
        self._restore_best()
        return self.state

    def _prepare_folder(self) -> None:
        trouble = b""
        if self.group.is_first:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not self._resumed and self._checkpoints.newest() is not None:
                trouble = (
                    f"{self._folder} holds a run already: resume it, or choose another "
                    "training.output_dir."
                ).encode()
            elif not self._resumed:
                self._checkpoints.go_back_to(RunState(step=-1))
        trouble = self.group.bytes_from_first(trouble)
        if trouble:
            raise TrainingError(trouble.decode())

    def _run(self, metrics: Metrics) -> None:
        training = self.config.training
        if training.eval_on_start and self.state.step == 0:
            self._evaluate(metrics)
        stop = self.state.step >= self.total_steps or self._out_of_patience
        evaluated = self.state.step if self._resumed else -1
        feed = Feed(self.config, self._train, self.group, self.total_steps)
        with ThreadPoolExecutor(max(1, training.dataloader_num_workers)) as pool:
            for epoch, batch, futures in feed.upcoming(pool, self.state.epoch, self.state.batch):
                if stop:
                    break
                self._step(epoch, batch, futures, metrics)
                step, ends_epoch = self.state.step, self.state.batch == 0
                last = step == self.total_steps
                logs = is_due(training.logging_strategy, self._log_steps, step, ends_epoch, last)
                if logs or last or (step == 1 and training.logging_first_step):
                    self._log(metrics)
                if is_due(training.eval_strategy, self._eval_steps, step, ends_epoch, last):
                    stop = self._evaluate(metrics)
                    evaluated = step
                if is_due(training.save_strategy, self._save_steps, step, ends_epoch, last):
                    self._save(metrics)
                stop = stop or last
        self.state.finished = True
        if evaluated != self.state.step and training.eval_strategy != "no":
            self._evaluate(metrics)
        self._save(metrics)

    def _step(self, epoch: int, batch: int, futures: list[Future], metrics: Metrics) -> None:
        made = [future.result() for future in futures]
        samples, is_mine = [sample for sample, _ in made], made[0][1]
        size = self.config.training.per_device_train_batch_size
        micro_batches = [samples[i : i + size] for i in range(0, len(samples), size)]
        factor = self._factor(self.state.step)
        window = self.state.window
        values: dict[str, float] = {}
        started = time.perf_counter()
        batches, counts = (
            {},
            {"clips": len(samples) * is_mine, "tokens": _tokens(samples) * is_mine},
        )
        for trained in self.tasks:
            batches[trained.name], totals = trained.batches(micro_batches, is_mine)
            counts |= {f"{trained.name}.{name}": total for name, total in totals.items()}
        counts = self.group.sum_numbers(counts)
        for trained in self.tasks:
            name, rate = trained.name, trained.optimizer.settings.learning_rate * factor
            totals = below(name, counts)
            trained.train()
            sums = trained.step(batches.pop(name), totals, is_mine, rate, self.group)
            trained.train(False)
            values |= {f"{name}.{part}": value for part, value in sums.items()}
        for name, value in {**values, "clips": counts["clips"]}.items():
            window[name] = window.get(name, 0.0) + value
        self._tokens += counts["tokens"]
        self._seconds += time.perf_counter() - started
        self.state.step += 1
        self.state.clips += int(counts["clips"])
        done = batch + 1 == self._steps_in(epoch)
        self.state.epoch, self.state.batch = (epoch + 1, 0) if done else (epoch, batch + 1)
        metrics.advance({k: v for k, v in values.items() if k.endswith(".loss")})

    @property
    def _epochs_done(self) -> float:
        return self.state.epoch + self.state.batch / self._steps_in(self.state.epoch)

    def _log(self, metrics: Metrics) -> None:
        """Write a line of metrics: means since the last line."""
        window, self.state.window = self.state.window, {}
        clips = window.pop("clips")
        parts = {trained.name: means(below(trained.name, window)) for trained in self.tasks}
        factor = self._factor(self.state.step - 1)
        values = metrics_by_name("train", parts)
        for trained in self.tasks:
            prefix = "" if len(self.tasks) == 1 else f"{trained.name}_"
            rate = trained.optimizer.settings.learning_rate
            values[f"{prefix}learning_rate"] = rate * factor
            for part in ("gradient_norm", "skipped"):
                if part in parts[trained.name]:
                    values[f"{prefix}{part}"] = parts[trained.name][part]
            if trained.optimizer.loss_scale.dynamic:
                values[f"{prefix}loss_scale"] = trained.optimizer.loss_scale.value
        values["clips"] = clips
        if self._tokens:
            values["tokens_per_second"] = round(self._tokens / self._seconds, 2)
        self._tokens = self._seconds = 0.0
        metrics.write(self.state.step, self._epochs_done, values)

    # --- Evaluation and saving -------------------------------------------------------------------

    def _evaluate(self, metrics: Metrics) -> bool:
        """Evaluate, speak samples and draw the plot; returns whether to stop early."""
        if self.judge is None:
            return False
        self.networks.eval()
        judge = self.judge
        losses = {trained.name: judge(trained) for trained in self.tasks}
        values = metrics_by_name("eval", losses)
        metrics.write(self.state.step, self._epochs_done, values)
        better = note_best(self.config, self.state, values)
        if better and self.group.is_first:
            self._checkpoints.save_best(
                self._stamped(metrics), self.weights, self.config, self._adapters
            )
        self.group.wait()
        if self.config.training.spoken_samples:
            metrics.speak(self.state.step, self._speakers)
        metrics.plot()
        if self._out_of_patience:
            waited = self.state.waited
            metrics.say(f"step {self.state.step}: no better for {waited} evaluations; stopping.")
        return self._out_of_patience

    @property
    def _out_of_patience(self) -> bool:
        patience = self.config.training.early_stopping_patience
        return patience is not None and self.state.waited >= patience

    @property
    def weights(self) -> dict[str, mx.array]:
        """The weights that a checkpoint holds, by key, the trained ones in float32."""
        return {key: value for trained in self.tasks for key, value in trained.weights.items()}

    def _stamped(self, metrics: Metrics) -> RunState:
        scales = {trained.name: trained.optimizer.loss_scale.state for trained in self.tasks}
        return dataclasses.replace(
            self.state,
            loss_scales=scales,
            metrics_bytes=metrics.size,
            window=dict(self.state.window),
        )

    def _save(self, metrics: Metrics) -> None:
        if self.group.is_first:
            self._checkpoints.save(
                self._stamped(metrics),
                self.weights,
                self._moments(),
                self.config,
                self._adapters,
            )
        self.group.wait()

    def _restore_best(self) -> None:
        """Take the weights of the best evaluation, if the configuration asks for them."""
        weights = self.weights
        if self.config.training.load_best_model_at_end and self.state.best_step is not None:
            if self.group.is_first:
                best = self._checkpoints.best(self.state.best_step)
                if best is not None:
                    weights = read_arrays(weights_file(best))
            weights = self.group.from_first(weights)
        for trained in self.tasks:
            trained.weights = weights


def _tokens(samples: list[dict]) -> int:
    """Count the speech tokens of samples, 25 a second."""
    return sum(len(sample["speech_tokens"]) for sample in samples if "speech_tokens" in sample)
