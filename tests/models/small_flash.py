"""A small Flash with weights from a seed, as ours and as NumPy's."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from mlx_chatterbox.models.flash.requests import FlashRequest
from mlx_chatterbox.models.flash.settings import FlashSampling
from mlx_chatterbox.models.t3.config import T3Config
from mlx_chatterbox.models.t3.t3 import T3
from mlx_chatterbox.parity.numpy import flash, flash_network
from mlx_chatterbox.parity.numpy.layers import Weights

BLOCK = 8
TEXTS = ([38, 5, 9, 1, 17, 0], [38, 0], [38, *range(1, 30), 0])


def small_flash(seed: int = 5, **sizes) -> T3:
    """Predictions that differ from position to position, and sharply."""
    config = T3Config(
        **{
            "text_tokens_dict_size": 40,
            "start_text_token": 38,
            "speech_tokens_dict_size": 53,
            "start_speech_token": 50,
            "stop_speech_token": 51,
            "max_text_tokens": 64,
            "max_speech_tokens": 128,
            "has_mask": True,
            "speech_cond_prompt_len": 20,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "head_dim": 16,
            "perceiver_queries": 4,
            "perceiver_heads": 2,
            **sizes,
        }
    )
    t3, random = T3(config), np.random.default_rng(seed)

    def value(key: str, shape: tuple[int, ...]) -> mx.array:
        normal = random.standard_normal(shape)
        if len(shape) == 1:
            values = 1 + 0.1 * normal if key.endswith("weight") else 0.1 * normal
        elif "emb" in key:
            values = normal
        else:
            values = (4.0 if key.startswith("speech_head") else 1.0) * normal / shape[-1] ** 0.5
        return mx.array(values.astype(np.float32))

    weights = sorted(tree_flatten(t3.parameters()))
    t3.update(tree_unflatten([(key, value(key, array.shape)) for key, array in weights]))
    mx.eval(t3.parameters())
    return t3


def conditioning(t3: T3, emotion: float = 0.5) -> mx.array:
    return t3.embed_conditioning(mx.ones((1, 256)) / 16, mx.arange(20)[None], emotion)


def request(t3: T3, text=TEXTS[0], tokens: int = 20, **settings) -> FlashRequest:
    """Greedy without noise unless settings say otherwise."""
    names = ("block_size", "key", "draws", "on_token", "on_step")
    own = {name: settings.pop(name) for name in names if name in settings}
    own = {"block_size": BLOCK, **own}
    sampling = FlashSampling(**{"temperature": 0, "position_temperature": 0, **settings})
    return FlashRequest(mx.array(text), conditioning(t3), sampling, tokens, **own)


class NumpyFlash:
    """The same network in float64, which computes the whole sequence at each step."""

    def __init__(self, t3: T3, text=TEXTS[0], rows: int = 2):
        config = t3.config
        self.sizes = flash_network.FlashSizes(
            heads=config.num_attention_heads,
            start=config.start_speech_token,
            mask=config.mask_token,
        )
        tensors = {
            key.replace("tfmr.model.", "tfmr."): np.array(value)
            for key, value in tree_flatten(t3.parameters())
        }
        self.weights = Weights(tensors)
        voice, words = np.array(conditioning(t3)[0]), np.array(text)
        self.prefixes = [
            flash_network.prefix_rows(self.weights, voice, words, has_text, self.sizes)
            for has_text in (True, False)[:rows]
        ]

    def predict(self, blocks: list[np.ndarray]) -> np.ndarray:
        """Logits (n, T, V) of the last of some blocks."""
        rows = [
            flash_network.block_logits(self.weights, prefix, blocks, self.sizes)
            for prefix in self.prefixes
        ]
        return np.stack(rows)

    def prior(self, size: int = BLOCK) -> np.ndarray:
        return flash_network.prior(self.weights, size, self.sizes)

    def decode(self, lengths: list[int], stop: int = -1, noise=None, **rules):
        """Greedy tokens and steps, of which no decision is close.

        Args:
            noise: of a block, a step and a place, added to the scores.
        """
        own = {"mask": self.sizes.mask, "stop": stop, "tau": 0.5, **rules}
        own = flash.Rules(**{"prior": self.prior(max(lengths)), **own})
        margins = []

        def predict(blocks: list[np.ndarray]) -> np.ndarray:
            logits = self.predict(blocks)
            top = np.sort(flash.guided(logits, own.weight), axis=-1)
            masked = blocks[-1] == self.sizes.mask
            margins.append((top[:, -1] - top[:, -2])[masked].min())
            return logits

        noise = np.zeros((len(lengths), own.steps, max(lengths))) if noise is None else noise

        def noise_of(block: int, step: int) -> np.ndarray:
            return noise[block, step, : lengths[block]]

        tokens, steps = flash.decode(predict, lengths, own, position_noise=noise_of)
        for step in steps:
            masked = step.before == self.sizes.mask
            chosen = masked & (step.after != self.sizes.mask)
            ranked = step.scores + noise_of(step.block, step.number)
            if chosen.any() and (masked & ~chosen).any():
                margins.append(ranked[chosen].min() - ranked[masked & ~chosen].max())
        assert min(margins) > 2e-4, f"a decision is close: {min(margins):.1e}"
        return tokens, steps
