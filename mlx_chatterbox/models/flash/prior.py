"""The predictions by which scores are calibrated, kept as long as a model's weights stay."""

from __future__ import annotations

from threading import Lock

import mlx.core as mx

from ...runtime import device
from ...runtime.parallel import prefill_threads
from ..decoder.aliases import evaluated_weights
from ..t3.prefix import KnownWeights
from ..t3.t3 import T3
from .writer import BlockWriter


class PriorMemory:
    """`BlockWriter.log_prior` of each block size that was asked for.

    With other weights (after training, in another dtype) it is computed again.
    """

    def __init__(self) -> None:
        self._weights: KnownWeights | None = None
        self._priors: dict[tuple[int, bool], mx.array] = {}
        self._lock = Lock()

    def log_prior(self, writer: BlockWriter, block_size: int) -> mx.array:
        """(V,) float32, evaluated."""
        weights = evaluated_weights(writer.t3)
        with self._lock:
            if self._weights is None or not self._weights.are(weights):
                self._weights, self._priors = KnownWeights(weights), {}
            asked = (block_size, device.on_cpu())
            if asked not in self._priors:
                with prefill_threads(writer.t3.is_small):
                    prior = writer.log_prior(block_size)
                    mx.eval(prior)
                self._priors[asked] = prior
            return self._priors[asked]


def prior_memory(t3: T3) -> PriorMemory:
    """That of a network."""
    if t3.block_priors is None:
        t3.block_priors = PriorMemory()
    return t3.block_priors
