"""Flash's decoding is that of upstream's own package, on a small network with the same draws."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.models.flash.decoding import decode
from mlx_chatterbox.models.flash.requests import FlashRequest
from mlx_chatterbox.models.flash.sentences import BlockStep
from mlx_chatterbox.models.flash.settings import FlashSampling
from mlx_chatterbox.parity.fabricate.small import SMALL_SIZES, small_config
from mlx_chatterbox.parity.inputs.make import make_inputs
from mlx_chatterbox.weights.checkpoint import load

pytestmark = pytest.mark.reference
TOKENS, MASK, VOCABULARY = 40, 8194, 8194
# Ours beside the usual ones: no randomness, guidance 1, 10 steps, time shift 0.1.
SETTINGS: dict[str, dict] = {
    "greedy": {},
    "cold": {"temperature": 0.2, "time_shift_tau": 0.5, "position_temperature": 5.0},
    "warm": {"temperature": 0.6, "position_temperature": 0.3, "seed": 2},
    "gumbel": {"temperature": 0.9, "position_temperature": 5.0, "is_gumbel": True},
    "no_guidance": {"cfg_scale": 0.0, "temperature": 0.6, "seed": 3},
    "more_guidance": {"cfg_scale": 2.5, "temperature": 0.4, "position_temperature": 5.0},
    "own_prior": {"prior_precompute": False, "temperature": 0.4},
    "frozen_prior": {"prior_precompute": False, "cfg_scale": 0.0, "temperature": 0.4},
    "few_steps": {"num_steps": 4, "time_shift_tau": 1.0, "temperature": 0.3},
    "one_step": {"num_steps": 1, "temperature": 0.3, "position_temperature": 5.0},
    "even": {"schedule_t_shift": 0.0, "time_shift_tau": 0.0, "temperature": 0.3},
    "long_blocks": {"block_size": 32, "num_steps": 8, "time_shift_tau": 0.75, "temperature": 0.3},
    "short_blocks": {"block_size": 5, "temperature": 0.3, "position_temperature": 5.0},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from mlx_chatterbox.parity.fabricate.checkpoint import fabricate

    return fabricate(
        tmp_path_factory.mktemp("flash"), variant="flash", config=small_config("flash"), seed=1
    )


@pytest.fixture(scope="module")
def inputs():
    return make_inputs(small_config("flash"), seed=5, sizes=SMALL_SIZES)


@pytest.fixture(scope="module")
def upstream(folder):
    from mlx_chatterbox.parity.torch import env
    from mlx_chatterbox.parity.torch.sized import SizedNetworks

    env.prepare()
    return SizedNetworks(small_config("flash").to_dict(), folder, "flash").t3


@pytest.fixture(scope="module")
def ours(folder, tmp_path_factory):
    from mlx_chatterbox.weights.conversion.core import convert_folder

    output = tmp_path_factory.mktemp("converted") / "flash"
    convert_folder(folder, output, variant="flash", config=small_config("flash"))
    return load(output).networks.t3


class Noise:
    """Uniform numbers of each step, the same for both."""

    def __init__(self, seed: int, is_gumbel: bool):
        self._seed, self._is_gumbel = seed, is_gumbel

    def uniform(self, block: int, step: int, *shape: int) -> np.ndarray:
        random = np.random.default_rng([self._seed, block, step, len(shape)])
        return random.random(shape, dtype=np.float32)

    def gumbel(self, block: int, step: int, *shape: int) -> np.ndarray:
        # As upstream's own sampler rounds it, or exactly.
        tiny = np.float32(1e-10 if self._is_gumbel else 0.0)
        uniform = self.uniform(block, step, *shape)
        return -np.log(-np.log(uniform + tiny) + tiny)

    def tokens(self, block: int, step: int, positions: int, vocabulary: int) -> mx.array:
        return mx.array(self.gumbel(block, step, positions, vocabulary))

    def positions(self, block: int, step: int, positions: int) -> mx.array:
        return mx.array(self.uniform(block, step, positions))


def by_upstream(t3, inputs, noise: Noise, settings: dict) -> tuple[list[int], list]:
    from mlx_chatterbox.parity.torch.flash import given_draws, voice
    from mlx_chatterbox.parity.torch.t3 import as_long

    t3.set_block_size(settings["block_size"])
    t3._uncond_block_prior_cache, t3._cached_engine = {}, None
    steps: list = []

    def heard(block: int, step: int, after: np.ndarray) -> None:
        steps.append((block, step, after.tolist()))

    with given_draws(noise.gumbel, noise.uniform, heard):
        tokens = t3.generate(
            t3_cond=voice(inputs),
            text_tokens=as_long(inputs, "flash/text_tokens")[None],
            total_speech_len=TOKENS,
            num_steps=settings["num_steps"],
            temperature=settings["temperature"],
            temperature_sampling="gumbel" if settings["is_gumbel"] else "multinomial",
            time_shift_tau=settings["time_shift_tau"],
            omnivoice_schedule_t_shift=settings["schedule_t_shift"],
            cfg_scale=settings["cfg_scale"],
            position_temperature=settings["position_temperature"],
            pmi_uncond_prior_precompute=settings["prior_precompute"],
            use_cuda_graph=False,
            backend="torch",
        )
    return tokens[0].tolist(), steps


def by_ours(t3, inputs, noise: Noise, settings: dict) -> tuple[list[int], list]:
    voice = t3.embed_conditioning(
        mx.array(inputs["flash/speaker_emb"]),
        mx.array(inputs["flash/cond_prompt_tokens"])[None],
        mx.array(inputs["flash/emotion"]),
    )
    own = {name: value for name, value in settings.items() if name not in ("is_gumbel", "seed")}
    steps: list[BlockStep] = []
    request = FlashRequest(
        mx.array(inputs["flash/text_tokens"]),
        voice,
        max_new_tokens=TOKENS,
        block_size=own.pop("block_size"),
        sampling=FlashSampling(upstream_exact=True, **own),
        draws=noise,
        on_step=steps.append,
    )
    tokens = [token for block in decode(t3, request) for token in block]
    return tokens, [(step.block, step.step, step.after.tolist()) for step in steps]


def usual(changes: dict) -> dict:
    return {
        "temperature": 0.0,
        "position_temperature": 0.0,
        "time_shift_tau": 0.1,
        "schedule_t_shift": 0.5,
        "num_steps": 10,
        "cfg_scale": 1.0,
        "prior_precompute": True,
        "block_size": 16,
        "is_gumbel": False,
        "seed": 1,
        **changes,
    }


def that_decide(steps: list) -> list:
    """Steps without those that decide nothing, which ours leave out."""
    kept, before = [], None
    for block, step, after in steps:
        now = block, after.count(MASK)
        if now not in (before, (block, len(after))):
            kept.append((block, step, after))
        before = now
    return kept


@pytest.mark.parametrize("name", SETTINGS)
def test_tokens_and_steps_are_upstreams(name, upstream, ours, inputs):
    settings = usual(SETTINGS[name])
    noise = Noise(settings["seed"], settings["is_gumbel"])
    expected, steps = by_upstream(upstream, inputs, noise, settings)
    tokens, own = by_ours(ours, inputs, noise, settings)
    assert tokens == expected
    assert own == that_decide(steps)
    assert len(tokens) == TOKENS


@pytest.mark.parametrize("place", [3, 17, 39])
def test_a_stop_token_ends_a_sentence_as_upstreams_does(place, upstream, ours, inputs):
    """With what was still masked before it lost, as 0.1.0 has it."""
    settings = usual(SETTINGS["cold"])
    noise = Noise(settings["seed"], False)
    stop = by_upstream(upstream, inputs, noise, settings)[0][place]
    exact = upstream.hp.stop_speech_token
    try:
        upstream.hp.stop_speech_token = stop
        expected, steps = by_upstream(upstream, inputs, noise, settings)
    finally:
        upstream.hp.stop_speech_token = exact
    config = ours.config
    try:
        ours.config = replace(config, stop_speech_token=stop)
        tokens, own = by_ours(ours, inputs, noise, settings)
    finally:
        ours.config = config
    assert tokens == expected
    assert own == that_decide(steps)
    assert len(tokens) < TOKENS
