"""The model card of a published checkpoint: README.md with front matter for the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import (
    CHATTTS_TYPE,
    FAMILIES,
    MODEL_TYPE,
    CheckpointConfig,
    ModelConfig,
)
from mlx_chatterbox.text.multilingual import SUPPORTED_LANGUAGES
from mlx_chatterbox.weights.chattts_files import PUBLISHED, STATISTICS_NAME
from mlx_chatterbox.weights.checkpoint import VOICE_NAME
from mlx_chatterbox.weights.configuration import read_config
from mlx_chatterbox.weights.conversion.components import as_text, components_of, cost_of_reading
from mlx_chatterbox.weights.variants import VARIANTS

from .verification import Verification, as_markdown, verdict

NAME = "README.md"
# By the family of models, as the hub names them.
LICENSES = {MODEL_TYPE: "mit", CHATTTS_TYPE: "cc-by-nc-4.0"}
NO_WORD_ERRORS = "word errors were not measured (--word-errors, which needs pocketsphinx)."
_CLASSES = {
    "english": "ChatterboxTTS",
    "multilingual": "ChatterboxMultilingualTTS",
    "gpt2": "ChatterboxTurboTTS",
}


def model_card(
    folder: Path,
    repo: str,
    verification: Verification | None,
    *,
    license: str | None = None,
    base_model: str | None = None,
) -> str:
    """Compose README.md.

    Args:
        folder: the checkpoint.
        repo: OWNER/NAME of the repository to publish in.
        verification: None: the model was not verified.
        license: the hub's identifier of it; None: upstream's.
        base_model: repository that the weights come from, if the configuration does not name it.

    Raises:
        CheckpointError: the license is not that of the family's weights, which allows no other.
    """
    config = read_config(folder)
    license = chosen_license(config.MODEL_TYPE, license)
    base_model = base_model or base_of(config)
    parts = [
        _front_matter(config, base_model, license),
        _introduction(config, repo, base_model),
        _usage(folder, config, repo),
        *([_license(folder)] if config.MODEL_TYPE == CHATTTS_TYPE else []),
        _sizes(folder, config),
        _verified(verification, is_pocket(config)),
        _provenance(config),
    ]
    return "\n\n".join(parts) + "\n"


def chosen_license(family: str, wanted: str | None) -> str:
    """Choose the license: that of upstream's weights, or another where that allows others.

    Raises:
        CheckpointError: it allows no other.
    """
    own = LICENSES[family]
    if family == CHATTTS_TYPE and wanted not in (None, own):
        raise CheckpointError(
            f"{wanted!r} is not the license of {FAMILIES[family]}'s weights, which is {own}: "
            "leave out --license."
        )
    return wanted or own


def base_of(config: CheckpointConfig) -> str | None:
    """Find the repository that the weights originally come from; None if it is not known."""
    for level in _levels(config.source):
        if "repository" in level:
            return str(level["repository"])
        if level.get("name") == "pocket":
            return None
    if config.MODEL_TYPE == CHATTTS_TYPE:
        return PUBLISHED.repo
    row = VARIANTS.get(config.variant)
    return None if row is None else row.repo


def is_pocket(config: CheckpointConfig) -> bool:
    """Tell whether a model is the pocket model, or was made from it."""
    return any(level.get("name") == "pocket" for level in _levels(config.source))


def languages_of(config: CheckpointConfig) -> list[str]:
    """List the codes of the languages that the model speaks."""
    if not isinstance(config, ModelConfig):
        return ["en", "zh"]
    if config.text.tokenizer != "multilingual":
        return ["en"]
    return sorted({*SUPPORTED_LANGUAGES, *config.text.languages})


def _levels(source: dict) -> Iterator[dict]:
    """Yield a configuration's `source`, then the `source` of that model, and so on."""
    yield source
    for value in source.values():
        if isinstance(value, dict) and value is not source.get("files"):
            yield from _levels(value)


def _front_matter(config: CheckpointConfig, base_model: str | None, license: str) -> str:
    bits = sorted({rule["bits"] for rule in config.quantization.rules if "bits" in rule})
    tags = ["mlx", "mlx-chatterbox", config.MODEL_TYPE, "text-to-speech"]
    tags += ["voice-cloning"] if config.MODEL_TYPE == MODEL_TYPE else []
    tags += [f"{n}-bit" for n in bits]
    lines = ["library_name: mlx", "pipeline_tag: text-to-speech", f"license: {license}"]
    if base_model is not None:
        lines.append(f"base_model: {base_model}")
        if bits:
            lines.append("base_model_relation: quantized")
    # Quoted: YAML takes a bare `no`, Norwegian, for false.
    lines += ["language:", *(f'- "{code}"' for code in languages_of(config))]
    lines += ["tags:", *(f"- {tag}" for tag in tags)]
    return "\n".join(["---", *lines, "---"])


def _introduction(config: CheckpointConfig, repo: str, base_model: str | None) -> str:
    name = FAMILIES[config.MODEL_TYPE]
    does = "text to speech"
    if config.MODEL_TYPE == MODEL_TYPE:
        name, does = f"{name} ({config.variant})", f"{does} and voice conversion"
    of = f" of [{base_model}](https://huggingface.co/{base_model})" if base_model else ""
    return (
        f"# {repo}\n\nA conversion{of} for [MLX](https://github.com/ml-explore/mlx), to be used "
        f"with mlx-chatterbox: {name}, {does}, without PyTorch. Speech is watermarked unless that "
        "is turned off."
    )


def _usage(folder: Path, config: CheckpointConfig, repo: str) -> str:
    if not isinstance(config, ModelConfig):
        return _chattts_usage(repo)
    option, argument, note = "", "", ""
    if config.text.tokenizer == "multilingual":
        option, argument = ' --language "en"', ', language_id="en"'
    if not (folder / VOICE_NAME).is_file():
        option, argument = f"{option} --voice me.wav", f'{argument}, audio_prompt_path="me.wav"'
        note = "\n\nIt has no built-in voice: `me.wav` is a recording of the voice to speak in."
    kind = "ChatterboxFlashTTS" if config.t3.has_mask else _CLASSES[config.text.tokenizer]
    return f"""\
## Use{note}

```
pip install mlx-chatterbox
python -m mlx_chatterbox.generate --model {repo} --text "Hello there."{option} --output hello.wav
```

```python
import soundfile
from mlx_chatterbox import {kind}

model = {kind}.from_pretrained("{repo}")
soundfile.write("hello.wav", model.generate("Hello there."{argument}), model.sr)
```"""


def _chattts_usage(repo: str) -> str:
    return f"""\
## Use

```
pip install mlx-chatterbox
python -m mlx_chatterbox.generate --model {repo} --text "Hello there." --output hello.wav
```

In Python, of a folder that `hf download {repo} --local-dir chattts` fills:

```python
import soundfile
from mlx_chatterbox.chattts import Chat

chat = Chat()
chat.load(source="custom", custom_path="chattts")
soundfile.write("hello.wav", chat.infer("Hello there.")[0], 24000)
```"""


def _license(folder: Path) -> str:
    """State the terms of ChatTTS's weights, which hold for every conversion of them."""
    which = "The weights"
    if (folder / STATISTICS_NAME).is_file():
        which = f"The weights and the statistics of speakers (`{STATISTICS_NAME}`)"
    return (
        f"## License\n\n{which} are [2Noise's](https://huggingface.co/{PUBLISHED.repo}), licensed "
        "[CC BY-NC 4.0](https://creativecommons.org/licenses/by-nc/4.0/): not for commercial use, "
        "and whoever passes them on names their makers. This conversion changed their "
        "layout, and their precision as stated below."
    )


def _sizes(folder: Path, config: CheckpointConfig) -> str:
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != NAME]
    lines = ["| file | MB |", "|---|---|"]
    lines += [f"| {path.name} | {path.stat().st_size / 1e6:.1f} |" for path in files]
    lines.append(f"| all | {sum(path.stat().st_size for path in files) / 1e6:.1f} |")
    table = "\n".join(lines)
    return f"## Sizes\n\n{table}\n\n{_precisions(config)}\n\n{_networks(folder, config)}"


def _networks(folder: Path, config: CheckpointConfig) -> str:
    """List the precision of each network, and the cost of keeping the speech tokenizer precise."""
    components = components_of(folder, config)
    lines = ["| network | stored as |", "|---|---|"]
    lines += [f"| {' | '.join(line.split(': ', 1))} |" for line in as_text(components)]
    table = "\n".join(lines)
    cost = cost_of_reading(folder, config)
    if cost is None:
        return table
    bits, more = cost
    kept = next(iter(components["speech tokenizer"]))
    return (
        f"{table}\n\nThe speech tokenizer, the voice encoder and the speaker encoder are needed "
        "only to read recordings, and are not quantised: that would change the tokens of a "
        f"recording. In {kept} the speech tokenizer takes {more / 1e6:.1f} MB more than in "
        f"{bits} bits."
    )


def _precisions(config: CheckpointConfig) -> str:
    """Describe the quantisation rules in a table, in the order in which they are tried."""
    quantization = config.quantization
    if not quantization.rules:
        return f"All weights are {config.dtype}."
    lines = ["| layers | precision |", "|---|---|"]
    for rule in quantization.rules:
        precision = rule.get("dtype", config.dtype)
        if "bits" in rule:
            precision = f"{rule['bits']} bits, groups of {rule['group_size']}"
        lines.append(f"| `{rule['layers']}` | {precision} |")
    lines.append(f"| all others | {config.dtype} |")
    name = f"Recipe `{quantization.recipe}`. " if quantization.recipe else ""
    table = "\n".join(lines)
    return (
        f"{name}The first line that matches a layer applies; only linear layers and embeddings are "
        f"quantised, and they stay quantised in memory.\n\n{table}"
    )


def _verified(verification: Verification | None, pocket: bool) -> str:
    if verification is None:
        return "## Verification\n\nThis conversion was **not** compared with its source."
    note, writer, unit = "", "T3", "speech tokens"
    if verification.family == CHATTTS_TYPE:
        writer, unit = "the GPT", "steps of sound"
    if pocket and not verification.has_word_errors:
        note = f" {NO_WORD_ERRORS[0].upper()}{NO_WORD_ERRORS[1:]}"
    return (
        "## Verification\n\nCompared with the source in float32, on "
        f"{verification.positions} predictions of {writer} along real text and "
        f"{verification.spoken} {unit}.\n\n{as_markdown(verification)}\n\n"
        f"{verdict(verification)}{note}"
    )


def _provenance(config: CheckpointConfig) -> str:
    from mlx_chatterbox._version import __version__

    lines = ["## Provenance", "", f"Converted by mlx-chatterbox {__version__}."]
    lines += _origin_lines(public(config.source))
    return "\n".join(lines)


def _origin_lines(source: dict, depth: int = 0) -> list[str]:
    indent, lines = "  " * depth, []
    for key, value in source.items():
        if key == "files" and isinstance(value, dict):
            lines.append(f"{indent}* SHA-256 of the files:")
            lines += [f"{indent}  * `{name}`: `{digest}`" for name, digest in value.items()]
        elif isinstance(value, dict):
            lines.append(f"{indent}* {key.replace('_', ' ')}:")
            lines += _origin_lines(value, depth + 1)
        else:
            lines.append(f"{indent}* {key.replace('_', ' ')}: {value}")
    return ["", *lines] if depth == 0 and lines else lines


def public(value):
    """Shorten every absolute path in a `source` to its last part, for publication."""
    if isinstance(value, dict):
        return {key: public(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [public(item) for item in value]
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            if kind(value).is_absolute():
                return kind(value).name
    return value
