"""Features are computed once and survive a kill; the split and the batches follow from the seed."""

from __future__ import annotations

import dataclasses
from itertools import chain

import numpy as np
import pytest
import soundfile

from mlx_chatterbox.errors import DataError
from mlx_chatterbox.train.data import features
from mlx_chatterbox.train.data.array_cache import ArrayCache
from mlx_chatterbox.train.data.batches import (
    Batches,
    group_by_speaker,
    make_sample,
    split,
)
from mlx_chatterbox.train.data.check import read_clips
from mlx_chatterbox.train.data.clip import Clip
from mlx_chatterbox.train.data.features import FEATURES, FeatureStore, token_count, weights_hash
from mlx_chatterbox.train.data.pitch import f0
from mlx_chatterbox.voices.voice import embed_reference
from mlx_chatterbox.weights.checkpoint import build
from tests.train.data import RATE, section, write

pytestmark = pytest.mark.numbers


@pytest.fixture(scope="module")
def clips(clip_folder):
    return read_clips(section(clip_folder))[0]


def open_store(folder, checkpoint, encoder, **settings) -> FeatureStore:
    return FeatureStore(folder, checkpoint.networks, encoder, workers=2, **settings)


@pytest.fixture(scope="module")
def store(tmp_path_factory, checkpoint, encoder, clips):
    """A store that has every feature of every clip."""
    store = open_store(tmp_path_factory.mktemp("features"), checkpoint, encoder)
    store.compute(clips, FEATURES)
    return store


def test_features_fit_together(store, clips):
    for clip in clips:
        found = store[clip.id]
        n = len(found["speech_tokens"])
        assert n == token_count(clip) == -(-round(clip.seconds * RATE) // 960)
        shapes = {name: value.shape for name, value in found.items()}
        assert shapes.pop("text_tokens")[0] > 3
        assert shapes.pop("ve_mel")[1] == 40
        assert shapes == {
            "speech_tokens": (n,),
            "mel": (2 * n, 80),
            "f0": (2 * n,),
            "waveform": (960 * n,),
            "waveform_16k": (640 * n,),
            "log_mel_16k": (4 * n, 128),
            "fbank": (4 * n - 2, 80),
            "speaker_embedding": (256,),
            "xvector": (192,),
        }
        integers = {name for name, value in found.items() if value.dtype == np.int32}
        assert integers == {"speech_tokens", "text_tokens"}
        assert all(v.dtype == np.float32 for k, v in found.items() if k not in integers)


def test_features_are_those_of_inference(store, clips, checkpoint, voices):
    clip = next(clip for clip in clips if clip.id == "speaker0/2")
    waveform, _ = soundfile.read(str(clip.audio), dtype="float32")
    found = store[clip.id]
    networks = checkpoint.networks
    exact = waveform[: len(waveform) // 960 * 960]
    reference = embed_reference(networks, waveform)
    np.testing.assert_allclose(found["xvector"], reference.embedding[0], atol=1e-5)
    mel = np.array(embed_reference(networks, exact).prompt_feat[0])
    # The last two frames see the zeros after the end, or its mirror image.
    np.testing.assert_allclose(found["mel"][: len(mel) - 2], mel[:-2], atol=1e-4)
    np.testing.assert_array_equal(found["waveform"][: len(waveform)], waveform)
    assert not found["waveform"][len(waveform) :].any()


def test_nothing_is_computed_twice(store, clips, checkpoint, encoder):
    again = open_store(store._cache._folder, checkpoint, encoder)
    told = []
    again.compute(clips, FEATURES, lambda *step: told.append(step))
    assert again.computed == 0
    assert told == [("computing features", 9, 9)]
    for clip in clips:
        for name, value in store[clip.id].items():
            np.testing.assert_array_equal(again[clip.id][name], value)
    with pytest.raises(DataError, match="unknown feature"):
        again.compute(clips, ["mels"])


def test_a_name_or_a_place_is_not_what_is_cached(clips, store, checkpoint, encoder, tmp_path):
    """The same samples in another folder, format and name are already in the cache."""
    waveform, rate = soundfile.read(str(clips[0].audio), dtype="float32")
    write(tmp_path / "other.wav", waveform, "Other text.", rate=rate, subtype="FLOAT")
    (other,), _ = read_clips(section(tmp_path))
    again = open_store(store._cache._folder, checkpoint, encoder)
    again.compute([other], ["mel", "speech_tokens"])
    assert again.computed == 0
    cut = dataclasses.replace(other, start=2400, seconds=other.seconds - 0.1)
    again.compute([cut], ["mel"])
    louder = open_store(store._cache._folder, checkpoint, encoder, loudness_lufs=-20.0)
    louder.compute([other], ["mel"])
    assert (again.computed, louder.computed) == (1, 1)


def test_other_weights_have_other_features(clips, checkpoint, encoder, tmp_path):
    first = open_store(tmp_path, checkpoint, encoder)
    first.compute(clips[:1], ["speech_tokens", "mel"])
    other = build(checkpoint.config)
    assert weights_hash(other.ve) != weights_hash(checkpoint.networks.ve)
    assert weights_hash(other.ve) == weights_hash(other.ve)
    second = FeatureStore(tmp_path, other, encoder)
    second.compute(clips[:1], ["speech_tokens", "mel"])
    assert second.computed == 1  # the mel needs no weights
    clip_id = clips[0].id
    assert (first[clip_id]["speech_tokens"] != second[clip_id]["speech_tokens"]).any()


def test_a_kill_costs_what_was_not_finished(clips, checkpoint, encoder, tmp_path):
    names = ["mel", "xvector"]

    class Killed(BaseException):
        pass

    def kill(what, done, total):
        if done == 4:
            raise Killed

    killed = open_store(tmp_path, checkpoint, encoder)
    with pytest.raises(Killed):
        killed.compute(clips, names, kill)
    # Files that a kill during writing, a full disk or a bad sector leave.
    whole = sorted(tmp_path.rglob("*.safetensors"))
    assert len(whole) == 8
    whole[0].write_bytes(whole[0].read_bytes()[:-7])
    whole[1].write_bytes(b"")
    whole[2].with_suffix(".0a1b.tmp").write_bytes(b"half")
    resumed = open_store(tmp_path, checkpoint, encoder)
    resumed.compute(clips, names)
    assert resumed.computed == 2 * 9 - 8 + 2
    fresh = open_store(tmp_path / "fresh", checkpoint, encoder)
    fresh.compute(clips, names)
    for clip in clips:
        for name in names:
            np.testing.assert_array_equal(resumed[clip.id][name], fresh[clip.id][name])


def test_damage_while_in_use_is_repaired(clips, checkpoint, encoder, tmp_path):
    store = open_store(tmp_path, checkpoint, encoder)
    store.compute(clips[:1], ["mel"])
    mel = store[clips[0].id]["mel"]
    (file,) = tmp_path.rglob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    np.testing.assert_array_equal(store[clips[0].id]["mel"], mel)
    assert store.computed == 2
    assert ArrayCache(tmp_path).read("mel", file.stem) is not None


def test_a_recording_changed_during_training_is_an_error(voices, checkpoint, encoder, tmp_path):
    write(tmp_path / "clips" / "a.wav", voices[0], "Text.")
    clips, _ = read_clips(section(tmp_path / "clips"))
    write(tmp_path / "clips" / "a.wav", voices[1])
    store = open_store(tmp_path, checkpoint, encoder)
    with pytest.raises(DataError, match="has changed since it was checked"):
        store.compute(clips, ["mel"])


def test_loudness_never_overdrives(voices, checkpoint, encoder, tmp_path):
    import pyloudnorm

    spiky = 0.01 * voices[9]
    spiky[20000] = 0.9
    write(tmp_path / "even.wav", voices[8], "Even.")
    write(tmp_path / "spiky.wav", spiky, "Spiky.")
    clips, _ = read_clips(section(tmp_path))
    store = open_store(tmp_path / "cache", checkpoint, encoder, loudness_lufs=-27.0)
    store.compute(clips, ["waveform"])
    meter = pyloudnorm.Meter(RATE)
    even = store["even"]["waveform"][: len(voices[8])]
    assert meter.integrated_loudness(even) == pytest.approx(-27.0, abs=0.1)
    assert np.abs(store["spiky"]["waveform"]).max() <= 0.9901


# F0.


@pytest.mark.parametrize(("low", "high"), [(80, 120), (150, 300), (500, 300)])
def test_f0_of_a_glide(low, high):
    n = 2 * RATE
    hertz = np.linspace(low, high, n)
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    wave = 0.2 * sum(np.sin(k * phase) / k for k in range(1, 12))
    wave[: RATE // 4] = 0.0
    wave[-RATE // 2 :] = 0.01 * np.random.default_rng(0).standard_normal(RATE // 2)
    found = f0(wave.astype(np.float32))
    assert found.shape == (100,)
    assert found.dtype == np.float32
    assert not found[:11].any()
    assert not found[77:].any()
    middle = np.arange(100) * 480 + 240
    np.testing.assert_allclose(found[15:73], hertz[middle][15:73], rtol=1e-3)


def test_f0_of_nothing():
    assert f0(np.zeros(479, dtype=np.float32)).shape == (0,)
    assert not f0(np.zeros(9600, dtype=np.float32)).any()


# Split, batches, samples.


def key_of(draw: int) -> np.ndarray:
    return np.array([7, draw], dtype=np.uint32)


def made_up(count: int, speakers: int = 3) -> list[Clip]:
    return [
        Clip(f"c{i}", None, f"Sentence {i}.", f"s{i % speakers}", None, f"{i:032x}", 0, 1, 1.0)
        for i in range(count)
    ]


def test_the_split_is_stable_when_clips_are_added():
    few, many = made_up(500), made_up(1000)
    _, small = split(few, 0.1, seed=1)
    train, large = split(many, 0.1, seed=1)
    assert [clip.id for clip in large if int(clip.id[1:]) < 500] == [clip.id for clip in small]
    assert 70 < len(large) < 130
    assert len(train) + len(large) == 1000
    assert split(many, 0.1, seed=2)[1] != large
    assert split(many[::-1], 0.1, seed=1)[1] == large[::-1]
    assert split(many, 0.0, seed=1) == (many, [])


def test_the_same_text_or_recording_is_never_on_both_sides():
    clips = made_up(60)
    clips += [dataclasses.replace(c, id=c.id + "x", text=c.text.upper() + "!", content=c.id)
              for c in clips]  # fmt: skip
    clips += [dataclasses.replace(c, id=c.id + "y", text=f"Another {c.id}.") for c in clips[:60]]
    train, evaluation = split(clips, 0.3, seed=5)
    assert {c.id.strip("xy") for c in train}.isdisjoint({c.id.strip("xy") for c in evaluation})
    assert len(evaluation) % 3 == 0
    assert evaluation


def test_a_small_data_set_still_has_an_evaluation():
    for seed in range(20):
        train, evaluation = split(made_up(3), 0.05, seed)
        assert len(evaluation) >= 1
        assert len(train) >= 1
    assert split(made_up(1), 0.05, 0)[1] == []


def test_batches_hold_every_clip_once_and_similar_lengths_together():
    lengths = np.random.default_rng(0).integers(25, 500, 1003)
    plan = Batches(lengths, 8, seed=3)
    batches = plan.epoch(4)
    assert len(batches) == len(plan) == 126
    assert sorted(chain.from_iterable(batches)) == list(range(1003))
    assert sorted(map(len, batches))[:2] == [3, 8]
    padding = sum(len(b) * lengths[b].max() - lengths[b].sum() for b in batches)
    assert padding < 0.06 * lengths.sum()
    assert Batches(lengths, 8, seed=3).epoch(4) == batches
    assert plan.epoch(5) != batches
    assert Batches(lengths, 8, seed=4).epoch(4) != batches
    # The order is not by length.
    means = [lengths[b].mean() for b in batches]
    assert abs(np.corrcoef(means, np.arange(126))[0, 1]) < 0.3


def test_a_prompt_is_another_clip_of_the_speaker(store, clips):
    index = next(i for i, clip in enumerate(clips) if clip.speaker == "speaker0")
    others = [clips[i] for i in group_by_speaker(clips)["speaker0"] if i != index]
    seen = set()
    for draw in range(30):
        key = key_of(draw)
        sample = make_sample(store, clips, index, key, prompt_seconds=0.6)
        assert sample["prompt_span"].tolist() == [0, 0]
        prompt = sample["prompt"]
        assert len(prompt["speech_tokens"]) == 15
        assert prompt["mel"].shape == (30, 80)
        assert "text_tokens" not in prompt
        (source,) = [c for c in others if (store[c.id]["xvector"] == prompt["xvector"]).all()]
        mel = store[source.id]["mel"]
        starts = [t for t in range(0, len(mel) - 29, 2) if (mel[t : t + 30] == prompt["mel"]).all()]
        tokens = store[source.id]["speech_tokens"][starts[0] // 2 :][:15]
        np.testing.assert_array_equal(tokens, prompt["speech_tokens"])
        seen.add((source.id, starts[0]))
        again = make_sample(store, clips, index, key, 0.6, group_by_speaker(clips))
        np.testing.assert_array_equal(again["prompt"]["mel"], prompt["mel"])
    assert {source for source, _ in seen} == {clip.id for clip in others}
    assert len(seen) > 15


def test_a_lonely_clip_gives_its_own_beginning_or_end(store, clips):
    index = next(i for i, clip in enumerate(clips) if clip.speaker == "lonely")
    length = token_count(clips[index])
    spans = set()
    for draw in range(20):
        sample = make_sample(store, clips, index, key_of(draw), 3.0)
        start, end = sample["prompt_span"]
        tokens = sample["speech_tokens"]
        assert len(tokens) == length
        np.testing.assert_array_equal(sample["prompt"]["speech_tokens"], tokens[start:end])
        spans.add((int(start), int(end)))
    assert spans == {(0, length // 2), (length - length // 2, length)}
    assert features.tokens_in(sample["prompt"]) == length // 2
