"""ChatTTS's networks at full size against tensors of its own modules, on fabricated weights.

`chattts-reference.safetensors` was computed once by ChatTTS's modules on the weights that
`parity/fabricate/chattts.py` makes from seed 2; no published weights are in it.
"""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file

from mlx_chatterbox.chattts import Chat
from mlx_chatterbox.models.chattts.config import ChatTTSConfig
from mlx_chatterbox.models.chattts.requests import CodeRow, TextRow
from mlx_chatterbox.models.chattts.sampling import ChatTTSSampling
from mlx_chatterbox.models.decoder.cache import RowCache
from mlx_chatterbox.models.decoder.engine import DecodingEngine
from mlx_chatterbox.parity.compare import compare
from mlx_chatterbox.parity.fabricate import chattts as fabricate
from mlx_chatterbox.parity.mlx.backend import compute_with
from mlx_chatterbox.text.chattts.tokenizer import ChatTTSTokenizer
from mlx_chatterbox.weights.chattts import ChatTTSModel, load_upstream
from mlx_chatterbox.weights.chattts_files import TOKENIZER_FILES, TOKENIZER_NAME

pytestmark = pytest.mark.slow

REFERENCE = load_file(Path(__file__).parents[1] / "data" / "chattts-reference.safetensors")
NOTES = json.loads(REFERENCE["notes"].tobytes())
CLOSE = 2e-5


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chattts")
    fabricate.fabricate_chattts(folder, seed=2)
    config, networks = load_upstream(folder)
    assert config == ChatTTSConfig()
    mx.eval(networks.parameters())
    tokenizer = ChatTTSTokenizer(folder / TOKENIZER_FILES[TOKENIZER_NAME])
    for path in folder.rglob("*.safetensors"):
        path.unlink()  # a gigabyte
    return ChatTTSModel(folder, config, networks, tokenizer, None)


@pytest.fixture(scope="module")
def networks(model):
    return model.networks


def test_every_tensor(networks):
    comparison = compare(REFERENCE, compute_with(networks, REFERENCE))
    assert len(comparison.rows) == 32
    assert {row.output: row.error for row in comparison.rows if row.error > CLOSE} == {}
    assert comparison.holds


def penalised(logits: np.ndarray, history: list[int], penalty: float) -> np.ndarray:
    for token in history[-16:]:
        logits[token] *= penalty if logits[token] < 0 else 1 / penalty
    return logits


@pytest.mark.parametrize("writes", ["text", "code"])
@pytest.mark.parametrize("row", [0, 1])
def test_greedy_steps_write_the_same(networks, writes, row):
    gpt = networks.gpt
    network = networks.text if writes == "text" else networks.codes
    mask = REFERENCE[f"generate/{writes}/attention_mask"][row] == 1
    ids = REFERENCE[f"generate/{writes}/input_ids"][row][mask]
    ids = np.repeat(ids[:, None], 4, axis=1) if writes == "text" else ids
    speaker = None if writes == "text" else mx.array(REFERENCE["speaker/normalised"])
    is_text = mx.ones((1, len(ids)), dtype=mx.bool_)
    embedded = gpt.embed_prompt(mx.array(ids[None]), is_text, speaker)
    states, past = network.hidden_states(embedded)
    cache, hidden = RowCache(past), states[:, -1]
    logits = network.predict(hidden)
    expected = REFERENCE[f"generate/{writes}/ids_{row}"].reshape(-1, len(network.heads))
    margins = REFERENCE[f"generate/{writes}/margin"]
    penalty = NOTES[f"greedy_{writes}"].get("repetition_penalty", 1.0)
    for step, wanted in enumerate(expected):
        rows = np.array(logits).reshape(len(wanted), -1)
        pairs = zip(rows, expected[:step].T, strict=True)
        chosen = [penalised(one, list(seen), penalty).argmax() for one, seen in pairs]
        if margins[step] > 1e-2:
            assert chosen == list(wanted)
        if writes == "code":
            kept = REFERENCE[f"generate/code/hidden_{row}"][step]
            assert np.linalg.norm(hidden[0] - kept) < CLOSE * np.linalg.norm(kept)
        tokens = mx.array(wanted if writes == "text" else wanted[None])
        cache.make_room()
        none, slots = mx.zeros((1,), dtype=mx.int32), mx.array([cache.used], dtype=mx.int32)
        logits, hidden = network.step_apart(tokens, none, slots, [cache])


def test_greedy_rows_of_one_engine_write_the_same(networks):
    """Text and codes at once: all four rows of the reference share the engine."""
    engine, rows = DecodingEngine(), {}
    for writes in ("text", "code"):
        for row in (0, 1):
            mask = REFERENCE[f"generate/{writes}/attention_mask"][row] == 1
            ids = REFERENCE[f"generate/{writes}/input_ids"][row][mask]
            penalty = NOTES[f"greedy_{writes}"].get("repetition_penalty", 1.0)
            settings = ChatTTSSampling(0, repetition_penalty=penalty)
            limit = len(REFERENCE[f"generate/{writes}/ids_{row}"])
            if writes == "text":
                request = TextRow(networks, ids, settings, limit)
            else:
                speaker = REFERENCE["speaker/normalised"]
                is_text = np.ones(len(ids), bool)
                request = CodeRow(networks, ids, is_text, speaker, settings, limit)
            rows[writes, row] = engine.join(request)
    engine.run_until_idle()
    for (writes, row), written in rows.items():
        expected = REFERENCE[f"generate/{writes}/ids_{row}"].tolist()
        margins = REFERENCE[f"generate/{writes}/margin"]
        sure = int(np.argmax(margins <= 1e-2)) if (margins <= 1e-2).any() else len(expected)
        assert [list(t) if writes == "code" else t for t in written.tokens][:sure] == expected[
            :sure
        ]
        if writes == "code":
            kept = REFERENCE[f"generate/code/hidden_{row}"][: sure + 1]
            got = np.stack(written.hidden)[: sure + 1]
            assert np.linalg.norm(got - kept) < CLOSE * np.linalg.norm(kept)


@pytest.mark.parametrize("decoder", ["decoder", "dvae"])
def test_a_text_is_spoken_as_upstream_speaks_it(model, decoder):
    """Text to sound, greedily, by a speaker string: all that upstream's `infer` does."""
    speaker = REFERENCE["speaker/string"].tobytes().decode()
    params = Chat.InferCodeParams(temperature=0, max_new_token=24, spk_emb=speaker)
    (got,) = Chat.of_model(model).infer(
        REFERENCE["infer/text"].tobytes().decode(),
        skip_refine_text=True,
        use_decoder=decoder == "decoder",
        params_infer_code=params,
        watermark=False,
    )
    expected = REFERENCE[f"infer/waveform_{decoder}"]
    assert got.shape == expected.shape
    assert np.linalg.norm(got - expected) < CLOSE * np.linalg.norm(expected)


def test_52_steps_on_either_side_are_all_that_sound_depends_on(networks):
    hidden = mx.random.normal((1, 150, 768), key=mx.random.key(1))

    def sound(steps: mx.array) -> np.ndarray:
        return np.array(networks.vocos(networks.decoder(steps))[0])

    whole, first, last = sound(hidden), 60, 90
    assert len(whole) == 512 * 150 - 256
    window = sound(hidden[:, first - 52 : last + 52])
    exact = slice(512 * first - 256, 512 * last - 256)
    got = window[512 * 52 - 256 :][: 512 * (last - first)]
    assert np.abs(got - whole[exact]).max() < 1e-5
    # Six are too few.
    window = sound(hidden[:, first - 6 : last + 52])
    got = window[512 * 6 - 256 :][: 512 * (last - first)]
    assert np.abs(got - whole[exact]).max() > 1e-3
