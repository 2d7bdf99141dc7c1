"""Settings of Flash's decoding, with upstream's names where upstream has one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from ...checks.plain import shown
from ...errors import SettingError
from ..config import ModelConfig

# Beyond them float32 cannot represent the differences of log probabilities.
_LEAST, _MOST = 1e-6, 1e9
# Beyond it float32 cannot tell guided predictions apart.
_MOST_GUIDANCE = 1_000_000
MAX_STEPS = 1000


@dataclass(frozen=True)
class FlashSampling:
    """Rules by which the positions of a block are decided.

    The defaults are those of upstream's later scripts and of the paper's faster setting; its
    package 0.1.0 has a temperature of 0.6 and a time shift of 0.1, at which early decoding never
    happens in a whole block.

    Attributes:
        num_steps: most passes in which the positions of a block are decided.
        temperature: of the tokens; 0 takes the likeliest always.
        time_shift_tau: how much sooner than the schedule positions are decided, the paper's
            alpha: 0 not at all.
        schedule_t_shift: shape of the schedule, the paper's tau, upstream's
            `omnivoice_schedule_t_shift`: below 1 fewer positions are decided at first; 0 shares
            them out evenly.
        cfg_scale: weight of classifier-free guidance; 0 turns it and its second row off.
        position_temperature: size of the noise by which positions are selected, in units of
            their score; 0 selects the highest scores. Upstream's 0.1.0 takes any value over 0 for
            1, so that 1 is what its default of 5 does.
        prior_precompute: calibrate scores by the mean prediction of a block of masks without any
            text, upstream's `pmi_uncond_prior_precompute`; or else by that of the block itself at
            each step.
        upstream_exact: compute as upstream's 0.1.0 does: `position_temperature` has no size; a
            stop token ends its block at once, and positions before it that are still masked are
            lost; without prior and guidance, scores are calibrated by the first step of the first
            block for good.

    Raises:
        SettingError: a value outside its range.
    """

    num_steps: int = 10
    temperature: float = 0.2
    time_shift_tau: float = 0.5
    schedule_t_shift: float = 0.5
    cfg_scale: float = 1.0
    position_temperature: float = 1.0
    prior_precompute: bool = True
    upstream_exact: bool = False

    def __post_init__(self):
        _check("num_steps", self.num_steps, Integral, 1, MAX_STEPS)
        for name in ("temperature", "position_temperature"):
            if getattr(self, name) != 0:
                _check(name, getattr(self, name), Real, _LEAST, _MOST, "0 (no noise) or ")
        _check("time_shift_tau", self.time_shift_tau, Real, 0, _MOST)
        _check("schedule_t_shift", self.schedule_t_shift, Real, 0, _MOST)
        _check("cfg_scale", self.cfg_scale, Real, 0, _MOST_GUIDANCE)
        for name in ("prior_precompute", "upstream_exact"):
            if not isinstance(getattr(self, name), bool):
                raise SettingError(f"{name} must be true or false.")

    @property
    def noise_of_positions(self) -> float:
        """Size of the noise by which positions are selected."""
        if self.upstream_exact and self.position_temperature > 0:
            return 1.0
        return self.position_temperature

    @property
    def keeps_first_prior(self) -> bool:
        """True if scores are calibrated by the first step for good, as upstream does."""
        return self.upstream_exact and not self.prior_precompute and self.rows == 1

    @property
    def rows(self) -> int:
        """Product rows of a sentence: two with guidance."""
        return 2 if self.cfg_scale > 0 else 1


def usual_sampling(config: ModelConfig) -> FlashSampling:
    """The settings that suit a model best."""
    blocks, generation = config.blocks, config.generation
    return FlashSampling(
        num_steps=blocks.num_steps,
        temperature=generation.temperature,
        time_shift_tau=blocks.time_shift_tau,
        schedule_t_shift=blocks.schedule_t_shift,
        cfg_scale=generation.cfg_weight,
        position_temperature=blocks.position_temperature,
    )


def _check(name: str, value: Any, kind: type, low: float, high: float, or_else: str = "") -> None:
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    # A comparison with NaN is false.
    if not (is_number and low <= value <= high and math.isfinite(value)):
        whole = "a whole number " if kind is Integral else ""
        raise SettingError(
            f"{name} must be {or_else}{whole}from {low:g} to {high:g}; got {shown(value)}."
        )
