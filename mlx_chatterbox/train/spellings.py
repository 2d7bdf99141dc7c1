"""Keys of other trainers' configurations: Transformers' `TrainingArguments`, PEFT's `LoraConfig`,
TTSTune's sections.

Every key is in one of three tables, or its values are translated (`translate`): it is another name
of one of ours (`ALIASES`); it has no effect here, which is noted (`IGNORED`); or its feature does
not exist here, and it is refused unless it is off (`REFUSED`). Nothing here imports MLX.
"""

from __future__ import annotations

from .config_options import Refusal

_NOT_ON_MLX = "MLX shares one memory with the GPU, so there is nothing to pin."
_THREADS = "batches are prepared by threads, one step ahead; see training.dataloader_num_workers."
_UPLOAD = (
    "nothing is uploaded by training; afterwards: hf upload OWNER/NAME OUTPUT_DIR/final_model."
)
_MACHINES = "several machines are started by mlx.launch; see docs/training.md, Several machines."
_TORCH = "it is a setting of PyTorch's; MLX has no such switch."
_EVALUATED = "an evaluation computes only losses and the metrics of metrics.jsonl."

ALIASES = {
    "training.max_grad_norm": "training.gradient_clip_norm",
    "training.evaluation_strategy": "training.eval_strategy",
    "training.per_gpu_train_batch_size": "training.per_device_train_batch_size",
    "training.per_gpu_eval_batch_size": "training.per_device_eval_batch_size",
    "training.activation_checkpointing": "training.gradient_checkpointing",
    "training.torch_compile": "training.compile",
    "training.seed": "seed",
    "training.run_name": "wandb.name",
    "training.project": "wandb.project",
    "dataset.max_audio_length": "dataset.max_audio_duration_s",
    "dataset.min_audio_length": "dataset.min_audio_duration_s",
    "model.lora.r": "model.lora.rank",
    "model.lora.lora_alpha": "model.lora.alpha",
    "model.lora.lora_dropout": "model.lora.dropout",
    "model.lora.target_modules": "model.lora.targets",
    "model.lora.use_dora": "model.lora.dora",
    "advanced.component_learning_rates": "training.component_learning_rates",
}

IGNORED = {
    "training.dataloader_pin_memory": _NOT_ON_MLX,
    "training.remove_unused_columns": "only the columns that are named are read.",
    "training.label_names": "the losses know their labels.",
    "training.do_train": "the subcommand decides what is done.",
    "training.do_eval": "see training.eval_strategy.",
    "training.do_predict": "the subcommand decides what is done.",
    "training.prediction_loss_only": _EVALUATED,
    "training.batch_eval_metrics": _EVALUATED,
    "training.eval_do_concat_batches": _EVALUATED,
    "training.eval_use_gather_object": _EVALUATED,
    "training.eval_accumulation_steps": _EVALUATED,
    "training.include_for_metrics": _EVALUATED,
    "training.include_inputs_for_metrics": _EVALUATED,
    "training.fp16_full_eval": "evaluation computes in the same type as training.",
    "training.bf16_full_eval": "evaluation computes in the same type as training.",
    "training.fp16_backend": _TORCH,
    "training.fp16_opt_level": _TORCH,
    "training.half_precision_backend": _TORCH,
    "training.tf32": _TORCH,
    "training.use_ipex": _TORCH,
    "training.jit_mode_eval": _TORCH,
    "training.torchdynamo": _TORCH,
    "training.torch_compile_backend": _TORCH,
    "training.torch_compile_mode": _TORCH,
    "training.torch_empty_cache_steps": _TORCH,
    "training.use_mps_device": "MLX takes the GPU by itself; see device.",
    "training.use_liger_kernel": _TORCH,
    "training.liger_kernel_config": _TORCH,
    "training.use_cache": "training never keeps keys and values.",
    "training.gradient_checkpointing_kwargs": "MLX has one kind of checkpointing.",
    "training.activation_checkpointing_kwargs": "MLX has one kind of checkpointing.",
    "training.average_tokens_across_devices": "losses are always averaged over all machines.",
    "training.log_level": "few lines are printed, and errors always.",
    "training.log_level_replica": "only the first machine writes.",
    "training.log_on_each_node": "only the first machine writes.",
    "training.save_on_each_node": "only the first machine writes.",
    "training.logging_nan_inf_filter": "a loss that is NaN or Inf stops the run.",
    "training.logging_dir": "TensorBoard's files go to `tensorboard` in training.output_dir.",
    "training.include_num_input_tokens_seen": "metrics.jsonl has clips and tokens a second.",
    "training.include_tokens_per_second": "metrics.jsonl always has it.",
    "training.disable_tqdm": "the progress bar is shown on a terminal only.",
    "training.skip_memory_metrics": "metrics.jsonl always has the peak of memory.",
    "training.debug": "--verbose shows tracebacks.",
    "training.save_safetensors": "checkpoints are always safetensors.",
    "training.save_only_model": "checkpoints always hold what `resume` needs.",
    "training.enable_jit_checkpoint": "`resume` continues a killed run from its newest checkpoint.",
    "training.overwrite_output_dir": "a run never starts in a folder that holds another one; "
    "remove that one, or choose another training.output_dir.",
    "training.hub_token": _UPLOAD,
    "training.hub_private_repo": _UPLOAD,
    "training.hub_model_id": _UPLOAD,
    "training.hub_strategy": _UPLOAD,
    "training.hub_always_push": _UPLOAD,
    "training.hub_revision": _UPLOAD,
    "training.push_to_hub_model_id": _UPLOAD,
    "training.push_to_hub_organization": _UPLOAD,
    "training.push_to_hub_token": _UPLOAD,
    "training.ignore_data_skip": "`resume` continues at the same place in the data.",
    "training.restore_callback_states_from_checkpoint": "`resume` restores everything.",
    "training.full_determinism": "the same seed gives the same run on the same machine.",
    "training.accelerator_config": _MACHINES,
    "training.dataloader_persistent_workers": _THREADS,
    "training.dataloader_prefetch_factor": _THREADS,
    "training.dataloader_multiprocessing_context": _THREADS,
    "training.dataloader_in_order": _THREADS,
    "training.dataloader_drop_last": "every clip is trained on; an epoch's last batch may be "
    "smaller, and weighs as much as its clips.",
    "training.group_by_length": "clips of similar length always share a batch.",
    "training.length_column_name": "lengths are measured.",
    "training.ddp_find_unused_parameters": _MACHINES,
    "training.ddp_bucket_cap_mb": _MACHINES,
    "training.ddp_broadcast_buffers": _MACHINES,
    "training.ddp_static_graph": _MACHINES,
    "training.ddp_backend": _MACHINES,
    "training.ddp_timeout": _MACHINES,
    "training.local_rank": _MACHINES,
    "training.ray_scope": _MACHINES,
    "training.tpu_num_cores": _MACHINES,
    "training.tpu_metrics_debug": _MACHINES,
    "training.trackio_space_id": "metrics go to metrics.jsonl; see training.report_to.",
    "training.trackio_bucket_id": "metrics go to metrics.jsonl; see training.report_to.",
    "training.trackio_static_space_id": "metrics go to metrics.jsonl; see training.report_to.",
    "dataset.sample_rate": "recordings of any rate are resampled to what each network needs.",
    "dataset.streaming": "features are computed once and kept.",
    "model.model_params": "sizes are set by model.config, with init: scratch.",
}

# PEFT's, which stand in a section within a section.
IGNORED_ADAPTERS = {
    "model.lora.task_type": "the adapters sit on T3 and on the flow, whichever are trained.",
    "model.lora.peft_type": "model.lora is always LoRA; `dora: true` makes it DoRA.",
    "model.lora.base_model_name_or_path": "see model.base_model.",
    "model.lora.inference_mode": "the subcommand decides what is done.",
    "model.lora.fan_in_fan_out": "the layout of each layer's weights is known.",
    "model.lora.auto_mapping": "layers are found by the ends of their names.",
    "model.lora.revision": "see model.base_model.",
    "model.lora.peft_version": "the adapters are not PEFT's.",
}

# TTSTune's section, which it does not read itself.
IGNORED_ADVANCED = {
    "preprocessing": "texts are prepared as they are for speaking.",
}

REFUSED = {
    "training.push_to_hub": Refusal(_UPLOAD),
    "training.deepspeed": Refusal(f"there is no DeepSpeed here: {_MACHINES}"),
    "training.fsdp": Refusal(f"weights are not divided among machines: {_MACHINES}"),
    "training.fsdp_config": Refusal(f"weights are not divided among machines: {_MACHINES}"),
    "training.fsdp_min_num_params": Refusal(f"weights are not divided among machines: {_MACHINES}"),
    "training.fsdp_transformer_layer_cls_to_wrap": Refusal(
        f"weights are not divided among machines: {_MACHINES}"
    ),
    "training.sharded_ddp": Refusal(f"weights are not divided among machines: {_MACHINES}"),
    "training.parallelism_config": Refusal(f"weights are not divided among machines: {_MACHINES}"),
    "training.mp_parameters": Refusal(f"weights are not divided among machines: {_MACHINES}"),
    "training.xpu_backend": Refusal(_MACHINES),
    "training.label_smoothing_factor": Refusal("targets are never smoothed; leave it out."),
    "training.neftune_noise_alpha": Refusal(
        "no noise is added to embeddings; against overfitting use model.lora with dropout."
    ),
    "training.optim_args": Refusal(
        "AdamW is set by adam_beta1, adam_beta2, adam_epsilon and weight_decay."
    ),
    "training.optim_target_modules": Refusal(
        "it belongs to GaLore and APOLLO, which are not here; model.lora saves memory."
    ),
    "training.adafactor": Refusal("there is only AdamW; model.lora saves its memory."),
    "training.auto_find_batch_size": Refusal(
        "choose per_device_train_batch_size yourself; with gradient_accumulation_steps the result "
        "of 2 x 4 clips is that of 8."
    ),
    "training.eval_delay": Refusal(
        "evaluations begin with the first that is due; choose larger eval_steps."
    ),
    "training.past_index": Refusal("the networks have no memory between batches.", ("-1",)),
    "training.train_sampling_strategy": Refusal(
        "the order of clips is drawn from the seed in every epoch.", ("random", "group_by_length")
    ),
    "training.dispatch_batches": Refusal(_MACHINES),
    "training.split_batches": Refusal(_MACHINES),
    "model.lora.bias": Refusal("biases are not trained together with the adapters.", ("none",)),
    "model.lora.lora_bias": Refusal("the adapters have no biases."),
    "model.lora.modules_to_save": Refusal(
        "nothing but the adapters is trained (with new_tokens also T3's text tables)."
    ),
    "model.lora.use_rslora": Refusal(
        "write alpha as PEFT's alpha times the square root of the rank: 16 and rank 16 become 64."
    ),
    "model.lora.layers_to_transform": Refusal(
        "write layers: N for the last N layers; single ones cannot be chosen."
    ),
    "model.lora.layers_pattern": Refusal("write layers: N for the last N layers."),
    "model.lora.rank_pattern": Refusal("every adapter has the same rank."),
    "model.lora.alpha_pattern": Refusal("every adapter has the same alpha."),
    "model.lora.exclude_modules": Refusal("write targets with the names of those to adapt."),
    "model.lora.target_parameters": Refusal("write targets with the names of linear layers."),
    "model.lora.init_lora_weights": Refusal(
        "adapters start as PEFT's default ones do, without an effect on the layer.", ("true",)
    ),
    "model.lora.loftq_config": Refusal(
        "model.quantize_base quantises the frozen weights without it."
    ),
    "advanced.progressive_training": Refusal(
        "train one component after the other in runs of their own, each from the final_model of "
        "the one before, with freeze_components."
    ),
    "advanced.data_augmentation": Refusal(
        "recordings are trained on as they are; add changed copies to the data set instead."
    ),
}

# Keys that none of these trainers has, but that people write: what to write instead, and where.
HINTS = {
    "lr": "did you mean learning_rate, in training?",
    "epochs": "did you mean num_train_epochs, in training?",
    "num_epochs": "did you mean num_train_epochs, in training?",
    "max_epochs": "did you mean num_train_epochs, in training?",
    "steps": "did you mean max_steps, in training?",
    "max_train_steps": "did you mean max_steps, in training?",
    "batch_size": "did you mean per_device_train_batch_size, in training?",
    "train_batch_size": "did you mean per_device_train_batch_size, in training?",
    "eval_batch_size": "did you mean per_device_eval_batch_size, in training?",
    "grad_accum": "did you mean gradient_accumulation_steps, in training?",
    "grad_accumulation_steps": "did you mean gradient_accumulation_steps, in training?",
    "grad_clip": "did you mean gradient_clip_norm, in training?",
    "grad_clip_norm": "did you mean gradient_clip_norm, in training?",
    "scheduler": "did you mean lr_scheduler_type, in training?",
    "lr_scheduler": "did you mean lr_scheduler_type, in training?",
    "optimizer": "did you mean optim, in training?",
    "patience": "did you mean early_stopping_patience, in training?",
    "num_workers": "did you mean dataloader_num_workers, in training?",
    "precision": "write bf16: true or fp16: true, in training.",
    "torch_dtype": "write bf16: true or fp16: true, in training.",
    "dtype": "write bf16: true or fp16: true, in training.",
    "load_in_4bit": "write quantize_base: 4 beside lora, in model.",
    "load_in_8bit": "write quantize_base: 8 beside lora, in model.",
    "lora_r": "write lora: {rank: 16}, in model.",
    "lora_rank": "write lora: {rank: 16}, in model.",
    "use_lora": "write lora: {}, in model.",
    "peft": "write lora: {rank: 16, alpha: 32}, in model.",
    "peft_config": "write lora: {rank: 16, alpha: 32}, in model.",
    "model_name_or_path": "did you mean base_model, in model?",
    "model_name": "did you mean base_model, in model?",
    "data_dir": "did you mean dataset_path, in dataset?",
    "data_path": "did you mean dataset_path, in dataset?",
    "train_file": "did you mean dataset_path, in dataset?",
    "logger": "did you mean report_to, in training?",
    "use_wandb": "write report_to: wandb, in training.",
    "wandb_project": "did you mean project, in wandb?",
    "wandb_entity": "did you mean entity, in wandb?",
    "wandb_name": "did you mean name, in wandb?",
}

# Names of `optim` for AdamW, and how ours differs: not at all, or in how its moments are kept.
ADAMW = {
    "adamw": "",
    "adamw_torch": "",
    "adamw_torch_fused": "",
    "adamw_torch_xla": "",
    "adamw_torch_npu_fused": "",
    "adamw_apex_fused": "",
    "adamw_hf": "",
    "adamw_mlx": "",
    "adamw_anyprecision": "its moments are in float32",
    "adamw_torch_4bit": "its moments are in float32, not in 4 bits",
    "adamw_torch_8bit": "its moments are in float32, not in 8 bits",
    "adamw_bnb_8bit": "its moments are in float32, not in 8 bits",
    "adamw_8bit": "its moments are in float32, not in 8 bits",
    "paged_adamw": "nothing is paged",
    "paged_adamw_32bit": "nothing is paged",
    "paged_adamw_8bit": "its moments are in float32, not in 8 bits, and nothing is paged",
}

# Names of `report_to` in Transformers that are not here.
OTHER_TRACKERS = (
    *("azure_ml", "clearml", "codecarbon", "comet_ml", "dagshub", "dvclive", "flyte", "kubeflow"),
    *("mlflow", "neptune", "swanlab", "trackio"),
)
