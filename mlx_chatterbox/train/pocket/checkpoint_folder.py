"""The checkpoint folder of the pocket model, as it is in the package, from the stages' weights."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from ...audio.resample import resample_soxr
from ...models.config import ModelConfig
from ...runtime.own_files import write_whole
from ...runtime.saving import save_arrays
from ...text.files import ENGLISH_FILE, LEXICON_FILE
from ...voices.voice import embed_voice
from ...weights.checkpoint import VOICE_NAME, Chatterbox, build, load_converted, verify_folder
from ...weights.hub import WEIGHTS_NAME
from ...weights.manifest import write_checkpoint_manifest
from ...weights.packing import pack
from ..state import new_folder
from ..tasks.base import PLACES
from ..trained import seeded
from .model import pocket_config
from .stage import SEED, load_stage_weights
from .synthesisers import RATE, synthesise

VOICES_FOLDER, CARD_NAME = "voices", "MODEL_CARD.md"
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"
# The built-in voices, and the text of their reference recordings, which is not trained on.
BUILT_IN = ("slt", "rms", "awb")
REFERENCE_TEXT = "A gentle wind moves over the old harbor, and the boats are quiet."
# The default voice: the one with the fewest word errors.
DEFAULT_VOICE = "rms"
_PACKED = ("t3.", "s3gen.flow.")


def trained_networks(runs: Path) -> tuple[Chatterbox, dict[str, int]]:
    """Build the networks with every stage's newest weights.

    Returns:
        the networks, and by component the training step of its weights.

    Raises:
        CheckpointError: a stage has no checkpoint, or one of another architecture.
    """
    with seeded(SEED):
        networks = build(pocket_config())
    steps = {name: load_stage_weights(networks, runs / name, name) for name in PLACES}
    networks.eval()
    return networks, steps


def write_checkpoint_folder(runs: Path, texts: Path, output: Path) -> dict[str, int]:
    """Write the checkpoint folder; an older one is replaced.

    Args:
        runs: holds the stages' output folders.
        texts: the folder of vocabulary and dictionary.
        output: appears whole or not at all.

    Returns:
        by component the training step of its weights.

    Raises:
        CheckpointError: a stage has no checkpoint, or one of another architecture.
    """
    networks, steps = trained_networks(runs)
    config = pocket_config()
    config.source = {"name": "pocket", "steps": steps, "seed": SEED}
    with new_folder(output) as folder:
        _write_files(networks, config, texts, folder)
    return steps


def _write_files(networks: Chatterbox, config: ModelConfig, texts: Path, folder: Path) -> None:
    shutil.copyfile(Path(__file__).with_name(CARD_NAME), folder / CARD_NAME)
    for name in (ENGLISH_FILE, LEXICON_FILE):
        shutil.copyfile(texts / name, folder / name)
    half = {
        key: value.astype(mx.float16) if mx.issubdtype(value.dtype, mx.floating) else value
        for key, value in sorted(dict(tree_flatten(networks.parameters())).items())
    }
    packed = pack(half, config.packing, lambda key: key.startswith(_PACKED))
    save_arrays(folder / WEIGHTS_NAME, packed, {"format": "mlx"})
    config.save(folder)
    verify_folder(folder)
    # The voices are embedded by the weights as they are stored.
    loaded = load_converted(folder)
    (folder / VOICES_FOLDER).mkdir()
    for name in BUILT_IN:
        speech = teacher_speech(name, REFERENCE_TEXT)
        voice = embed_voice(loaded.networks, speech, config.generation)
        half_mel = dataclasses.replace(voice, prompt_feat=voice.prompt_feat.astype(mx.float16))
        half_mel.save(folder / VOICES_FOLDER / f"{name}.safetensors")
    shutil.copyfile(folder / VOICES_FOLDER / f"{DEFAULT_VOICE}.safetensors", folder / VOICE_NAME)
    write_checkpoint_manifest(folder)


def write_figures(model: Path, figures: str) -> None:
    """Write the evaluation's figures into the model card, which the manifest does not list.

    Args:
        model: the checkpoint folder.
        figures: lines of text.
    """
    card = model / CARD_NAME
    text = card.read_text(encoding="utf-8")
    before, after = text.split(_BEGIN)[0], text.split(_END)[1]
    lines = "".join(f"* {line}\n" for line in figures.splitlines())
    write_whole(card, f"{before}{_BEGIN}\n{lines}{_END}{after}")


def teacher_speech(voice: str, text: str) -> np.ndarray:
    """Synthesise a text with flite or espeak-ng, (samples,) float32 at 24 kHz."""
    return resample_soxr(synthesise(voice, text).waveform, RATE, 24000)
