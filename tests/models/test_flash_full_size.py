"""Flash at full size against tensors and runs of upstream's own package, on made-up weights."""

from __future__ import annotations

from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from mlx_chatterbox.models.flash.cache import BlockCache
from mlx_chatterbox.models.flash.decoding import decode, decode_together
from mlx_chatterbox.models.flash.prior import PriorMemory
from mlx_chatterbox.models.flash.requests import FlashRequest
from mlx_chatterbox.models.flash.scores import propose
from mlx_chatterbox.models.flash.sentences import BlockStep
from mlx_chatterbox.models.flash.settings import FlashSampling
from mlx_chatterbox.models.flash.writer import BlockWriter
from mlx_chatterbox.models.t3.config import T3Config
from mlx_chatterbox.models.t3.t3 import T3
from mlx_chatterbox.parity.compare import compare
from mlx_chatterbox.parity.mlx.backend import compute_with
from mlx_chatterbox.parity.tables.flash import FLASH_STAGES
from tests.flash_reference import MASK, RUNS, recorded, reference, tensor

pytestmark = pytest.mark.slow
CLOSE = 2e-5


@pytest.fixture(scope="module")
def t3():
    t3 = T3(T3Config(has_mask=True))
    t3.update(
        tree_unflatten(
            [
                (key, mx.array(tensor(key.replace("tfmr.model.", "tfmr."), array.shape)))
                for key, array in tree_flatten(t3.parameters())
            ]
        )
    )
    mx.eval(t3.parameters())
    return t3


@pytest.fixture(scope="module")
def voice(t3):
    prompt = mx.array(reference()["flash/cond_prompt_tokens"])[None]
    emotion = float(reference()["flash/emotion"][0])
    return t3.embed_conditioning(mx.array(reference()["flash/speaker_emb"]), prompt, emotion)


@pytest.fixture(scope="module")
def prefix(t3, voice):
    text = mx.array(reference()["flash/text_tokens"])
    return BlockWriter(t3).prefill(t3.conditioning_cache(voice), text, True)


@pytest.fixture(scope="module")
def priors():
    return PriorMemory()


def assert_close(got: mx.array, name: str) -> None:
    expected = reference()[name].astype(np.float64)
    values = np.array(got).astype(np.float64)
    assert values.shape == expected.shape
    assert np.linalg.norm(values - expected) < CLOSE * np.linalg.norm(expected), name


def test_what_comes_before_the_blocks(t3, voice, prefix):
    assert_close(voice[0], "t3/cond_emb")
    assert_close(prefix[0], "flash/prefix_shift")
    text = mx.array(reference()["flash/text_tokens"])
    start = t3.embed_speech(mx.array([[6561]]), 0)
    rows = mx.concatenate([t3.embed_text(text, False), start], axis=1)
    assert_close(rows[0], "flash/prefix_text_sos")
    lengths = [34, 42, prefix[1].length]
    assert lengths == reference()["flash/prefix_len"].tolist()


def test_priors(t3, priors):
    assert_close(mx.exp(priors.log_prior(BlockWriter(t3), 16)), "flash/prior")
    assert_close(mx.exp(priors.log_prior(BlockWriter(t3), 32)), "flash/prior_32")


def test_passes_over_blocks(t3, prefix, priors):
    writer, (before, past) = BlockWriter(t3), prefix
    cache = BlockCache(past)

    def passed(name: str) -> mx.array:
        cache.make_room_for(16)
        (hidden,) = writer.run([mx.array(reference()[f"flash/{name}"])], [cache], 16)
        return hidden

    hidden = passed("block0_tokens")
    assert_close(hidden, "flash/block0_hidden")
    logits = writer.logits(before, hidden)
    assert_close(logits, "flash/block0_logits")
    proposal = propose(logits, priors.log_prior(writer, 16), 1.0, 0.0)
    assert np.array_equal(proposal.tokens, reference()["flash/block0_argmax"])
    assert_close(proposal.guided.max(axis=-1), "flash/block0_guided_max")
    assert_close(proposal.information[0], "flash/block0_pmi_cond")
    assert_close(proposal.information[1], "flash/block0_pmi_uncond")
    assert_close(proposal.scores, "flash/block0_pmi")
    uniform = np.random.default_rng(1234).random((16, 8194), dtype=np.float32)
    drawn = propose(logits, None, 1.0, 0.6, mx.array(-np.log(-np.log(uniform))))
    assert np.array_equal(drawn.tokens, reference()["flash/block0_gumbel_tokens"])

    before = passed("block0_final_tokens")[:, -1]
    cache.commit(16)
    assert_close(before, "flash/block1_shift")
    assert_close(writer.logits(before, passed("block1_tokens")), "flash/block1_logits")


def test_the_stages_of_parity(t3):
    """From the inputs of a dump to everything that it asks for."""
    names = [name for stage in FLASH_STAGES for name in stage.inputs]
    results = compute_with(SimpleNamespace(t3=t3), {name: reference()[name] for name in names})
    comparison = compare(dict(reference()), results)
    assert {row.output for row in comparison.rows} == {
        "t3/cond_emb",
        *(output.name for stage in FLASH_STAGES for output in stage.outputs),
    }
    assert comparison.holds, [row for row in comparison.rows if not row.holds]


def run_like(tag: str, t3: T3, voice: mx.array, steps: list[BlockStep], **changes):
    """The network and the request of a recorded run."""
    settings = {"temperature": 0, "position_temperature": 0, "time_shift_tau": 0.1}
    settings = {**settings, **RUNS[tag], **changes}
    size = settings.pop("block_size", 16)
    limits = {"stop": 60, "block32": 48}
    if tag == "stop":
        stop = int(recorded("stop", "stop_token")[0])
        other = T3(T3Config(has_mask=True, stop_speech_token=stop))
        other.update(t3.parameters())
        t3 = other
    return t3, FlashRequest(
        mx.array(reference()["flash/text_tokens"]),
        voice,
        FlashSampling(**settings),
        limits.get(tag, 32),
        size,
        on_step=steps.append,
    )


# The two others are stages of parity: each step, and the run.
@pytest.mark.parametrize("tag", [tag for tag in RUNS if tag not in ("greedy", "noise")])
def test_runs(tag, t3, voice, priors):
    steps: list[BlockStep] = []
    network, request = run_like(tag, t3, voice, steps)
    tokens = [token for block in decode(network, request) for token in block]
    assert tokens == recorded(tag, "tokens").tolist()
    assert [[step.block, step.step] for step in steps] == recorded(tag, "steps").tolist()
    if tag != "stop":
        return
    for i, step in enumerate(steps):
        length = len(step.after)
        assert np.array_equal(step.before, recorded(tag, "before")[i][:length])
        assert np.array_equal(step.tokens, recorded(tag, "candidates")[i][:length])
        assert np.array_equal(step.after, recorded(tag, "after")[i][:length])
        assert np.abs(step.scores - recorded(tag, "pmi")[i][:length]).max() < 1e-3


def test_a_stop_token_waits_for_what_is_before_it(t3, voice, priors):
    network, request = run_like("stop", t3, voice, [], upstream_exact=False)
    tokens = [token for block in decode(network, request) for token in block]
    lost = recorded("stop", "tokens")
    assert MASK in lost
    assert MASK not in tokens
    # Without the stop token it is the greedy run, which goes on.
    assert tokens == recorded("greedy", "tokens")[: len(tokens)].tolist()
    assert recorded("greedy", "tokens")[len(tokens)] == recorded("stop", "stop_token")[0]


def test_sentences_in_one_pass_are_what_they_are_alone(t3, voice, priors):
    """One of them with a shorter text, to whose rows upstream's batches show what is not theirs."""
    _, request = run_like("no_early", t3, voice, [])
    short = FlashRequest(
        mx.array([255, 30, 31, 32, 0]), voice, request.sampling, request.max_new_tokens
    )
    alone = [token for block in decode(t3, short) for token in block]
    results: dict[int, list[int]] = {}
    for finished in decode_together(t3, [request, short]):
        for row, tokens in finished:
            results.setdefault(id(row.request), []).extend(tokens)
    assert results[id(request)] == recorded("no_early", "tokens").tolist()
    assert results[id(short)] == alone
