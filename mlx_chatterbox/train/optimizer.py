"""AdamW with clipping by the global norm, master weights, and a loss scale for float16.

One `Optimizer` for each task. The networks hold the weights in the type that they compute in; the
optimizer holds the same weights in float32, changes those, and the networks are given a rounded
copy. In float32 both are one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx
import mlx.optimizers as optim

from ..errors import ChatterboxError

# Names of tables of embeddings in our networks, and of biases that are matrices.
_SPARED = re.compile(r"(?:^|[._])(?:emb|embedding|embed_tokens|wte|wpe)\.weight$|bias[^.]*$")


@dataclass(frozen=True)
class OptimizerSettings:
    """What the `training` section says about the optimizer, for one task.

    Attributes:
        weight_decay: on matrices and kernels; biases, norms and single numbers have none.
        max_grad_norm: gradients are scaled down to this norm; 0 leaves them.
        dtype: in which the networks compute: "float32", "float16" or "bfloat16".
        compile: whether loss and gradients are compiled.
    """

    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    dtype: str = "float32"
    compile: bool = False


class LossScale:
    """Keeps float16 gradients off zero: doubled now and then, halved whenever they overflow.

    Attributes:
        value: what the loss is multiplied by; 1 for ever where it is not `dynamic`.
    """

    GROWTH_INTERVAL = 2000
    START = 2.0**15
    MOST = 2.0**24

    def __init__(self, dynamic: bool):
        self.dynamic = dynamic
        self.value = self.START if dynamic else 1.0
        self._good = 0

    def update(self, finite: bool) -> None:
        """Note whether the last gradients were finite."""
        if not self.dynamic:
            return
        if not finite:
            self.value = max(1.0, self.value / 2.0)
            self._good = 0
            return
        self._good += 1
        if self._good == self.GROWTH_INTERVAL:
            self.value = min(self.MOST, self.value * 2.0)
            self._good = 0

    @property
    def state(self) -> dict[str, float]:
        return {"value": self.value, "good": self._good}

    @state.setter
    def state(self, state: dict[str, float]) -> None:
        self.value, self._good = float(state["value"]), int(state["good"])


def global_norm(gradients: Mapping[str, mx.array]) -> mx.array:
    """Norm of all gradients together, float32 scalar."""
    squares = [mx.square(gradients[path].astype(mx.float32)).sum() for path in sorted(gradients)]
    return mx.sqrt(mx.stack(squares).sum()) if squares else mx.array(0.0)


def has_weight_decay(path: str, parameter: mx.array) -> bool:
    """Matrices and kernels shrink; biases, norms, embeddings and single numbers do not.

    A scale that is stored with axes of length 1 is still a vector.
    """
    longer = [length for length in parameter.shape if length > 1]
    return len(longer) >= 2 and not _SPARED.search(path)


class NotFinite(ChatterboxError):
    """The loss or its gradients are no numbers any more."""


class Optimizer:
    """One task's weights, moments and loss scale.

    Args:
        parameters: the trainable weights by path, in any floating type.

    Attributes:
        master: the same by path, in float32: the weights themselves.
    """

    def __init__(self, settings: OptimizerSettings, parameters: Mapping[str, mx.array]):
        self.settings = settings
        # A copy, as the networks' own arrays are replaced by rounded ones.
        self.master = {path: value.astype(mx.float32) for path, value in parameters.items()}
        self.loss_scale = LossScale(dynamic=settings.dtype == "float16")
        self._dtype = getattr(mx, settings.dtype)
        decayed = {path for path, value in parameters.items() if has_weight_decay(path, value)}
        self._parts = [
            (sorted(decayed), self._adamw(settings.weight_decay)),
            (sorted(parameters.keys() - decayed), self._adamw(0.0)),
        ]
        for paths, adam in self._parts:
            adam.init({path: self.master[path] for path in paths})

    def _adamw(self, weight_decay: float) -> optim.AdamW:
        settings = self.settings
        return optim.AdamW(
            learning_rate=settings.learning_rate,
            betas=[settings.beta1, settings.beta2],
            eps=settings.epsilon,
            weight_decay=weight_decay,
            bias_correction=True,
        )

    def weights(self) -> dict[str, mx.array]:
        """What the networks compute with: the master weights in their type."""
        return {path: value.astype(self._dtype) for path, value in self.master.items()}

    def step(self, gradients: Mapping[str, mx.array], learning_rate: float) -> tuple[float, bool]:
        """Make one update.

        Args:
            gradients: by path, of the loss times `loss_scale.value`, in float32.

        Returns:
            The gradients' norm before clipping, and whether the update was made: gradients that
            overflow in float16 are thrown away, and the loss scale is halved.

        Raises:
            NotFinite: they are not finite, and no loss scale is to blame.
        """
        scale = self.loss_scale.value
        norm = float(global_norm(gradients)) / scale
        finite = math.isfinite(norm)
        hopeless = not self.loss_scale.dynamic or scale <= 1.0
        self.loss_scale.update(finite)
        if not finite:
            if hopeless:
                raise NotFinite(
                    "the gradients are not finite: lower training.learning_rate, or look at the "
                    "clips of this batch; bf16 and float32 have more room than fp16."
                )
            return norm, False
        limit = self.settings.max_grad_norm
        factor = 1.0 / scale
        if limit and norm > limit:
            factor *= limit / (norm + 1e-6)
        for paths, adam in self._parts:
            scaled = {path: gradients[path] * factor for path in paths}
            adam.learning_rate = learning_rate
            self.master |= adam.apply_gradients(scaled, {path: self.master[path] for path in paths})
            mx.eval(self.master, adam.state)
        return norm, True

    @property
    def arrays(self) -> dict[str, mx.array]:
        """Moments and counters by name, for saving."""
        arrays = {}
        for part, (paths, adam) in enumerate(self._parts):
            # Safetensors in other hands know no unsigned 64-bit counter; 2^31 updates are enough.
            arrays[f"{part}.step"] = adam.step.astype(mx.int32)
            for path in paths:
                for moment in ("m", "v"):
                    arrays[f"{moment}.{path}"] = adam.state[path][moment]
        return arrays

    @arrays.setter
    def arrays(self, arrays: Mapping[str, mx.array]) -> None:
        for part, (paths, adam) in enumerate(self._parts):
            adam.state["step"] = arrays[f"{part}.step"].astype(mx.uint64)
            for path in paths:
                adam.state[path] = {moment: arrays[f"{moment}.{path}"] for moment in ("m", "v")}
