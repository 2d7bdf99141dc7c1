"""The corpus that the pocket voice is trained on: files from others, or damaged."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import numpy as np
import pytest

from mlx_chatterbox.errors import DataError
from mlx_chatterbox.runtime.locks import try_lock
from mlx_chatterbox.runtime.own_files import open_lock
from mlx_chatterbox.train.pocket import corpus as corpora
from mlx_chatterbox.train.pocket.corpus import Corpus, Shard, _make_shard
from mlx_chatterbox.train.pocket.speakers import Embeddings
from mlx_chatterbox.train.pocket.synthesisers import LabelledSpeech
from tests.fuzz_readers.pocket_corpus import SHARD, npy, read_all, shard_files, write_corpus


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def refusal(tmp_path, name: str, content: bytes) -> str:
    """The one-line error for a corpus with such a file."""
    with pytest.raises(DataError) as found:
        read_all(write_corpus(tmp_path / "corpus", {name: content}))
    said = str(found.value)
    assert name in said
    assert "\n" not in said
    return said


def test_a_sound_corpus_is_read(tmp_path):
    read_all(write_corpus(tmp_path / "corpus", {}))


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_headers_are_read_as_numpy_reads_them(tmp_path, version):
    values = np.arange(10 * 80, dtype=np.float16).reshape(10, 80) % 7
    file = io.BytesIO()
    np.lib.format.write_array(file, values, version)
    corpus = Corpus(write_corpus(tmp_path / "corpus", {"mel.npy": file.getvalue()}))
    np.testing.assert_array_equal(
        corpus.array(SHARD, "mel"), np.load(corpus.folder / SHARD / "mel.npy")
    )


def test_no_pickle_is_read(tmp_path):
    written = tmp_path / "written"
    objects = np.array([Evil(written)] * 10, object)
    file = io.BytesIO()
    np.save(file, objects, allow_pickle=True)
    for name, content in (("mel.npy", file.getvalue()), ("mel.npy", pickle.dumps(Evil(written)))):
        refusal(tmp_path / str(len(content)), name, content)
    file = io.BytesIO()
    np.savez(file, **{"slt/xvector": objects})
    refusal(tmp_path, "embeddings.npz", file.getvalue())
    assert not written.exists()


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("mel.npy", np.zeros((10, 80), np.float32), "float32, not float16"),
        ("mel.npy", np.zeros((9, 80), np.float16), "(9, 80), not (10, 80)"),
        ("mel.npy", np.zeros((10, 81), np.float16), "(10, 81), not (10, 80)"),
        ("mel.npy", np.full((10, 80), np.nan, np.float16), "NaN or Inf"),
        ("waveform.npy", np.zeros((), np.int16), "not (4800,)"),
        ("speech_tokens.npy", np.full(5, 729, np.int16), "from 0 to 728"),
        ("speech_tokens.npy", np.full(5, -1, np.int16), "from 0 to 728"),
        ("phones.npy", np.full(10, 41, np.uint8), "from 0 to 40"),
        ("mel.npy", np.asfortranarray(np.zeros((10, 80), np.float16)), "another order"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, name, array, said):
    assert said in refusal(tmp_path, name, npy(array))


def test_truncated_or_extended_files_are_refused(tmp_path):
    for name, content in shard_files().items():
        place = tmp_path / name
        refusal(place / "cut", name, content[: -1 - name.endswith("jsonl")])
        refusal(place / "half", name, content[: len(content) // 2])
        refusal(place / "none", name, b"")
        if name.endswith("npy"):
            refusal(place / "more", name, content + b"\0")


def test_missing_files_are_reported(tmp_path):
    for name in shard_files():
        folder = write_corpus(tmp_path / name, {})
        (folder / ("" if name.endswith("npz") else SHARD) / name).unlink()
        if name == "clips.jsonl":
            with pytest.raises(DataError, match=r"clips\.jsonl cannot be read"):
                Corpus(folder, [SHARD])
            continue
        with pytest.raises(DataError, match=f"{name} cannot be read"):
            read_all(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tokens": 10**9}, "do not follow"),
        ({"tokens": -2}, "tokens is from 0"),
        ({"first": 1}, "do not follow"),
        ({"first": 0.5}, "first is a whole number"),
        ({"text": None}, "text is a text"),
        ({"shard": "x"}, "other entries"),
        ({"voice": ["slt"]}, "voice is a text"),
    ],
)
def test_clips_of_other_values_are_refused(tmp_path, change, said):
    first, *rest = shard_files()["clips.jsonl"].decode().splitlines()
    lines = [json.dumps(json.loads(first) | change), *rest]
    assert said in refusal(tmp_path, "clips.jsonl", "\n".join(lines).encode())


@pytest.mark.parametrize("line", ["[1]", "{", "[" * 100_000, "\xff", '{"id": 1}'])
def test_lines_that_are_not_clips_are_refused(tmp_path, line):
    assert "not a list of clips" in refusal(tmp_path, "clips.jsonl", line.encode("latin-1"))


def test_archives_that_grow_are_refused(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("slt/xvector.npy", bytes(100 * 2**20))
    assert "compressed" in refusal(tmp_path, "embeddings.npz", file.getvalue())


def test_a_voice_without_embeddings_is_reported(tmp_path):
    embeddings = Embeddings(Corpus(write_corpus(tmp_path / "corpus", {})))
    with pytest.raises(DataError, match="no xvector of rms"):
        embeddings.draw("rms", "xvector", np.random.default_rng(0))


# --- Making --------------------------------------------------------------------------------------


@pytest.fixture
def spoken(monkeypatch):
    """Synthesisers that return a second of noise at once."""
    texts = []

    def speak(voice: str, text: str) -> LabelledSpeech:
        texts.append(text)
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, 16_000).astype(np.float32)
        return LabelledSpeech(noise, np.zeros(50, np.uint8))

    monkeypatch.setattr(corpora, "synthesise", speak)
    monkeypatch.setattr(corpora, "check_programs", lambda: None)
    monkeypatch.setattr(corpora, "training_sentences", lambda seed: iter(["One.", "Two."] * 1000))
    monkeypatch.setattr(corpora, "plan_shards", lambda rounds: [Shard(SHARD, "slt", 0, 2)])
    return texts


def test_what_is_made_can_be_read(tmp_path, spoken):
    corpora.make_corpus(tmp_path, 0, 1)
    corpus = Corpus(tmp_path)
    assert [clip.tokens for clip in corpus.clips] == [25, 25]
    assert corpus.feature(1, "mel").shape == (50, 80)
    assert corpus.feature(1, "waveform").shape == (24_000,)
    corpora.make_corpus(tmp_path, 0, 1)
    assert spoken == ["One.", "Two."]


def test_nothing_is_written_through_links_that_lie_there(tmp_path, spoken):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept")
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / f".{SHARD}.tmp").symlink_to(outside)
    (folder / f".{SHARD}.pid").symlink_to("/dev/zero")
    corpora.make_corpus(folder, 0, 1)
    assert [path.name for path in outside.iterdir()] == ["kept.txt"]
    assert len(Corpus(folder).clips) == 2


def test_a_link_in_place_of_the_lock_is_refused(tmp_path, spoken):
    (tmp_path / "kept.txt").write_text("kept")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / f".{SHARD}.lock").symlink_to(tmp_path / "kept.txt")
    with pytest.raises(DataError, match="link"):
        corpora.make_corpus(tmp_path / "corpus", 0, 1)
    assert (tmp_path / "kept.txt").read_text() == "kept"


def test_what_another_process_is_making_is_left_to_it(tmp_path, spoken):
    with open(open_lock(tmp_path / f".{SHARD}.lock"), "rb") as lock:
        assert try_lock(lock)
        corpora.make_corpus(tmp_path, 0, 1)
        assert not spoken
    corpora.make_corpus(tmp_path, 0, 1)
    assert len(spoken) == 2


def test_leftovers_of_a_killed_process_do_not_matter(tmp_path, spoken, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            _make_shard(tmp_path, Shard(SHARD, "slt", 0, 2), ["One.", "Two."])
    assert not list(tmp_path.glob(f".{SHARD}.tmp*"))
    corpora.make_corpus(tmp_path, 0, 1)
    assert len(Corpus(tmp_path).clips) == 2
