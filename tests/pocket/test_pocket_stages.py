"""The stages of pocket's recipe, each for a step or two on a corpus of noise."""

from __future__ import annotations

import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_chatterbox.runtime.progress import Bars
from mlx_chatterbox.text.files import ENGLISH_FILE, LEXICON_FILE
from mlx_chatterbox.text.lexicon import write_lexicon, write_vocabulary
from mlx_chatterbox.train.config import TrainConfig
from mlx_chatterbox.train.pocket import (
    checkpoint_folder,
    corpus,
    flow,
    speakers,
    t3,
    tokenizer,
    vocoder,
)
from mlx_chatterbox.train.pocket.checkpoint_folder import write_checkpoint_folder
from mlx_chatterbox.train.pocket.corpus import Corpus, Shard, make_corpus
from mlx_chatterbox.train.pocket.flow import _FlowNetworks, train_flow
from mlx_chatterbox.train.pocket.model import pocket_config
from mlx_chatterbox.train.pocket.speakers import (
    _SpeakerNetworks,
    embed_voices,
    train_speaker_network,
)
from mlx_chatterbox.train.pocket.stage import stage_config
from mlx_chatterbox.train.pocket.synthesisers import PHONES, LabelledSpeech
from mlx_chatterbox.train.pocket.t3 import _T3Networks, train_t3
from mlx_chatterbox.train.pocket.texts import held_out_templates
from mlx_chatterbox.train.pocket.tokenizer import (
    _TokenizerNetworks,
    tokenise_corpus,
    train_tokenizer,
)
from mlx_chatterbox.train.pocket.vocoder import train_vocoder
from mlx_chatterbox.weights.checkpoint import build as build_checkpoint
from mlx_chatterbox.weights.checkpoint import load_converted

SHARDS = ("rms-00", "slt-00")


def synthesise(voice: str, text: str) -> LabelledSpeech:
    rng = np.random.default_rng(len(text))
    noise = rng.uniform(-0.1, 0.1, 32_000).astype(np.float32)
    return LabelledSpeech(noise, rng.integers(len(PHONES), size=100).astype(np.uint8))


def uncompiled(*arguments, **training) -> TrainConfig:
    return stage_config(*arguments, **{**training, "compile": False})


@pytest.mark.parametrize(
    "build", [_TokenizerNetworks, _SpeakerNetworks, _FlowNetworks, _T3Networks]
)
def test_a_stages_network_is_the_checkpoints(build):
    """Names and shapes are equal, so that a stage's weights fit the checkpoint."""
    shapes = {name: value.shape for name, value in tree_flatten(build().parameters())}
    whole = dict(tree_flatten(build_checkpoint(pocket_config()).parameters()))
    assert shapes == {name: whole[name].shape for name in shapes}


@pytest.mark.slow
def test_every_stage_trains_its_network_and_the_checkpoint_loads(tmp_path, monkeypatch):
    texts = [*held_out_templates(1, 2), "One cat.", "Two cats.", "Three cats.", "Four cats."]
    monkeypatch.setattr(corpus, "check_programs", lambda: None)
    monkeypatch.setattr(corpus, "synthesise", synthesise)
    monkeypatch.setattr(checkpoint_folder, "synthesise", synthesise)
    monkeypatch.setattr(corpus, "training_sentences", lambda seed: iter(texts * 2))
    plan = [Shard(name, name[:3], i * len(texts), len(texts)) for i, name in enumerate(SHARDS)]
    monkeypatch.setattr(corpus, "plan_shards", lambda rounds: plan)
    for module in (tokenizer, flow, vocoder, t3):  # compiling takes longer than a step
        monkeypatch.setattr(module, "stage_config", uncompiled)
    monkeypatch.setattr(speakers, "STEPS", dict.fromkeys(speakers.NAMES, 1))
    folder, runs, start = tmp_path / "corpus", tmp_path / "runs", tmp_path / "start"
    make_corpus(folder, 0, 1)
    start.mkdir()
    write_vocabulary(start / ENGLISH_FILE)
    write_lexicon(start / LEXICON_FILE, {"cat": "kæt", "cats": "kæts"})

    train_tokenizer(Corpus(folder), runs / "s3_tokenizer", steps=1)
    tokenise_corpus(Corpus(folder), runs / "s3_tokenizer", Bars())
    for name in speakers.NAMES:
        train_speaker_network(Corpus(folder), runs / name, name)
    embed_voices(Corpus(folder), {name: runs / name for name in speakers.NAMES})
    train_flow(Corpus(folder), runs / "flow", steps=1)
    train_vocoder(Corpus(folder), runs / "vocoder", steps=1, shards=SHARDS)
    train_t3(Corpus(folder), start, runs / "t3", steps=1)
    steps = write_checkpoint_folder(runs, start, tmp_path / "pocket")

    assert set(steps.values()) == {1}
    assert load_converted(tmp_path / "pocket").config.source["steps"] == steps
