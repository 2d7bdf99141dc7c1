"""A job on a Ray cluster of two actors, one of them killed midway: nothing lost, nothing twice.

Slow: Ray starts a cluster of processes on this machine. Run by .ci/run.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter

import numpy as np
import pytest
import soundfile

from mlx_chatterbox import ChatterboxTTS
from mlx_chatterbox.errors import JobError
from mlx_chatterbox.longform.batch import speak_batch
from mlx_chatterbox.longform.book import job_folder, speak_document
from mlx_chatterbox.longform.plan import Document, Piece
from mlx_chatterbox.recognition.held_out import HELD_OUT
from mlx_chatterbox.weights.hub import POCKET_FOLDER

pytestmark = pytest.mark.slow

BOOK = Document("Held out", None, [Piece(text, 0.2) for text in HELD_OUT[:16]])


@pytest.fixture(scope="module")
def tts() -> ChatterboxTTS:
    return ChatterboxTTS.from_pretrained("pocket")


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        logging_level="ERROR",
        log_to_driver=False,
    )
    yield ray
    ray.shutdown()


def test_a_worker_is_killed_midway(tts, cluster, tmp_path):
    from mlx_chatterbox.longform.ray_job import ray_executor

    speak_document(tts, BOOK, tmp_path / "alone.wav", seed=1, batch_size=2)

    delivered: Counter[str] = Counter()
    killed: list[int] = []
    workers: list[int] = []

    def execute(pieces, batch_size, store):
        def counted(spoken):
            delivered[spoken.key] += 1
            workers.append(int(spoken.record["worker"].split(":")[-1]))
            if not killed:
                os.kill(workers[0], signal.SIGKILL)
                killed.append(workers[0])
            store(spoken)

        ray_executor("pocket", workers=2)(pieces, batch_size, counted)

    settings = {"seed": 1, "batch_size": 2, "executor": execute}
    done = speak_document(tts, BOOK, tmp_path / "two.wav", **settings)
    assert not done.failures
    assert killed
    assert len(set(workers)) >= 2
    manifest = json.loads((job_folder(tmp_path / "two.wav") / "manifest.json").read_text())
    assert delivered == Counter(piece["key"] for piece in manifest["pieces"])
    assert set(delivered.values()) == {1}
    print(f"killed {killed[0]}; spoken by {dict(Counter(workers))}")
    alone = json.loads((job_folder(tmp_path / "alone.wav") / "manifest.json").read_text())
    for ours, theirs in zip(manifest["pieces"], alone["pieces"], strict=True):
        assert ours["tokens"] == theirs["tokens"]
    # Rounding depends on how many threads a process has, and Ray gives an actor its share.
    two, one = (soundfile.read(tmp_path / name)[0] for name in ("two.wav", "alone.wav"))
    assert np.sqrt(np.mean((two - one) ** 2) / np.mean(one**2)) < 1e-4


def test_rows_in_several_voices_share_a_chunk(tts, cluster, tmp_path):
    from mlx_chatterbox.longform.ray_job import ray_executor

    voices = [POCKET_FOLDER / "voices" / f"{name}.safetensors" for name in ("slt", "rms")]
    rows = [f'"{text}",{voices[i % 2]},{i}.wav' for i, text in enumerate(HELD_OUT[:6])]
    table = tmp_path / "rows.csv"
    table.write_text("\n".join(["text,voice,output", *rows]), encoding="utf-8")
    chunks = []

    def watched(pieces, batch_size, store):
        chunks.append(len({piece.voice_settings.voice for piece in pieces}))
        ray_executor("pocket", workers=2)(pieces, batch_size, store)

    for folder, executor in (("ray", watched), ("alone", None)):
        lines = speak_batch(
            tts, table, tmp_path / folder, longest=120, seed=1, batch_size=3, executor=executor
        )
        assert [line.status for line in lines] == ["spoken"] * len(rows)
    assert chunks == [2]
    for number in range(len(rows)):
        two, one = (
            soundfile.read(tmp_path / name / f"{number}.wav")[0] for name in ("ray", "alone")
        )
        assert np.sqrt(np.mean((two - one) ** 2) / np.mean(one**2)) < 1e-4


def test_a_model_that_is_not_the_same_there(tts, cluster, tmp_path):
    import dataclasses

    from mlx_chatterbox.longform.ray_job import ray_executor

    def execute(pieces, batch_size, store):
        wrong = dataclasses.replace(pieces[0].voice_settings, model_hash="another")
        pieces = [dataclasses.replace(one, voice_settings=wrong) for one in pieces]
        ray_executor("pocket", workers=1)(pieces, batch_size, store)

    book = Document(None, None, BOOK.pieces[:2])
    with pytest.raises(JobError, match="Ray failed"):
        speak_document(tts, book, tmp_path / "out.wav", seed=1, executor=execute)
    assert not (tmp_path / "out.wav").exists()
