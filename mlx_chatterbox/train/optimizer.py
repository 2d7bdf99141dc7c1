"""AdamW with clipping by the global norm, master weights, and a loss scale for float16.

There is one `Optimizer` a task. It holds float32 master weights and updates them; the networks get
a copy rounded to the type that they compute in. In float32 the two are the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx
import mlx.optimizers as optim

from ..errors import ChatterboxError

# Names of embedding tables in our networks, and of biases that are matrices: no weight decay.
_SPARED = re.compile(r"(?:^|[._])(?:emb|embedding|embed_tokens|wte|wpe)\.weight$|bias[^.]*$")


@dataclass(frozen=True)
class OptimizerSettings:
    """One task's optimizer settings, from the `training` section.

    Attributes:
        weight_decay: of matrices and kernels; biases, norms and scalars have none.
        max_grad_norm: larger gradients are scaled down to this norm; 0: no clipping.
        dtype: type that the networks compute in: "float32", "float16" or "bfloat16".
        compile: compile loss and gradients by `mx.compile`.
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
    """A dynamic loss scale, which keeps float16 gradients from underflow.

    It is doubled after 2000 steps without overflow, and halved at every overflow.

    Attributes:
        value: factor of the loss; always 1 if not `dynamic`.
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
    """Compute the norm of all gradients together, a float32 scalar."""
    squares = [mx.square(gradients[path].astype(mx.float32)).sum() for path in sorted(gradients)]
    return mx.sqrt(mx.stack(squares).sum()) if squares else mx.array(0.0)


def has_weight_decay(path: str, parameter: mx.array) -> bool:
    """True for matrices and kernels; False for biases, norms, embeddings and scalars.

    Axes of length 1 do not count: a scale stored with such axes is a vector.
    """
    longer = [length for length in parameter.shape if length > 1]
    return len(longer) >= 2 and not _SPARED.search(path)


class NotFinite(ChatterboxError):
    """The loss or its gradients are NaN or Inf."""


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
        """Return the master weights in the type that the networks compute in."""
        return {path: value.astype(self._dtype) for path, value in self.master.items()}

    def step(self, gradients: Mapping[str, mx.array], learning_rate: float) -> tuple[float, bool]:
        """Make one update.

        Args:
            gradients: by path, of the loss times `loss_scale.value`, in float32.

        Returns:
            The gradients' norm before clipping, and whether the update was made: gradients that
            overflow in float16 are dropped, and the loss scale is halved.

        Raises:
            NotFinite: the gradients are not finite, and a smaller loss scale cannot help.
        """
        scale = self.loss_scale.value
        norm = float(global_norm(gradients)) / scale
        finite = math.isfinite(norm)
        at_smallest_scale = not self.loss_scale.dynamic or scale <= 1.0
        self.loss_scale.update(finite)
        if not finite:
            if at_smallest_scale:
                raise NotFinite(
                    "the gradients are NaN or Inf: lower training.learning_rate, or check the "
                    "clips of this batch; bf16 and float32 have a larger range than fp16."
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
            # Other safetensors readers lack unsigned 64-bit numbers; 2^31 updates are enough.
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
