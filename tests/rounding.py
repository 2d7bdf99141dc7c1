"""Largest change of a result by rounding, measured on the machine that runs the tests.

How a product is rounded depends on the BLAS and the kernels it chooses, on the instruction set and
on the number of rows; and networks, small ones of made-up weights above all, amplify it. So no
constant bounds by how much two ways to compute the same thing may differ on every machine. But it
can be measured: a product that has lost the fraction `lost_in_products()` is what other weights
would have given exactly, weights that differ from these at random by that fraction. So all weights
are moved by as much, a few times, and what that does to the result shows what rounding can do.

A fault shows only where rounding does little: `Rounding` fails where it does much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_map

from mlx_chatterbox.models.decoder import native_stepper, sampler
from mlx_chatterbox.models.t3 import sampler as t3_sampler
from mlx_chatterbox.models.t3.sampling import SamplingSettings, process_logits

# The number of times that weights are moved, and the factor by which results may differ more:
# four draws of a normal number all stay under an eighth of a fifth one once in thousands of times,
# and a result has many numbers that rounding moves independently.
DRAWS = 4
FACTOR = 8
# Largest change by rounding, as a fraction of the result's RMS; a larger one could hide a fault.
MOST = 1e-2
_DEPTH = 512


@cache
def lost_in_products() -> float:
    """Relative RMS error of float32 products here, the worst of a few shapes.

    MLX takes different paths for one row, for a few, and for many, and for transposed weights.
    """
    draw = np.random.default_rng(0)
    weight = draw.standard_normal((96, _DEPTH), dtype=np.float32)
    worst = np.finfo(np.float32).eps / 2
    for rows in (1, 2, 6, 17, 300):
        x = draw.standard_normal((rows, _DEPTH), dtype=np.float32)
        exact = x.astype(np.float64) @ weight.T.astype(np.float64)
        for product in (mx.array(x) @ mx.array(weight).T, mx.array(x) @ mx.array(weight.T.copy())):
            worst = max(worst, rms(np.array(product) - exact) / rms(exact))
    return worst


def rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))


def nudged(array: mx.array, draw: np.random.Generator) -> mx.array:
    """The array, changed so that exact products would give what rounded ones do; see above."""
    if not mx.issubdtype(array.dtype, mx.floating):
        return array
    wide = np.array(array.astype(mx.float32), np.float64)
    moved = wide * (1.0 + lost_in_products() * draw.standard_normal(wide.shape))
    return mx.array(moved.astype(np.float32)).astype(array.dtype)


@contextmanager
def nudged_weights(modules: Sequence[nn.Module], seed: int) -> Iterator[None]:
    """Nudge all weights until the block ends, then restore them."""
    draw = np.random.default_rng(seed)
    before = [module.parameters() for module in modules]
    try:
        for module, weights in zip(modules, before, strict=True):
            module.update(tree_map(lambda array: nudged(array, draw), weights))
        # Otherwise another thread could not read them.
        mx.eval([module.parameters() for module in modules])
        yield
    finally:
        for module, weights in zip(modules, before, strict=True):
            module.update(weights)


class _Steady(nn.Module):
    """A pitch of 120 Hz for any mel."""

    def __call__(self, mel: mx.array) -> mx.array:
        return mx.full(mel.shape[:2], 120.0)


@contextmanager
def pitched(vocoder: nn.Module, is_steady: bool = True) -> Iterator[None]:
    """The vocoder's F0 is 120 Hz until the block ends, or an eighth of what it would be.

    The excitation's phase is the sum of F0 over all that was before, so it gathers what rounding
    does to each frame, times the pitch and times the harmonic's number.
    """
    predictor = vocoder.f0_predictor
    before = predictor.classifier.parameters()
    if is_steady:
        vocoder.f0_predictor = _Steady()
    else:
        predictor.classifier.update(tree_map(lambda array: array / 8, before))
        mx.eval(predictor.parameters())
    try:
        yield
    finally:
        vocoder.f0_predictor = predictor
        predictor.classifier.update(before)


class Rounding:
    """Effect of rounding on the arrays that `compute` returns.

    Args:
        compute: takes `given` and returns an array or several.
        modules: whose weights, which it uses, are nudged.
        given: arrays that are nudged too.
        t3: what decodes in `compute`, if something does: nudged too, see `assert_no_draw_is_close`.

    Attributes:
        wanted: what `compute` returns, as NumPy's.
        moved: by how much it moved, for each array (RMS, most).
    """

    def __init__(
        self,
        compute: Callable,
        modules: Sequence[nn.Module] = (),
        given: Sequence[mx.array] = (),
        t3: nn.Module | None = None,
    ):
        draws, modules = Draws(), [*modules, *([] if t3 is None else [t3])]
        with draws.noted():
            self.wanted = _arrays(compute(*given))
        # The last sum is rounded for any weights.
        least = lost_in_products()
        self.moved = [
            (least * rms(one), least * float(np.abs(one).max(initial=0.0))) for one in self.wanted
        ]
        for seed in range(DRAWS):
            draw = np.random.default_rng(1000 + seed)
            with nudged_weights(modules, seed), draws.compared():
                found = _arrays(compute(*(nudged(array, draw) for array in given)))
            self.moved = [
                (max(before[0], now[0]), max(before[1], now[1]))
                for before, now in zip(self.moved, self._distances(found), strict=True)
            ]
        draws.check()

    def check(self, found, is_one: bool = False) -> None:
        """Assert that a result computed another way differs by no more than rounding.

        Args:
            is_one: the arrays are parts of one result, such as gradients, of which some may be
                nothing but rounding beside the others.

        Raises:
            AssertionError: it differs by more; or rounding does so much that a fault might be as
                small.
        """
        arrays = _arrays(found)
        largest = max(map(rms, self.wanted))
        for number, (distance, moved) in enumerate(
            zip(self._distances(arrays), self.moved, strict=True)
        ):
            scale = largest if is_one else rms(self.wanted[number])
            assert scale > 0.0, f"array {number} is all zeros: it would equal anything"
            told = f"array {number}: {{}} where rounding makes {{}}, of a result of RMS {scale:.3g}"
            assert FACTOR * moved[0] <= MOST * scale, told.format("a fault could hide", moved[0])
            assert distance[0] <= FACTOR * moved[0], told.format(f"RMS {distance[0]}", moved[0])
            assert distance[1] <= FACTOR * moved[1], told.format(f"up to {distance[1]}", moved[1])

    def _distances(self, found: list[np.ndarray]) -> list[tuple[float, float]]:
        assert [array.shape for array in found] == [array.shape for array in self.wanted]
        differences = [a - b for a, b in zip(found, self.wanted, strict=True)]
        return [(rms(one), float(np.abs(one).max(initial=0.0))) for one in differences]


def _arrays(result) -> list[np.ndarray]:
    several = isinstance(result, list | tuple)
    return [np.array(array, np.float64) for array in (result if several else [result])]


class Draws:
    """Draws of decoding in one thread: their inputs, and how far rounding moves those.

    Attributes:
        steps: for each step the logits after guidance, the seen tokens, and the noise, all (B, V).
        settings: of the last step.
        moved: by how much rounding moves the logits.
    """

    def __init__(self):
        self.steps: list[list[np.ndarray]] = []
        self.settings: SamplingSettings | None = None
        self.moved = 0.0

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note each draw that is made until the block ends."""
        process = t3_sampler.process_logits
        draw, noise = sampler.gumbel_noise, native_stepper.NativeStepper._noise

        def noting_process(logits, seen, settings):
            self.steps.append([np.array(logits, np.float32), np.array(seen)])
            self.settings = settings
            return process(logits, seen, settings)

        def noting_draw(keys, tokens):
            self.steps[-1].append(np.array(draw(keys, tokens)))
            return draw(keys, tokens)

        def noting_noise(stepper, rows):
            self.steps[-1].append(noise(stepper, rows))
            return self.steps[-1][-1]

        t3_sampler.process_logits, sampler.gumbel_noise = noting_process, noting_draw
        native_stepper.NativeStepper._noise = noting_noise
        try:
            yield
        finally:
            t3_sampler.process_logits, sampler.gumbel_noise = process, draw
            native_stepper.NativeStepper._noise = noise

    @contextmanager
    def compared(self) -> Iterator[None]:
        """Compare draws of nudged weights with those that were noted."""
        again = Draws()
        with again.noted():
            yield
        # Other tokens would have other logits after them, and so they would be close, too.
        assert len(again.steps) == len(self.steps), "rounding changes the number of drawn tokens"
        for ours, theirs in zip(again.steps, self.steps, strict=True):
            self.moved = max(self.moved, float(np.abs(ours[0] - theirs[0]).max()))

    def check(self) -> None:
        """Assert that each draw would be the same with other logits.

        The logits move `FACTOR` times as far as by rounding, in the worst direction.

        Raises:
            AssertionError: one would not.
        """
        for index, (logits, seen, *noise) in enumerate(self.steps):
            # There is none at temperature 0.
            noise = noise[0] if self.settings.temperature > 0 else np.zeros_like(logits)
            for row in range(len(logits)):
                own = (array[row : row + 1] for array in (logits, seen, noise))
                assert _is_clear(*own, self.settings, FACTOR * self.moved), (
                    f"draw {index} of row {row} is close: rounding moves logits by {self.moved:.2g}"
                )


def assert_no_draw_is_close(run: Callable[[], object], t3: nn.Module) -> None:
    """Assert that no draw of `run` depends on rounding; else equal tokens would be luck.

    By how much rounding moves the logits is measured, as `Rounding` does.
    """
    draws = Draws()
    with draws.noted():
        run()
    assert draws.steps
    for seed in range(DRAWS):
        with nudged_weights([t3], seed), draws.compared():
            run()
    draws.check()


def _is_clear(
    logits: np.ndarray,
    seen: np.ndarray,
    noise: np.ndarray,
    settings: SamplingSettings,
    apart: float,
) -> bool:
    """Tell whether logits that each move by `apart` draw the same token; all (1, V)."""

    def scores(logits, settings=settings):
        return (process_logits(logits.astype(np.float32), seen, settings) + noise)[0]

    plain = scores(logits)
    drawn = int(plain.argmax())
    others = np.arange(logits.shape[1]) != drawn
    if scores(logits + np.where(others, apart, -apart)).argmax() != drawn:
        return False
    # Those that would be drawn if they were not removed must stay removed.
    everything = scores(logits, replace(settings, min_p=0.0, top_p=1.0, top_k=0))
    for rival in np.flatnonzero(np.isinf(plain) & (everything > plain[drawn] - 2 * apart)):
        favoured = np.where(logits <= logits[0, rival], apart, -apart)
        if not np.isinf(scores(logits + favoured)[rival]):
            return False
    return True
