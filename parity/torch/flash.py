"""Stages of Flash by upstream's own package, chatterbox-flash 0.1.0, and its engine for PyTorch.

Its functions are called in the order of `ChatterboxFlashT3.generate`; runs are `generate` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from .. import stages
from ..errors import DumpError
from ..numpy.flash_steps import PADDING, RecordedSteps, recorded_steps
from ..taps.replacing import replaced
from .networks import Networks
from .t3 import as_float, as_long

Arrays = Mapping[str, np.ndarray]


def blocks(networks: Networks, inputs: Arrays) -> dict:
    """What precedes the blocks, the first half decided and committed, and the second."""
    sentence = Sentence(networks, inputs)
    first, last, second = (
        as_long(inputs, f"flash/{name}")
        for name in ("block0_tokens", "block0_final_tokens", "block1_tokens")
    )
    prior, prior_32 = sentence.prior(len(first)), sentence.prior(stages.FLASH_LARGE_BLOCK)
    results = {
        "t3/cond_emb": sentence.conditioning[0],
        "flash/prior": prior,
        "flash/prior_32": prior_32,
        "flash/prefix_shift": sentence.before[:, 0],
    }
    hidden, logits = sentence.run(first)
    proposal = propose(logits, prior)
    results |= {
        "flash/block0_hidden": hidden,
        "flash/block0_logits": logits,
        "flash/block0_pmi_cond": proposal["information"][0],
        "flash/block0_pmi_uncond": proposal["information"][1],
        "flash/block0_pmi": proposal["scores"],
    }
    sentence.commit(last)
    results["flash/block1_shift"] = sentence.before[:, 0]
    results["flash/block1_logits"] = sentence.run(second)[1]
    return results


def steps(networks: Networks, inputs: Arrays) -> dict:
    """Candidates and scores of recorded steps, and the positions that are decided by them."""
    import torch

    mask = networks.t3.mask_token_id
    recorded = recorded_steps(inputs, "greedy", mask)
    sentence, record = Sentence(networks, inputs), Record(recorded)
    prior = sentence.prior(recorded.width)
    for row, number in enumerate(recorded.numbers[:, 1]):
        tokens = torch.from_numpy(recorded.tokens(row).astype(np.int64))
        if recorded.is_first(row):
            if row:
                whole = recorded.decided(row, record.candidates, mask)
                sentence.commit(torch.from_numpy(whole.astype(np.int64)))
            decided_counts(len(tokens), recorded.num_steps)
        logits = sentence.run(tokens)[1]
        proposal = propose(logits, prior)
        after = tokens
        if recorded.is_scheduled:
            chosen = select(logits, prior, tokens, int(number), recorded.num_steps)
            after = torch.where(chosen, proposal["tokens"], tokens)
        record.add(row, proposal["tokens"], proposal["scores"], after)
    outputs = {"flash/greedy/candidates": record.candidates, "flash/greedy/pmi": record.scores}
    if recorded.is_scheduled:
        outputs["flash/greedy/after"] = record.after
    return outputs


def greedy(networks: Networks, inputs: Arrays) -> dict:
    """Tokens of `generate` without randomness."""
    recorded = recorded_steps(inputs, "greedy", networks.t3.mask_token_id)
    return {"flash/greedy/tokens": _generated(networks, inputs, recorded, None)}


def noise(networks: Networks, inputs: Arrays) -> dict:
    """Tokens of `generate` with the noise of positions given, and the blocks after each step."""
    recorded = recorded_steps(inputs, "noise", networks.t3.mask_token_id)
    uniform = np.array(inputs["flash/noise/position_uniform"], dtype=np.float32)
    record = Record(recorded)

    def of_step(block: int, step: int, positions: int) -> np.ndarray:
        return uniform[record.row(block, step), :positions]

    def heard(block: int, step: int, after: np.ndarray) -> None:
        record.after[record.row(block, step), : len(after)] = after

    with given_draws(of_step, of_step, heard):
        tokens = _generated(networks, inputs, recorded, uniform)
    return {"flash/noise/tokens": tokens, "flash/noise/after": record.after}


class Record:
    """Arrays of a run by its recorded steps, (S, D); -1, scores 0, where there is nothing."""

    def __init__(self, recorded: RecordedSteps):
        shape = recorded.before.shape
        self.candidates = np.full(shape, PADDING, np.int32)
        self.scores = np.zeros(shape, np.float32)
        self.after = np.full(shape, PADDING, np.int32)
        self._rows = {(block, step): i for i, (block, step) in enumerate(recorded.numbers.tolist())}

    def row(self, block: int, step: int) -> int:
        """Row of a step.

        Raises:
            DumpError: it is not recorded.
        """
        if (block, step) not in self._rows:
            raise DumpError(f"upstream makes step {step} of block {block}, which is not in steps.")
        return self._rows[block, step]

    def add(self, row: int, candidates, scores, after) -> None:
        """Note what a step made, of as many positions as its block has."""
        for array, values in (
            (self.candidates, candidates),
            (self.scores, scores),
            (self.after, after),
        ):
            array[row, : len(values)] = values.numpy()


class Sentence:
    """A voice and a text, and the blocks that are committed, in upstream's engine."""

    def __init__(self, networks: Networks, inputs: Arrays):
        import torch
        from chatterbox_flash import model
        from chatterbox_flash.engines import build_engine

        self._t3 = t3 = networks.t3
        self._device, self._dtype = torch.device("cpu"), torch.float32
        text = as_long(inputs, "flash/text_tokens")[None]
        self.conditioning = t3.prepare_conditioning(voice(inputs))
        prefix = t3._build_prefix_emb(self.conditioning, text, self._device, self._dtype)
        words = t3.text_emb(text) + t3.text_pos_emb(text)
        start = t3._embed_speech_tokens(torch.full((1, 1), t3.hp.start_speech_token))
        nothing = [
            model._cond_emb_zero_all(self.conditioning),
            model._zero_text_content_keep_pad(words, text, None),
        ]
        without = torch.cat([*nothing, start], dim=1)
        self._start = prefix.shape[1]
        self._engine = build_engine(
            t3, self._start + t3.hp.max_speech_tokens, self._dtype, backend="torch", batch_size=2
        )
        self.before = self._engine.prefix_forward([prefix, without])

    def prior(self, size: int):
        """Mean prediction of a block of masks, computed anew: (V,)."""
        t3 = self._t3
        t3._uncond_block_prior_cache = {}
        tokens = t3.hp.start_speech_token, t3.mask_token_id
        return t3._compute_uncond_block_prior(size, *tokens, self._dtype, self._device)

    def run(self, tokens) -> tuple:
        """Pass a block, (T,), through the layers: hidden states (2, T, C) and logits (2, T, V)."""
        import torch

        block = self._t3._embed_speech_tokens(tokens[None].expand(2, -1))
        hidden = self._engine.block_forward(block, self._start)
        shifted = torch.cat([self.before, hidden[:, : len(tokens) - 1]], dim=1)
        return hidden, self._t3.speech_head(shifted)

    def commit(self, tokens) -> None:
        """Keep a block, (T,)."""
        block = self._t3._embed_speech_tokens(tokens[None].expand(2, -1))
        hidden = self._engine.block_forward(block, self._start)
        self._engine.advance_cache(len(tokens))
        self._start += len(tokens)
        self.before = hidden[:, -1:].clone()


def propose(logits, prior) -> dict:
    """Likeliest tokens of a block after guidance, their information and scores.

    Args:
        logits: (2, T, V), that with text first.
        prior: (V,).
    """
    import torch
    from chatterbox_flash import calibration, cfg_guidance

    weight = stages.FLASH_CFG_SCALE
    guided = cfg_guidance.apply_zero_text_cfg_from_logits(*logits, weight)
    tokens = guided.argmax(dim=-1)
    shares = (row.softmax(dim=-1) for row in logits)
    information = [calibration.compute_pmi(row, tokens, marginal_prior=prior) for row in shares]
    scores = cfg_guidance.pmi_cfg_combine(*information, weight)
    return {"tokens": tokens, "information": torch.stack(information), "scores": scores}


def select(logits, prior, tokens, step: int, num_steps: int):
    """Positions that upstream's step decides: (T,) bool."""
    return _decided(logits, prior, tokens, step, num_steps)


def _decided(logits, prior, tokens, step: int, num_steps: int):
    import torch
    from chatterbox_flash import cfg_guidance, model

    weight, length = stages.FLASH_CFG_SCALE, len(tokens)
    mask = torch.iinfo(torch.int64).max
    masked = torch.where(tokens == _mask_of(logits), mask, tokens)
    counts = model._omnivoice_unmask_schedule(length, num_steps, stages.FLASH_SCHEDULE_SHIFT)
    result = model._pmi_count_early_step_unmask(
        cfg_guidance.apply_zero_text_cfg_from_logits(*logits, weight),
        masked,
        bl=length,
        k=step,
        K=num_steps,
        MASK=mask,
        device=logits.device,
        temperature=0.0,
        temperature_sampling="multinomial",
        omnivoice_unmask_schedule_k=counts[step],
        time_shift_tau=stages.FLASH_TIME_SHIFT,
        prior_override_v=prior,
        block_marginal_prior=None,
        pmi_cfg_probs_c_bl=logits[0].softmax(dim=-1),
        pmi_cfg_probs_u_bl=logits[1].softmax(dim=-1),
        cfg_scale_for_pmi=weight,
        position_temperature=0.0,
    )
    return (masked == mask) & (result["xt_step"] != mask)


def _mask_of(logits) -> int:
    """The mask, which comes after the tokens that can be predicted."""
    return logits.shape[-1]


def decided_counts(length: int, num_steps: int) -> list[int]:
    """Positions that each step of a block decides, by upstream's step on any scores."""
    import torch

    scores = torch.arange(length, dtype=torch.float32)
    logits = torch.stack([torch.stack([scores / length, torch.zeros(length)], dim=1)] * 2)
    tokens, prior, counts = torch.full((length,), 2), torch.full((2,), 0.5), []
    for step in range(num_steps):
        chosen = _decided(logits, prior, tokens, step, num_steps)
        counts.append(int(chosen.sum()))
        tokens = torch.where(chosen, 0, tokens)
        if not (tokens == 2).any():
            break
    return counts


def voice(inputs: Arrays):
    """Upstream's conditioning of T3."""
    from chatterbox.models.t3.modules.cond_enc import T3Cond

    return T3Cond(
        speaker_emb=as_float(inputs, "flash/speaker_emb").view(1, -1),
        cond_prompt_speech_tokens=as_long(inputs, "flash/cond_prompt_tokens")[None],
        emotion_adv=as_float(inputs, "flash/emotion").view(1, 1, 1),
    )


def _generated(networks: Networks, inputs: Arrays, recorded: RecordedSteps, uniform) -> np.ndarray:
    """Tokens of `generate`; with `uniform` any temperature of positions over 0, which has no
    size there."""
    t3 = networks.t3
    t3.set_block_size(recorded.width)
    t3._uncond_block_prior_cache = {}
    t3._cached_engine = None
    tokens = t3.generate(
        t3_cond=voice(inputs),
        text_tokens=as_long(inputs, "flash/text_tokens")[None],
        total_speech_len=sum(recorded.lengths),
        num_steps=recorded.num_steps,
        temperature=0.0,
        time_shift_tau=stages.FLASH_TIME_SHIFT,
        omnivoice_schedule_t_shift=stages.FLASH_SCHEDULE_SHIFT,
        cfg_scale=stages.FLASH_CFG_SCALE,
        position_temperature=0.0 if uniform is None else 5.0,
        use_cuda_graph=False,
        backend="torch",
    )
    return tokens[0].numpy()


@contextmanager
def given_draws(
    gumbel: Callable[..., np.ndarray],
    uniform: Callable[..., np.ndarray],
    heard: Callable[[int, int, np.ndarray], None],
) -> Iterator[None]:
    """Let `generate` draw what is given.

    Args:
        gumbel, uniform: of a block, a step and a shape: noise (T, V) of the tokens, numbers from 0
            to 1 for the positions, (T,), or for upstream's own Gumbel sampler, (T, V).
        heard: called with each step of a block and its tokens after it.
    """
    import torch
    from chatterbox_flash import model

    exact, at = model._pmi_count_early_step_unmask, [-1, 0]

    def step(logits, tokens, **settings):
        at[:] = at[0] + (settings["k"] == 0), settings["k"]
        result = exact(logits, tokens, **settings)
        heard(*at, result["xt_step"].numpy())
        return result

    def multinomial(probs, num_samples):
        return (probs.log() + torch.tensor(gumbel(*at, *probs.shape))).argmax(-1, True)

    def rand_like(like):
        return torch.tensor(uniform(*at, *like.shape))

    with (
        replaced(model, "_pmi_count_early_step_unmask", step),
        replaced(torch, "multinomial", multinomial),
        replaced(torch, "rand_like", rand_like),
    ):
        yield
