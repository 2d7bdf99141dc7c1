"""Sections of the training configuration: keys, defaults, and what each key sets.

Attribute names are the YAML keys. Nothing here imports MLX.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .config_options import option

Component = Literal["t3", "flow", "vocoder", "s3_tokenizer", "speaker_encoder", "voice_encoder"]
Freezable = Literal[
    "t3", "s3gen", "flow", "vocoder", "s3_tokenizer", "speaker_encoder", "voice_encoder"
]

COMPONENTS = ("t3", "flow", "vocoder", "s3_tokenizer", "speaker_encoder", "voice_encoder")
# Trained unless frozen; the others only if `train_components` names them.
USUAL = ("t3", "flow")
# Other names of a dataset_type, replaced by ours when the section is made.
_DATASET_TYPES: dict[str, Literal["metadata_json", "hf_dataset"]] = {
    "jsonl": "metadata_json",
    "hf": "hf_dataset",
    "huggingface": "hf_dataset",
}
_ALL_STEPS = "all steps"
# The largest rank of an adapter (no layer is wider), and the most threads (no machine has as many
# cores).
MAX_RANK, MAX_THREADS = 8192, 256
# The components that "s3gen" stands for in `freeze_components`.
S3GEN = ("flow", "vocoder", "s3_tokenizer", "speaker_encoder")


@dataclass
class LoraConfig:
    """Low-rank adapters: small matrices are trained beside the frozen weights."""

    rank: int = option(
        16,
        "width of the adapters: a larger one can learn more, and forget more",
        low=1,
        high=MAX_RANK,
    )
    alpha: float = option(
        32.0, "strength: an adapter's output is multiplied by alpha / rank", above=0
    )
    dropout: float = option(
        0.0, "share of the adapters' inputs zeroed at random while training", low=0, high=0.9
    )
    dora: bool = option(
        False, "DoRA: direction by LoRA, and the length of every weight row trained beside it"
    )
    targets: list[str] | None = option(
        None,
        "linear layers to adapt, by the end of their names (q_proj, v_proj, ...); none: all of "
        "attention and feed-forward",
    )
    layers: int | None = option(
        None, "adapters only in this many last transformer layers; none: in all", low=1
    )


@dataclass
class ModelSection:
    """The base model, and the components of it that are trained."""

    model_type: Literal["chatterbox"] = option("chatterbox", "the kind of model; there is one")
    base_model: str = option(
        "ResembleAI/chatterbox",
        "the model to start from: a name (pocket, chatterbox, multilingual, turbo, nano), "
        "OWNER/REPOSITORY or a folder",
    )
    local_model_dir: str | None = option(
        None, "a folder with the model; overrides `base_model`, and nothing is downloaded"
    )
    cache_dir: str | None = option(
        None, "folder for downloads from the hub; none: the hub's own cache"
    )
    variant: str | None = option(
        None,
        "which model to take where the folder or repository holds several (english, multilingual, "
        "multilingual-v2, turbo, nano); none: the first whose files are there",
    )
    freeze_components: list[Freezable] = option(
        factory=list,
        doc="components that stay as they are; `s3gen` stands for flow, vocoder, s3_tokenizer and "
        "speaker_encoder. t3 and flow are trained unless they are named here",
    )
    train_components: list[Component] = option(
        factory=list,
        doc="further components to train: vocoder, s3_tokenizer, speaker_encoder, "
        "voice_encoder (from scratch; a changed tokenizer makes every T3 and flow useless)",
    )
    init: Literal["pretrained", "scratch"] = option(
        "pretrained",
        "`scratch` starts the trained components from random weights, with the sizes of `config`",
    )
    config: dict[str, Any] = option(
        factory=dict,
        doc="with `init: scratch`: sizes that differ from the base model's, as in its config.json "
        "(t3: {hidden_size: 256})",
    )
    quantize_base: Literal[4, 8] | None = option(
        None, "with `lora`: keep the frozen weights in this many bits, to save memory", "bits"
    )
    lora: LoraConfig | None = option(
        None, "train adapters instead of all weights; `lora: {}` takes the defaults below"
    )
    new_tokens: list[str] = option(
        factory=list,
        doc="letters or pieces added to T3's text vocabulary, for a new language; their rows begin "
        "as the mean of all. `[xx]` makes language xx known to a multilingual model",
    )

    @property
    def source(self) -> str:
        """The model's name or folder: `local_model_dir` overrides `base_model`."""
        return self.local_model_dir or self.base_model

    @property
    def frozen(self) -> set[str]:
        """Components named in `freeze_components`, with "s3gen" taken apart."""
        frozen = set(self.freeze_components) - {"s3gen"}
        return frozen | (set(S3GEN) if "s3gen" in self.freeze_components else set())

    @property
    def trained(self) -> list[str]:
        """The components that are trained, in the order of `COMPONENTS`."""
        wanted = {*USUAL, *self.train_components} - self.frozen
        return [name for name in COMPONENTS if name in wanted]


@dataclass
class DatasetSection:
    """The recordings: where they are, which are left out, how they are trimmed and levelled."""

    dataset_type: Literal[
        "wav_txt", "metadata_csv", "metadata_json", "jsonl", "hf_dataset", "huggingface", "hf"
    ] = option(
        "wav_txt",
        "a folder of pairs 1.wav, 1.txt; a table (CSV, TSV, ...); JSON or JSON Lines (jsonl is the "
        "same); or a data set of the hub (hf and huggingface are the same; extra: datasets)",
    )
    dataset_path: str | None = option(
        None,
        "the folder (wav_txt), the file or its folder (metadata_csv, metadata_json), or a saved "
        "data set, an audio folder or a Parquet file (hf_dataset)",
    )
    dataset_name: str | None = option(None, "hf_dataset: OWNER/NAME on the hub")
    dataset_config_name: str | None = option(None, "hf_dataset: its configuration")
    train_split_name: str = option("train", "hf_dataset: the split to train on")
    eval_split_name: str | None = option(
        None, "hf_dataset: the split to evaluate on; none: a part of the training split"
    )
    text_column_name: str | None = option(
        None,
        "name of the column or key that holds the text; none: found by its usual names. A column "
        "that is named here must exist",
    )
    audio_column_name: str | None = option(
        None, "name of the column or key that holds the recording; none: found by its usual names"
    )
    speaker_column_name: str | None = option(
        None,
        "name of the column with the speaker; none: found by its usual names, and without such a "
        "column all clips belong to one speaker",
    )
    language_column_name: str | None = option(
        None,
        "name of the column with the language's code, for multilingual models; none: found by its "
        "usual names",
    )
    columns: list[str] = option(
        factory=list,
        doc="metadata_csv: names of the columns of a table without a header, in their order "
        "([audio, speaker, language, text]; `_` is not read)",
    )
    encoding: str | None = option(
        None,
        "encoding of tables, JSON and texts (windows-1252, ...); none: UTF-8, or UTF-16 with a "
        "byte order mark",
    )
    language: str | None = option(
        None, "language of clips without one of their own (multilingual models need one)"
    )
    normalize: bool | None = option(
        None,
        "write numbers, abbreviations and signs out in words before training; left out: as the "
        "base model does (pocket does, upstream's models do not)",
    )
    eval_split_size: float = option(
        0.05, "share of the clips kept for evaluation, chosen by the seed", low=0, high=0.9
    )
    min_audio_duration_s: float = option(
        0.5, "shorter clips are left out, measured after trimming", "s", low=0
    )
    max_audio_duration_s: float = option(
        30.0, "longer clips are left out, measured after trimming", "s", above=0
    )
    min_text_length: int = option(1, "clips with a shorter text are left out", "characters", low=1)
    max_text_length: int | None = option(
        None, "clips with a longer text are left out", "characters", low=1
    )
    leave_out_misfits: bool = option(
        False,
        "leave out clips whose text is too long or too short for them, judged by the speaking rate "
        "of the others, instead of only warning",
    )
    trim_silence: bool = option(
        True, "cut silence before and after the speech; left out: as the base was trained"
    )
    trim_top_db: float = option(
        40.0, "parts quieter than the loudest one by this much count as silence", "dB", above=0
    )
    trim_margin_s: float = option(
        0.1,
        "silence kept before and after the speech; left out: as the base was trained (pocket 0.3)",
        "s",
        low=0,
        high=5,
    )
    loudness_lufs: float | None = option(
        None,
        "bring every clip to this loudness (ITU-R BS.1770); none: unchanged; left out: as the base "
        "model's (Turbo and Nano -27, all others none)",
        "LUFS",
        low=-60,
        high=0,
    )
    loudness_range_lufs: list[float] | None = option(
        None,
        "speakers whose median loudness is outside of [least, most] are brought to its middle; "
        "left out: as the base model's (pocket [-23, -14], all others none)",
        "LUFS",
        low=-60,
        high=0,
    )
    preprocessing_num_workers: int = option(
        4, "threads that read and check recordings", low=1, high=MAX_THREADS
    )
    feature_cache_dir: str | None = option(
        None, "folder for computed features; none: `features` in `training.output_dir`"
    )
    ignore_verifications: bool = option(
        False, "hf_dataset: do not check the hub's file sizes and hashes"
    )
    trust_remote_code: bool = option(
        False, "hf_dataset: run the data set's own loading script, if it has one"
    )
    use_auth_token: bool = option(False, "hf_dataset: log in with the token of `hf auth login`")

    # True in the configuration of an earlier run, which also writes down what was left out.
    saved = False

    def __post_init__(self):
        self.dataset_type = _DATASET_TYPES.get(self.dataset_type, self.dataset_type)


@dataclass
class CustomParams:
    """Lengths of clips and prompts; the section has the name that TTSTune gives it."""

    max_text_len: int = option(256, "T3: clips with more text tokens are left out", "tokens", low=4)
    max_speech_len: int = option(
        800, "T3: clips with more speech tokens (25 a second) are left out", "tokens", low=4
    )
    audio_prompt_duration_s: float = option(
        3.0, "T3: length of the prompt, another piece of the speaker's speech", "s", low=0
    )
    max_speech_token_len: int = option(
        750, "S3Gen: clips with more speech tokens are cut at random", "tokens", low=8
    )
    max_mel_len: int = option(
        1500,
        "S3Gen: the same in mel frames (50 a second); the smaller limit applies",
        "frames",
        low=16,
    )
    prompt_audio_duration_s: float = option(3.0, "S3Gen: length of the prompt, at most", "s", low=0)


@dataclass
class TrainingSection:
    """Steps, optimizer, evaluation, checkpoints and everything else about the run."""

    output_dir: str = option("./outputs", "folder for checkpoints, metrics, samples, final model")
    num_train_epochs: float = option(
        3.0, "how often every clip is seen; 0.5: half of the steps of an epoch", above=0
    )
    max_steps: int | None = option(
        None,
        "stop after this many optimizer steps; overrides `num_train_epochs`; -1: none",
        low=1,
    )
    per_device_train_batch_size: int = option(4, "clips in a micro-batch, on each machine", low=1)
    per_device_eval_batch_size: int = option(4, "the same in evaluation", low=1)
    gradient_accumulation_steps: int = option(
        1, "micro-batches for one optimizer step: the memory of one, the result of all", low=1
    )
    learning_rate: float = option(
        5e-5,
        "the highest learning rate; left out: the base model's (pocket 1e-5, adapters 5e-5)",
        above=0,
    )
    component_learning_rates: dict[str, float] = option(
        factory=dict, doc="another learning rate for a component ({flow: 1e-5})", above=0
    )
    weight_decay: float = option(
        0.01, "AdamW: weight decay of matrices (not of biases, norms, embeddings)", low=0
    )
    adam_beta1: float = option(
        0.9, "AdamW: decay of the gradient's running mean", low=0, high=0.9999
    )
    adam_beta2: float = option(
        0.999, "AdamW: decay of the squared gradient's running mean", low=0, high=0.99999
    )
    adam_epsilon: float = option(1e-8, "AdamW: added to the denominator", above=0)
    gradient_clip_norm: float | None = option(
        1.0, "gradients with a larger norm are scaled down to it; none: no clipping", above=0
    )
    lr_scheduler_type: Literal[
        "linear",
        "cosine",
        "cosine_with_restarts",
        "cosine_with_min_lr",
        "cosine_warmup_with_min_lr",
        "polynomial",
        "constant",
        "constant_with_warmup",
        "inverse_sqrt",
        "warmup_stable_decay",
    ] = option(
        "linear",
        "schedule of the learning rate after the warm-up, by Transformers' names and formulas: "
        "linear and cosine fall to 0, constant does not",
    )
    lr_scheduler_kwargs: dict[str, Any] = option(
        factory=dict,
        doc="further settings of the schedule: cosine_with_restarts {num_cycles: 3}, "
        "cosine_with_min_lr {min_lr_rate: 0.1}, polynomial {lr_end: 1e-6, power: 2}, "
        "inverse_sqrt {timescale: 1000}, warmup_stable_decay {num_decay_steps: 200}",
    )
    warmup_steps: int = option(
        0, "optimizer steps in which the learning rate rises; below 1: `warmup_ratio`", low=0
    )
    warmup_ratio: float = option(
        0.0, "the same as a share of all steps; set one of the two", low=0, high=1
    )
    optim: str = option(
        "adamw", "the optimizer; every spelling of AdamW (adamw_torch, ...) is the same one"
    )
    fp16: bool = option(False, "compute in float16, with float32 master weights and a loss scale")
    bf16: bool = option(False, "compute in bfloat16, with float32 master weights")
    compile: bool = option(
        False,
        "fuse elementwise operations by mx.compile: faster steps in runs of thousands, but the "
        "first step of every length is slow. Not for networks with batch norms",
    )
    gradient_checkpointing: bool = option(
        False, "compute activations again instead of keeping them: less memory, more time"
    )
    logging_strategy: Literal["steps", "epoch", "no"] = option(
        "steps", "a line of metrics every `logging_steps`, after every epoch, or only at the end"
    )
    logging_steps: int | float = option(
        10, "steps between lines of metrics", low=1, share_of=_ALL_STEPS
    )
    logging_first_step: bool = option(False, "a line after the first step too")
    eval_strategy: Literal["steps", "epoch", "no"] = option(
        "steps", "evaluate every `eval_steps`, after every epoch, or never"
    )
    eval_steps: int | float = option(
        500, "steps between evaluations; null: `logging_steps`", low=1, share_of=_ALL_STEPS
    )
    eval_on_start: bool = option(False, "evaluate once before the first step")
    save_strategy: Literal["steps", "epoch", "no"] = option(
        "steps", "save every `save_steps`, after every epoch, or only at the end"
    )
    save_steps: int | float = option(500, "steps between checkpoints", low=1, share_of=_ALL_STEPS)
    save_total_limit: int | None = option(
        3, "how many of the newest checkpoints are kept, besides the best; none: all", low=1
    )
    load_best_model_at_end: bool = option(
        True, "the final model is that of the best evaluation, if there was one"
    )
    metric_for_best_model: str = option("eval_loss", "metric that decides which evaluation is best")
    greater_is_better: bool | None = option(
        None, "whether larger values of that metric are better; none: if its name has no `loss`"
    )
    early_stopping_patience: int | None = option(
        None, "stop after this many evaluations without improvement", "evaluations", low=1
    )
    early_stopping_threshold: float = option(
        0.0, "an improvement must be larger than this to count", low=0
    )
    text_dropout: float = option(
        0.1,
        "T3: share of samples trained without text, for classifier-free guidance; left out: as the "
        "base was trained (pocket 0.05)",
        low=0,
        high=1,
    )
    token_noise: float = option(
        0.0,
        "T3: share of the preceding speech tokens that are replaced at random, so that T3 relies "
        "on the text; left out: as the base was trained (pocket 0.08)",
        low=0,
        high=1,
    )
    condition_dropout: float = option(
        0.2,
        "flow: share of samples trained without conditions, for classifier-free guidance; left "
        "out: as the base was trained (pocket 0)",
        low=0,
        high=1,
    )
    start_share: float = option(
        0.0,
        "flow: share of samples at time 0, where a flow with little noise does nearly all of its "
        "work; left out: as the base was trained (pocket 0.5)",
        low=0,
        high=1,
    )
    tokenizer_dims: int | None = option(
        None,
        "s3_tokenizer: dimensions of the quantiser that are used, for a smaller vocabulary; "
        "none: all",
        low=1,
    )
    loss_weights: dict[str, float] = option(
        factory=dict, doc="weights of the loss's parts (text, speech, ...) that are not 1", low=0
    )
    sample_texts: list[str] = option(
        factory=list,
        doc="texts spoken after each evaluation into output_dir/samples; none: the text of an "
        "evaluation clip",
    )
    spoken_samples: bool = option(True, "speak a sample after each evaluation")
    report_to: list[Literal["tensorboard", "wandb", "none"]] = option(
        factory=list,
        doc="trackers besides metrics.jsonl: tensorboard, wandb (extras of these names); all: the "
        "installed ones; none",
    )
    dataloader_num_workers: int = option(
        1,
        "threads that prepare batches while the model computes; 0: none",
        low=0,
        high=MAX_THREADS,
    )
    resume_from_checkpoint: bool | str | None = option(
        None,
        "continue from this checkpoint folder (or from the newest one of an output_dir); true: "
        "from the newest one of `output_dir`",
    )
    custom_params: CustomParams = option(factory=CustomParams, doc="")

    @property
    def resume_folder(self) -> str | None:
        """The checkpoint or output folder to resume from; None begins a new run."""
        resumed = self.resume_from_checkpoint
        return self.output_dir if resumed is True else resumed or None


@dataclass
class WandbSection:
    """Weights & Biases: on by `training.report_to: wandb`, or by `enabled`."""

    enabled: bool | None = option(None, "true is the same as `training.report_to: wandb`")
    project: str | None = option(
        None, "the project; none: the variable WANDB_PROJECT, or mlx-chatterbox"
    )
    entity: str | None = option(None, "owner of the project, a user or a team; none: you")
    name: str | None = option(None, "the run's name; none: the name of `training.output_dir`")
    group: str | None = option(None, "group of runs that are shown together")
    tags: list[str] = option(factory=list, doc="words to find the run by")
    notes: str | None = option(None, "a description of the run")
    mode: Literal["online", "offline", "disabled"] | None = option(
        None,
        "`offline` keeps the run in output_dir/wandb, for `wandb sync`; none: the variable "
        "WANDB_MODE, or online",
    )
    config: dict[str, Any] = option(
        factory=dict, doc="further values shown with the run, besides the configuration"
    )
