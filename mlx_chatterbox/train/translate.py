"""Translates other trainers' keys and values in a parsed file into ours, before it is read.

`spellings` lists the keys; here are the values that mean something else there: `max_steps: -1`,
`report_to: all`, `mixed_precision: bf16`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from ..errors import ConfigError
from .spellings import ALIASES, IGNORED_ADVANCED, OTHER_TRACKERS, REFUSED
from .yaml_lines import Node

# Deprecated by Transformers, rather than another name.
_OLD = ("training.evaluation_strategy",)
# Keys that may stand beside their other name if both have one value.
_MOVED = ("training.seed", "training.run_name", "training.project")
# Left empty these mean that there is no limit; other empty keys count as left out.
_NULL_SAYS = ("training.max_grad_norm", "dataset.max_audio_length", "dataset.min_audio_length")
# Keys that translation removes: they set other keys, or must agree with them.
TRANSLATED = (
    *("training.mixed_precision", "training.use_cpu", "training.no_cuda", "training.data_seed"),
)
TRACKERS = ("tensorboard", "wandb")
_NO_LIMIT_S = "1e6"


def rename(tree: Node) -> None:
    """Rename every key that is an alias of ours, in place.

    Raises:
        ConfigError: the alias and our key are both set.
    """
    for old, new in ALIASES.items():
        section, key = _find(tree, old)
        if section is None:
            continue
        value, where = section.entries.pop(key), section.keys.pop(key, "")
        if value.is_null and old not in _NULL_SAYS:
            continue
        value.written = old
        put(tree, new, value, where or value.where, old)


def put(tree: Node, key: str, value: Node, where: str, written: str = "") -> None:
    """Set a key by its full name, adding the sections that it needs.

    Args:
        where: the place to report in errors.
        written: the alias that stands in the file; the key must not be set already then. Without
            an alias an earlier value is replaced.

    Raises:
        ConfigError: the key is set already, or its section is not a section.
    """
    *sections, last = key.split(".")
    at = tree
    for name in sections:
        inner = at.entries.get(name)
        if inner is None or inner.is_null:
            inner = at.entries[name] = Node({}, where)
            at.keys.setdefault(name, where)
        if not isinstance(inner.value, dict):
            raise ConfigError(f"{where}: {name} is not a section.")
        at = inner
    there = at.entries.get(last)
    if written and there is not None:
        if written in _MOVED and there.value == value.value:
            return
        kind = "the old name" if written in _OLD else "another name"
        # The word alone where both stand in one section.
        near = written.rpartition(".")[0] == key.rpartition(".")[0]
        names = [written.rpartition(".")[2], last] if near else [written, key]
        place = at.keys.get(last, there.where)
        raise ConfigError(f"{where}: {names[0]} is {kind} of {names[1]}, which {place} sets too.")
    at.entries[last] = value
    at.keys[last] = where


def translate(tree: Node) -> list[str]:
    """Translate other trainers' keys and values into ours, in place.

    Returns:
        Notes for the user, a line each.

    Raises:
        ConfigError: a value has no counterpart here.
    """
    notes: list[str] = []
    rename(tree)
    _wandb(tree)
    for key, change in _CHANGES.items():
        section, last = _find(tree, key)
        if section is not None:
            change(tree, section, last, notes)
    _advanced(tree, notes)
    return notes


def _find(tree: Node, key: str) -> tuple[Node | None, str]:
    """Find the section that has a key; returns it, or None, and the key's last word."""
    *sections, last = key.split(".")
    at = tree
    for name in sections:
        inner = at.entries.get(name)
        if inner is None or not isinstance(inner.value, dict):
            return None, last
        at = inner
    return (at, last) if last in at.entries else (None, last)


def _replaced(node: Node, value: str | list[Node] | dict[str, Node]) -> Node:
    """Return a node of another value that is reported at the same place."""
    return Node(value, node.where, written=node.written)


def _wandb(tree: Node) -> None:
    """Read `wandb: true` and `wandb: false` as `wandb.enabled`."""
    node = tree.entries.get("wandb")
    if node is not None and node.as_bool() is not None:
        inner = {"enabled": _replaced(node, node.value)}
        tree.entries["wandb"] = Node(inner, node.where, keys={"enabled": node.where})


# --- Values, each by (tree, its section, its key, notes) -----------------------------------------


def _none_unless_positive(tree: Node, section: Node, key: str, notes: list[str]) -> None:
    """Read -1 and 0 as no limit."""
    node = section.entries[key]
    number = node.as_float()
    if number is not None and number <= 0:
        section.entries[key] = _replaced(node, "null")


def _none_if_zero(tree: Node, section: Node, key: str, notes: list[str]) -> None:
    if section.entries[key].as_float() == 0:
        section.entries[key] = _replaced(section.entries[key], "null")


def _null_means(text: str) -> Callable[[Node, Node, str, list[str]], None]:
    """Make a change that reads null as this value."""

    def change(tree: Node, section: Node, key: str, notes: list[str]) -> None:
        if section.entries[key].is_null:
            section.entries[key] = _replaced(section.entries[key], text)

    return change


def _null_is_the_default(tree: Node, section: Node, key: str, notes: list[str]) -> None:
    if section.entries[key].is_null:
        del section.entries[key]


def _evaluation_steps(tree: Node, section: Node, key: str, notes: list[str]) -> None:
    """Evaluate as often as metrics are logged where the key is empty."""
    node = section.entries[key]
    strategy = section.entries.get("eval_strategy")
    if node.is_null and strategy is not None and strategy.value in ("no", "epoch"):
        del section.entries[key]
    elif node.is_null:
        logging = section.entries.get("logging_steps")
        steps = "10" if logging is None else logging.value
        section.entries[key] = _replaced(node, steps)
        notes.append(
            f"{node.where}: training.eval_steps is empty: evaluating every logging_steps ({steps}),"
            " as Transformers does."
        )


def _warmup(tree: Node, section: Node, key: str, notes: list[str]) -> None:
    """Read a number below 1 as a share of all steps."""
    node = section.entries[key]
    number = node.as_float()
    if number is not None and 0 < number < 1:
        where = section.keys.pop(key, node.where)
        node = section.entries.pop(key)
        node.written = "training.warmup_steps"
        ratio = section.entries.get("warmup_ratio")
        if ratio is not None and ratio.as_float() == 0:
            del section.entries["warmup_ratio"]
        put(tree, "training.warmup_ratio", node, where, "training.warmup_steps")


def _save_strategy(tree: Node, section: Node, key: str, notes: list[str]) -> None:
    node = section.entries[key]
    if node.text.lower() == "best":
        section.entries[key] = _replaced(node, "no")
        notes.append(
            f"{node.where}: training.save_strategy best: the weights of the best evaluation are "
            "kept anyway (best-N); a checkpoint for `resume` is written only at the end."
        )


def _schedule_type(tree: Node, section: Node, key: str, notes: list[str]) -> None:
    node = section.entries[key]
    if node.value in ("reduce_lr_on_plateau", "greedy"):
        raise node.fail(
            f"{node.written or 'training.lr_scheduler_type'}: {node.value} depends "
            "on evaluations, and schedules here on the step only; choose cosine or linear, with "
            "early_stopping_patience."
        )


def _precision(tree: Node, section: Node, key: str, notes: list[str]) -> None:
    """Set fp16 or bf16 by Accelerate's `mixed_precision`."""
    node = section.entries.pop(key)
    where = section.keys.pop(key, node.where)
    word = node.text.lower()
    if node.is_null or node.as_bool() is False or word in ("fp32", "float32"):
        return
    name = {"float16": "fp16", "bfloat16": "bf16"}.get(word, word)
    if name not in ("fp16", "bf16"):
        raise ConfigError(f"{where}: training.{key} must be no, fp16 or bf16.")
    node = Node("true", node.where, written=f"training.{key}")
    put(tree, f"training.{name}", node, where, f"training.{key}")


def _cpu(tree: Node, section: Node, key: str, notes: list[str]) -> None:
    node = section.entries.pop(key)
    where = section.keys.pop(key, node.where)
    switched = node.as_bool()
    if switched is None and not node.is_null:
        raise ConfigError(f"{where}: training.{key} must be true or false.")
    device = tree.entries.get("device")
    if switched and not (device is not None and device.value == "cpu"):
        if device is not None and device.is_null:
            del tree.entries["device"]
        put(tree, "device", Node("cpu", node.where), where, f"training.{key}")


def _data_seed(tree: Node, section: Node, key: str, notes: list[str]) -> None:
    node = section.entries.pop(key)
    section.keys.pop(key, None)
    seed = tree.entries.get("seed")
    if not node.is_null and node.as_int() != (42 if seed is None else seed.as_int()):
        raise node.fail(
            "training.data_seed: one seed determines everything, also the order of the clips; "
            "leave it out, or set it to the value of seed."
        )


def _report_to(tree: Node, section: Node, key: str, notes: list[str]) -> None:
    node = section.entries[key]
    written = node.value if isinstance(node.value, list) else [node]
    # `none` means no tracker; anything that is no word is reported by the reader of the key.
    items = [item for item in written if not item.is_null]
    if items and len(items) < len(written):
        raise node.fail(f"training.report_to: none and {items[0].value} are both set: choose one.")
    for item in items:
        if item.text.lower() in OTHER_TRACKERS:
            raise item.fail(
                f"training.report_to: {item.value} is not supported: known are "
                f"{', '.join(TRACKERS)} and none; metrics.jsonl has everything, a JSON object "
                "a line."
            )
    others = [item for item in items if item.value != "all"]
    if len(others) < len(items):
        installed = [name for name in TRACKERS if _installed(name)]
        wandb, enabled = _find(tree, "wandb.enabled")
        if wandb is not None and wandb.entries[enabled].as_bool() is False and "wandb" in installed:
            installed.remove("wandb")
        notes.append(
            f"{node.where}: training.report_to all: metrics.jsonl"
            f"{''.join(f', {name}' for name in installed)}; of {' and '.join(TRACKERS)} those that "
            "are installed."
        )
        items = [*others, *(Node(name, node.where) for name in installed)]
    section.entries[key] = Node(items, node.where, written=node.written)


def _installed(package: str) -> bool:
    """Look for a package; a plain folder of that name, such as the one W&B writes, is none."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


def _adapters(tree: Node, section: Node, key: str, notes: list[str]) -> None:
    """Read `lora: true` as adapters with the default settings, and false as none."""
    node = section.entries[key]
    if node.as_bool() is not None:
        section.entries[key] = Node({}, node.where) if node.as_bool() else _replaced(node, "null")


def _targets(tree: Node, section: Node, key: str, notes: list[str]) -> None:
    """Read PEFT's `all-linear` as our default, which is the same layers."""
    node = section.entries[key]
    if node.value == "all-linear":
        section.entries[key] = _replaced(node, "null")


def _component_rates(tree: Node, section: Node, key: str, notes: list[str]) -> None:
    """Read a rate of `s3gen` as one of `flow`, and note rates of components that are not trained.

    TTSTune's examples set such rates.
    """
    node = section.entries[key]
    if not isinstance(node.value, dict):
        return
    if "s3gen" in node.value and "flow" not in node.value:
        node.value["flow"] = node.value.pop("s3gen")
        node.keys["flow"] = node.keys.pop("s3gen", node.where)
    if not node.written:
        return
    for name in ("voice_encoder", "speaker_encoder", "s3_tokenizer", *_frozen(tree)):
        rate = node.value.pop("flow" if name == "s3gen" else name, None)
        if rate is not None:
            notes.append(
                f"{rate.where}: {node.written}.{name} has no effect: {name} is not trained."
            )


def _frozen(tree: Node) -> list[str]:
    section, key = _find(tree, "model.freeze_components")
    if section is None:
        return []
    node = section.entries[key]
    # What is neither a word nor a list of words is reported by the reader of the key.
    items = node.value if isinstance(node.value, list) else [node]
    return [item.value for item in items if isinstance(item.value, str)]


def _advanced(tree: Node, notes: list[str]) -> None:
    """Remove TTSTune's `advanced` section, which TTSTune itself does not read; note its keys."""
    node = tree.entries.pop("advanced", None)
    if node is None or not isinstance(node.value, dict):
        if node is not None and not node.is_null:
            notes.append(f"{node.where}: advanced has no effect: it is not a section.")
        return
    for key, value in node.value.items():
        full, where = f"advanced.{key}", node.keys.get(key, value.where)
        if full in REFUSED:
            if REFUSED[full].asks(value):
                raise ConfigError(f"{where}: {full}: {REFUSED[full].why}")
            continue
        why = IGNORED_ADVANCED.get(key, "what is in it is not read; see docs/training.md.")
        notes.append(f"{where}: {full} has no effect: {why}")


_CHANGES: dict[str, Callable[[Node, Node, str, list[str]], None]] = {
    "training.max_steps": _none_unless_positive,
    "training.save_total_limit": _none_unless_positive,
    "training.gradient_clip_norm": _none_if_zero,
    "training.eval_steps": _evaluation_steps,
    "training.warmup_steps": _warmup,
    "training.save_strategy": _save_strategy,
    "training.lr_scheduler_type": _schedule_type,
    "training.mixed_precision": _precision,
    "training.use_cpu": _cpu,
    "training.no_cuda": _cpu,
    "training.data_seed": _data_seed,
    "training.report_to": _report_to,
    "training.metric_for_best_model": _null_is_the_default,
    "training.gradient_checkpointing": _null_is_the_default,
    "training.compile": _null_is_the_default,
    "training.component_learning_rates": _component_rates,
    "model.lora": _adapters,
    "model.lora.targets": _targets,
    "dataset.max_audio_duration_s": _null_means(_NO_LIMIT_S),
    "dataset.min_audio_duration_s": _null_means("0"),
    "dataset.min_text_length": _null_means("1"),
    "dataset.preprocessing_num_workers": _null_is_the_default,
    "dataset.train_split_name": _null_is_the_default,
}
