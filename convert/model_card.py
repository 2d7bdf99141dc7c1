"""The model card of a published checkpoint: README.md with front matter for the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.text.multilingual import SUPPORTED_LANGUAGES
from mlx_chatterbox.weights.conversion.components import as_text, components_of, cost_of_reading
from mlx_chatterbox.weights.variants import VARIANTS

from .verification import Verification, as_markdown, verdict

NAME = "README.md"
LICENSE = "mit"
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
    license: str = LICENSE,
    base_model: str | None = None,
) -> str:
    """Compose README.md.

    Args:
        folder: the checkpoint.
        repo: OWNER/NAME of the repository to publish in.
        verification: None: the model was not verified.
        license: the hub's identifier of it.
        base_model: repository that the weights come from, if the configuration does not name it.
    """
    config = ModelConfig.load(folder)
    base_model = base_model or base_of(config)
    parts = [
        _front_matter(config, base_model, license),
        _introduction(config, repo, base_model),
        _usage(config, repo),
        _sizes(folder, config),
        _verified(verification, is_pocket(config)),
        _provenance(config),
    ]
    return "\n\n".join(parts) + "\n"


def base_of(config: ModelConfig) -> str | None:
    """Find the repository that the weights originally come from; None if it is not known."""
    for level in _levels(config.source):
        if "repository" in level:
            return str(level["repository"])
        if level.get("name") == "pocket":
            return None
    row = VARIANTS.get(config.variant)
    return None if row is None else row.repo


def is_pocket(config: ModelConfig) -> bool:
    """Tell whether a model is the pocket model, or was made from it."""
    return any(level.get("name") == "pocket" for level in _levels(config.source))


def languages_of(config: ModelConfig) -> list[str]:
    """List the codes of the languages that the model speaks."""
    if config.text.tokenizer != "multilingual":
        return ["en"]
    return sorted({*SUPPORTED_LANGUAGES, *config.text.languages})


def _levels(source: dict) -> Iterator[dict]:
    """Yield a configuration's `source`, then the `source` of that model, and so on."""
    yield source
    for value in source.values():
        if isinstance(value, dict) and value is not source.get("files"):
            yield from _levels(value)


def _front_matter(config: ModelConfig, base_model: str | None, license: str) -> str:
    bits = sorted({rule["bits"] for rule in config.quantization.rules if "bits" in rule})
    tags = ["mlx", "mlx-chatterbox", "chatterbox", "text-to-speech", "voice-cloning"]
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


def _introduction(config: ModelConfig, repo: str, base_model: str | None) -> str:
    of = f" of [{base_model}](https://huggingface.co/{base_model})" if base_model else ""
    return (
        f"# {repo}\n\nA conversion{of} for [MLX](https://github.com/ml-explore/mlx), to be used "
        f"with mlx-chatterbox: Chatterbox ({config.variant}), text to speech and voice "
        "conversion, without PyTorch. Speech is watermarked unless that is turned off."
    )


def _usage(config: ModelConfig, repo: str) -> str:
    language = ' --language "en"' if config.text.tokenizer == "multilingual" else ""
    argument = ', language_id="en"' if config.text.tokenizer == "multilingual" else ""
    kind = _CLASSES[config.text.tokenizer]
    return f"""\
## Use

```
pip install mlx-chatterbox
python -m mlx_chatterbox.generate --model {repo} --text "Hello there."{language} --output hello.wav
```

```python
import soundfile
from mlx_chatterbox import {kind}

model = {kind}.from_pretrained("{repo}")
soundfile.write("hello.wav", model.generate("Hello there."{argument}), model.sr)
```"""


def _sizes(folder: Path, config: ModelConfig) -> str:
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != NAME]
    lines = ["| file | MB |", "|---|---|"]
    lines += [f"| {path.name} | {path.stat().st_size / 1e6:.1f} |" for path in files]
    lines.append(f"| all | {sum(path.stat().st_size for path in files) / 1e6:.1f} |")
    table = "\n".join(lines)
    return f"## Sizes\n\n{table}\n\n{_precisions(config)}\n\n{_networks(folder, config)}"


def _networks(folder: Path, config: ModelConfig) -> str:
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


def _precisions(config: ModelConfig) -> str:
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
    note = ""
    if pocket and not verification.has_word_errors:
        note = f" {NO_WORD_ERRORS[0].upper()}{NO_WORD_ERRORS[1:]}"
    return (
        "## Verification\n\nCompared with the source in float32, on "
        f"{verification.positions} predictions of T3 along real text and {verification.spoken} "
        f"speech tokens.\n\n{as_markdown(verification)}\n\n"
        f"{verdict(verification)}{note}"
    )


def _provenance(config: ModelConfig) -> str:
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
