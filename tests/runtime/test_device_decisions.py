"""Every decision by device is taken both ways, and both give the same result.

`device.pretend` makes the whole program decide as on a GPU, while MLX computes here. The sources
are read for decisions, so that one that is added without being run both ways makes the last test
fail.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_map

from mlx_chatterbox import ChatterboxTTS, ChatterboxTurboTTS, ChatterboxVC
from mlx_chatterbox.chattts import Chat
from mlx_chatterbox.models.decoder.native_step import NativeStep
from mlx_chatterbox.models.flash import decoding as flash
from mlx_chatterbox.nn import (
    activations,
    attention,
    conv,
    cpu_kernels,
    norm,
    quantized_linear,
    rotary,
)
from mlx_chatterbox.nn.conv2d import Conv2d
from mlx_chatterbox.nn.lstm import LSTM
from mlx_chatterbox.runtime import device, native, parallel
from mlx_chatterbox.train.tasks import vocoder
from tests.models.small_flash import request, small_flash
from tests.runtime.decisions import PACKAGE, decisions, is_whole_file, not_taken_both_ways, noted

SHORT = {"max_new_tokens": 12, "n_cfm_timesteps": 2, "seed": 1}


@pytest.fixture(scope="module")
def taken():
    """Branches taken by each decision, by (file, line)."""
    with noted() as ways, pytest.MonkeyPatch.context() as patch:
        # A machine that gains from two threads.
        patch.setattr(parallel, "_cores", lambda: 2)
        yield ways


def both(work: Callable) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Results of `work` by the branches of a CPU and of a GPU, as lists of float64 arrays."""
    results = []
    for kind in device.KINDS:
        with device.pretend(kind):
            made = work()
            made = made if isinstance(made, (list, tuple)) else [made]
            made = [one.astype(mx.float32) if isinstance(one, mx.array) else one for one in made]
            results.append([np.array(one, dtype=np.float64) for one in made])
    return tuple(results)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.sqrt(((found - expected) ** 2).sum() / max((expected**2).sum(), 1e-30)))


def normal(*shape: int, dtype=mx.float32) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(sum(shape))).astype(dtype)


def filled(layer: nn.Module, dtype=mx.float32) -> nn.Module:
    """The layer, filled with weights that are the same each time."""
    layer.update(tree_map(lambda weight: normal(*weight.shape) / 8, layer.parameters()))
    layer.set_dtype(dtype)
    layer.eval()
    return layer


def conv2d(dtype) -> mx.array:
    return filled(Conv2d(16, 24, 3, 2, 1), dtype)(normal(1, 20, 15, 16, dtype=dtype))


def quantized(dtype) -> mx.array:
    weight = normal(64, 128) / 11
    layer = nn.QuantizedLinear(128, 64, group_size=64, bits=8)
    layer.weight, layer.scales, layer.biases = mx.quantize(weight.astype(dtype), 64, 8)
    layer.bias = mx.zeros((64,), dtype)
    quantized_linear.install_cpu_kernels(layer)
    return layer(normal(30, 128, dtype=dtype))


def attended(frames: int, dtype=mx.float32, rows: int = 1) -> mx.array:
    given = (normal(rows, 2, frames, 16 + i, dtype=dtype)[..., :16] for i in range(3))
    return attention.attend(*given, 0.25)


def rotated() -> mx.array:
    rotate = rotary.rotation(1.3 ** mx.arange(8), mx.array([3, 0]), 5)
    return rotate(normal(2, 5, 4, 16), 0.5)


LAYERS = {
    "activations": lambda: [
        activations.gelu(normal(4, 30)),
        activations.gelu_approx(normal(4, 30)),
        activations.silu(normal(4, 30)),
        activations.gated_silu(normal(4, 30), normal(5, 30)[1:]),
        activations.mish(normal(4, 30)),
        activations.elu(normal(4, 30)),
        activations.snake(normal(1, 40, 8), mx.abs(normal(8)) + 0.5),
        activations.scaled_relu(normal(1, 40, 8), normal(8), normal(9)[1:]),
        activations.exp_of_negative(-mx.abs(normal(4, 30))),
    ],
    "attention": lambda: [attended(7), attended(3, rows=16), attended(300)],
    "rotary": rotated,
    "norm": lambda: [norm.RMSNorm(32)(normal(3, 32)), norm.LayerNorm(32)(normal(3, 32))],
    "conv1d": lambda: [
        conv.conv1d(normal(1, 50, 32), normal(24, 5, 32) / 13, padding=(2, 2), evaluate=True),
        conv.conv1d(normal(1, 50, 32), normal(24, 5, 32) / 13, dilation=3),
        conv.conv1d(normal(1, 50, 32), normal(32, 7, 1) / 3, groups=32, evaluate=True),
        conv.conv_transpose1d(normal(1, 50, 32), normal(24, 8, 32) / 13, 4, 2),
    ],
    "conv2d": lambda: conv2d(mx.float32),
    "lstm": lambda: filled(LSTM(24, 32, 2))(normal(2, 9, 24)),
    "quantized": lambda: quantized(mx.float32),
    "vocoder's loss": lambda: vocoder._magnitudes(normal(2, 4000), 256, 64),
}

HALVES = {
    "attention": lambda: attended(20, mx.float16),
    "conv1d": lambda: [
        conv.conv1d(normal(1, 50, 32, dtype=mx.float16), normal(24, 5, 32, dtype=mx.float16) / 13),
        conv.conv_transpose1d(
            normal(1, 50, 32, dtype=mx.float16), normal(24, 8, 32, dtype=mx.float16) / 13, 4, 2
        ),
    ],
    "conv2d": lambda: conv2d(mx.float16),
    "quantized": lambda: quantized(mx.float16),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_gives_the_same_on_both_devices(name, taken):
    """A single layer on ordinary numbers agrees within a few roundings of float32."""
    for ours, gpus in zip(*both(LAYERS[name]), strict=True):
        assert relative(gpus, ours) < 64 * np.finfo(np.float32).eps


@pytest.mark.parametrize("name", HALVES)
def test_a_half_precision_layer_gives_the_same_on_both_devices(name, taken):
    """A CPU computes in float32 and rounds once; a GPU may round partial sums, too."""
    for ours, gpus in zip(*both(HALVES[name]), strict=True):
        assert relative(gpus, ours) < 16 * np.finfo(np.float16).eps


@pytest.mark.parametrize("model", [ChatterboxTTS, ChatterboxTurboTTS])
def test_speech_is_the_same_on_both_devices(model, small_models, recording, taken, monkeypatch):
    """Tokens are equal, from loading to samples, for sentences that end at different times.

    Random networks amplify rounding, so samples need only be similar; each layer is checked
    above.
    """
    variant = "english" if model is ChatterboxTTS else "nano"
    stops = {}

    class Stop(int):  # one token in nine
        def __eq__(self, other):
            return other % 9 == 5

        __hash__ = int.__hash__

    def work():
        tts = model.from_local(small_models(variant))
        monkeypatch.setattr(tts.networks.t3.config, "stop_speech_token", Stop(6562))
        tts.prepare_conditionals(np.tile(recording, 2))
        settings = {**SHORT, "guard": False, "watermark": False, "temperature": 0.3}
        waveforms = [tts.generate("Hello there.", **settings)]
        tokens = [tts.last_tokens]
        # More rows than our C takes at once.
        texts = [f"And this is number {number}." for number in range(17)]
        waveforms += tts.generate_batch(texts, batch_size=17, **settings)
        tokens.append(tts.last_tokens)
        stops[device.on_cpu()] = tokens
        return waveforms

    ours, gpus = both(work)
    assert stops[True] == stops[False]
    for one, other in zip(ours, gpus, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.99


def test_chattts_is_the_same_on_both_devices(speaking_chattts, taken):
    """From loading to samples: refined texts are equal, and sound is similar."""
    refined = {}

    def work():
        chat = Chat()
        chat.load("custom", custom_path=speaking_chattts)
        params = Chat.InferCodeParams(max_new_token=12, min_new_token=12)
        how = {"seed": 3, "watermark": False, "params_infer_code": params}
        result = chat.speak(["hello world", "hello"], **how)
        refined[device.on_cpu()] = [outcome.text for outcome in result.outcomes]
        return result.waveforms

    ours, gpus = both(work)
    assert refined[True] == refined[False]
    for one, other in zip(ours, gpus, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.99


@pytest.mark.parametrize("in_c", [True, False])
def test_flash_is_the_same_on_both_devices(taken, monkeypatch, in_c):
    """Blocks that are looked at after each step, and once; of a network without close decisions."""
    if not in_c:
        monkeypatch.setattr(NativeStep, "of", classmethod(lambda cls, t3: None))
    t3 = small_flash()

    def work() -> list[list[int]]:
        texts = [request(t3, tokens=n) for n in (21, 8)]
        tokens: dict[int, list[int]] = {0: [], 1: []}
        for mode in ("fast", "invariant"):
            for finished in flash.decode_together(t3, texts, mode):
                for row, written in finished:
                    tokens[row.number] += written
        return list(tokens.values())

    ours, gpus = both(work)
    assert [one.tolist() for one in ours] == [one.tolist() for one in gpus]


@pytest.mark.parametrize("invariant", [False, True])
def test_tokens_are_the_same_on_both_devices_where_mlx_makes_the_step(
    small_models, recording, taken, monkeypatch, invariant
):
    """Rows that end at different times, while others wait for their places."""
    monkeypatch.setattr(NativeStep, "of", classmethod(lambda cls, t3: None))

    class Stop(int):  # one token in nine
        def __eq__(self, other):
            return other % 9 == 5

        __hash__ = int.__hash__

    def work():
        tts = ChatterboxTTS.from_local(small_models("english"))
        monkeypatch.setattr(tts.networks.t3.config, "stop_speech_token", Stop(6562))
        tts.prepare_conditionals(np.tile(recording, 2))
        settings = {**SHORT, "guard": False, "watermark": False, "temperature": 0.3}
        texts = [f"And this is number {number}." for number in range(7)]
        tts.generate_batch(texts, batch_size=4, invariant=invariant, **settings)
        return [np.array(tts.last_tokens)]

    ours, gpus = both(work)
    np.testing.assert_array_equal(ours[0], gpus[0])


@pytest.mark.parametrize("variant", ["english", "nano"])
@pytest.mark.parametrize("with_c", [True, False])
def test_conversion_is_the_same_on_both_devices(
    with_c, variant, small_models, recording, taken, monkeypatch
):
    """Our C, and its replacement on a CPU without it; long enough for work done in halves."""
    if not with_c:
        monkeypatch.setattr(native, "_library", None)
        monkeypatch.setattr(attention, "_LARGE_SCORES", 16 * 16)

    def work():
        vc = ChatterboxVC.from_local(small_models(variant))
        vc.set_target_voice(recording)
        return vc.generate(recording, seed=1, n_cfm_timesteps=1, watermark=False)

    (ours,), (gpus,) = both(work)
    assert np.corrcoef(ours, gpus)[0, 1] > 0.99


def test_activations_without_a_tuned_kernel_are_the_same_on_both_devices(taken, monkeypatch):
    monkeypatch.setattr(cpu_kernels, "tuned", lambda: False)
    for ours, gpus in zip(*both(LAYERS["activations"]), strict=True):
        assert relative(gpus, ours) < 64 * np.finfo(np.float32).eps


def test_only_one_place_asks_for_the_device():
    """Copied names would not see the pretended device, and nothing else asks MLX for it."""
    others = []
    for file in sorted(PACKAGE.rglob("*.py")):
        name = str(file.relative_to(PACKAGE))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and "on_cpu" in {one.name for one in node.names}:
                others.append((name, node.lineno))
            asks = isinstance(node, ast.Attribute) and node.attr in ("DeviceType", "default_device")
            # In `parallel.py` it is the caller's stream, of any device.
            if asks and Path(name).name not in ("device.py", "parallel.py"):
                others.append((name, node.lineno))
    assert not others


def test_every_decision_was_taken_both_ways(taken, request):
    """This test comes last, after all that decide; `doctor/test_checks.py` has its own."""
    if not is_whole_file(request, globals()):
        pytest.skip("only together with the rest of the file")
    there = {place: name for place, name in decisions().items() if "doctor" not in place[0]}
    assert len(there) > 40
    missing = not_taken_both_ways(there, taken)
    assert not missing, "\n".join(missing)
