"""Taps of our networks: `__call__` is wrapped while a recording lasts; no code is edited.

Python looks a call up in the class, so each class in the tree is wrapped, and instances are
recognised by identity. The wrapped methods and functions are those at the start of the recording:
one that a test has replaced is recorded as replaced.

While recording, the networks take their plain path, layer by layer. On a CPU of two or three cores
they would otherwise split work between two threads (`nn.parallel`), the flow's attention would
multiply by its matrices without calling the layers (`attends_by_columns`), and the flow's estimator
and encoder and a step of decoding would each run as one piece of C (`layer_by_layer`), or the last
of compiled graph. Those have no layers to look at; that they
give the same as the plain path is what `parity run` shows. C that stands inside a layer (attention,
convolutions, the LSTM) is used as ever, and its result is what is recorded.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_chatterbox.models.chattts.dvae import DVAE
from mlx_chatterbox.models.chattts.gfsq import GFSQ, ResidualQuantizer
from mlx_chatterbox.models.chattts.gpt import GPT
from mlx_chatterbox.models.decoder import llama
from mlx_chatterbox.models.decoder.native_step import NativeStep
from mlx_chatterbox.models.decoder.network import DecoderNetwork
from mlx_chatterbox.models.s3gen import campplus, estimator
from mlx_chatterbox.models.s3gen.estimator import ConditionalDecoder
from mlx_chatterbox.models.s3gen.hift import HiFTGenerator
from mlx_chatterbox.models.s3gen.native_encoder import NativeLayers
from mlx_chatterbox.models.s3gen.native_estimator import NativeEstimator
from mlx_chatterbox.models.s3tokenizer.s3tokenizer import FSQCodebook
from mlx_chatterbox.runtime import parallel

from ..taps.names import (
    APPENDED,
    BACKBONE,
    EMBEDDINGS,
    INPUTS_OURS,
    NOT_TAPPED,
    OUTPUTS,
    SWAPPED,
)
from ..taps.recording import CALLS, Arrays, Recorder, Tap, without_repeats
from ..taps.replacing import replaced

# Methods that do a layer's work besides `__call__`.
METHODS: tuple[tuple[type, str], ...] = (
    (ConditionalDecoder, "velocity"),
    (HiFTGenerator, "decode"),
    (FSQCodebook, "encode"),
    (GPT, "embed_prompt"),
    (DVAE, "log_mel"),
    *((kind, name) for kind in (GFSQ, ResidualQuantizer) for name in ("decode", "encode")),
)

# Functions: name of the tap (after a dot: inside the tap that calls), the function's own, and which
# results. Wrapped in every module that has a function of that name.
FUNCTIONS: tuple[tuple[str, str], ...] = (
    ("audio.stft.hann_window", "hann_window"),
    ("audio.stft.stft", "stft"),
    ("audio.stft.istft", "istft"),
    ("audio.mel.mel_filters", "mel_filters"),
    ("audio.mel.voice_encoder_mel", "voice_encoder_mel"),
    ("audio.mel.s3_tokenizer_log_mel", "s3_tokenizer_log_mel"),
    ("audio.mel.s3gen_mel", "s3gen_mel"),
    ("audio.kaldi.fbank", "fbank"),
    ("audio.kaldi._mel_banks", "_mel_banks"),
    ("audio.kaldi._povey_window", "_povey_window"),
    ("audio.silence.trim_silence", "trim_silence"),
    ("audio.resample.resample_soxr", "resample_soxr"),
    ("audio.resample.resample_sinc", "resample_sinc"),
    ("s3gen.flow.decoder.estimator.time_embeddings", "time_sinusoids"),
    (".pos_enc", "relative_positions"),
    ("voices.chattts.strings.normalised", "normalised"),
    ("models.flash.writer.log_prior", "log_prior"),
    ("models.flash.schedule.table", "table"),
    ("models.flash.scores.propose", "propose"),
    ("models.flash.scores.select", "select"),
)
_MODULES = (
    *("mlx_chatterbox.audio.", "mlx_chatterbox.models.", "mlx_chatterbox.voices."),
    *(f"{__package__}.{name}" for name in ("backend", "chattts", "flash")),
)


def as_numpy(value) -> np.ndarray:
    """Copy to NumPy, as float32 or int32."""
    if isinstance(value, mx.array):
        if value.dtype in (mx.bfloat16, mx.float16):
            value = value.astype(mx.float32)
        value = np.array(value)
    value = np.array(value)
    if value.dtype.kind in "iub":
        return value.astype(np.int32)
    return value.astype(np.float32)


class MLXRecorder(Recorder):
    """A recorder that knows how calls of our T3 differ from upstream's."""

    def __init__(self, calls: int = CALLS):
        # Two calls of ours may equal one of upstream's, so one more is kept.
        super().__init__(calls + 1, f"{EMBEDDINGS.pattern}|{SWAPPED.pattern}")

    def finished(self, taps: list[Tap]) -> list[Tap]:
        taps = without_repeats(taps)
        taps = _joined(taps)
        for tap in taps:
            if SWAPPED.search(tap.name):
                tap.call += 1 if tap.call % 2 else -1
        return taps


def _joined(taps: list[Tap]) -> list[Tap]:
    """Join each layer's first two calls of the backbone: the conditioning, then the rest."""
    firsts: dict[str, Tap] = {}
    seconds = {t.name for t in taps if t.call == 2 and BACKBONE.match(t.name)}
    kept = []
    for tap in taps:
        if BACKBONE.match(tap.name) and tap.name in seconds:
            if tap.call == 1:
                firsts[tap.name] = tap
                continue
            tap.call -= 1
            if tap.call == 1:
                before = firsts[tap.name]
                tap.inputs = _joined_in_time(before.inputs, tap.inputs)
                tap.outputs = _joined_in_time(before.outputs, tap.outputs)
        if "#" in tap.parent:
            parent, _, call = tap.parent.rpartition("#")
            if parent in seconds:
                tap.parent = f"{parent}#{max(int(call) - 1, 1)}"
        kept.append(tap)
    return kept


def _joined_in_time(before: Arrays, after: Arrays) -> Arrays:
    """Join along time; the one row of `before` serves every row of `after`."""
    joined = {}
    for name, array in after.items():
        first = np.broadcast_to(before[name], (len(array), *before[name].shape[1:]))
        joined[name] = np.concatenate([first, array], axis=1)
    return joined


@contextmanager
def tapped(networks: nn.Module, recorder: Recorder) -> Iterator[Recorder]:
    """Record every call of a layer of `networks`, and of the functions named above."""
    paths = {id(module): path for path, module in networks.named_modules() if path}
    paths = {key: path for key, path in paths.items() if not NOT_TAPPED.fullmatch(path)}
    classes = {type(module) for _, module in networks.named_modules()}
    with ExitStack() as stack:
        stack.enter_context(_plain_path())
        for kind in sorted(classes, key=lambda kind: kind.__name__):
            # Containers of other modules are not called.
            if issubclass(kind, Callable):
                stack.enter_context(_wrapped_method(kind, "__call__", paths, recorder))
        for kind, name in METHODS:
            stack.enter_context(_wrapped_method(kind, name, paths, recorder))
        for tap_name, name in FUNCTIONS:
            stack.enter_context(_wrapped_function(tap_name, name, recorder))
        stack.enter_context(_batch_norms(paths, recorder))
        stack.enter_context(_rotations(recorder))
        yield recorder


@contextmanager
def layer_by_layer() -> Iterator[None]:
    """Keep networks from running as one piece of C, which calls neither layers nor functions."""
    with ExitStack() as stack:
        for compiled in (NativeStep, NativeEstimator, NativeLayers):
            stack.enter_context(replaced(compiled, "of", classmethod(lambda cls, network: None)))
        yield


@contextmanager
def _plain_path() -> Iterator[None]:
    """Compute layer by layer, on one thread: see above."""
    with ExitStack() as stack:
        # `can_run_two` reads this: nothing is split while two seem to run already.
        stack.enter_context(parallel._running)
        stack.enter_context(replaced(estimator, "attends_by_columns", lambda x: False))
        stack.enter_context(layer_by_layer())
        plain = property(lambda network: network.step)
        stack.enter_context(replaced(DecoderNetwork, "compiled_step", plain))
        yield


def _wrapped_method(kind: type, method: str, paths: dict[int, str], recorder: Recorder):
    original = getattr(kind, method)

    def call(self, *args, **kwargs):
        path = paths.get(id(self))
        inner = recorder.innermost
        # A class's method may call that of its base, or another of the layer's: one call all the
        # same. Several layers that are one object have one path.
        if path is None or (inner is not None and inner.name == path):
            return original(self, *args, **kwargs)
        tap = recorder.enter(path, _inputs(self, original, args, kwargs))
        _unflatten(tap, recorder, tap.inputs if tap else {})
        result = original(self, *args, **kwargs)
        outputs = _outputs(kind.__name__, result)
        _unflatten(tap, recorder, outputs)
        if APPENDED.search(path):
            outputs = {"0": outputs["0"][..., args[0].shape[-1] :]}
        recorder.leave(tap, outputs)
        return result

    return replaced(kind, method, call)


def _inputs(layer: nn.Module, function: Callable, args: tuple, kwargs: dict) -> Arrays:
    wanted = INPUTS_OURS.get(type(layer).__name__)
    if wanted is None:
        first = next((a for a in (*args, *kwargs.values()) if isinstance(a, mx.array)), None)
        return {} if first is None else {"x": as_numpy(first)}
    bound = inspect.signature(function).bind(layer, *args, **kwargs).arguments
    return {
        name: as_numpy(bound[parameter])
        for name, parameter in wanted.items()
        if isinstance(bound.get(parameter), (mx.array, int))
    }


def _outputs(kind: str, result) -> Arrays:
    results = result if isinstance(result, (tuple, list)) else [result]
    wanted = OUTPUTS.get(kind, ("0",))
    return {name: as_numpy(results[int(name)]) for name in wanted}


def _unflatten(tap: Tap | None, recorder: Recorder, arrays: Arrays) -> None:
    """Reshape arrays of the backbone's layers, (B * T, C), to (B, T, C), in place."""
    if tap is None or not BACKBONE.match(tap.name):
        return
    whole = next((t for t in recorder.stack if t.name == "t3.tfmr.model"), None)
    if whole is None:
        return
    rows = len(whole.inputs["x"])
    for name, array in arrays.items():
        if array.ndim == 2 and array.dtype.kind == "f":
            arrays[name] = array.reshape(rows, -1, array.shape[-1])


@contextmanager
def _wrapped_function(tap_name: str, name: str, recorder: Recorder) -> Iterator[None]:
    with ExitStack() as stack:
        for module in list(sys.modules.values()):
            function = vars(module).get(name) if module else None
            if callable(function) and module.__name__.startswith(_MODULES):
                stack.enter_context(replaced(module, name, _function(tap_name, function, recorder)))
        yield


def _function(tap_name: str, original: Callable, recorder: Recorder) -> Callable:
    def call(*args, **kwargs):
        inner = recorder.innermost
        name = f"{inner.name}{tap_name}" if inner and tap_name.startswith(".") else tap_name
        # The audio functions are plain; one that wraps another of its name is one call.
        if inner is None or inner.name == name:
            return original(*args, **kwargs)
        tap = recorder.enter(name, _arguments(original, args, kwargs))
        result = original(*args, **kwargs)
        recorder.leave(tap, results_by_name(result))
        return result

    return call


def results_by_name(result) -> Arrays:
    """Results of a function: of a data class by its fields, of others by their number."""
    if is_dataclass(result):
        return {field.name: as_numpy(getattr(result, field.name)) for field in fields(result)}
    results = result if isinstance(result, tuple) else (result,)
    return {str(i): as_numpy(output) for i, output in enumerate(results)}


def _arguments(function: Callable, args: tuple, kwargs: dict) -> Arrays:
    try:
        bound = inspect.signature(function).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        bound = {str(i): value for i, value in enumerate(args)} | kwargs
    kinds = (mx.array, np.ndarray, int, float)
    return {name: as_numpy(value) for name, value in bound.items() if isinstance(value, kinds)}


@contextmanager
def _batch_norms(paths: dict[int, str], recorder: Recorder) -> Iterator[None]:
    """Record CAM++'s batch norms, computed with their ReLU in one function without the layer."""
    original = campplus.batch_norm_relu

    def call(norm, x, residual=None):
        path = paths.get(id(norm))
        # With a residual, upstream has no counterpart to compare with.
        if path is None or residual is not None:
            return original(norm, x, residual)
        tap = recorder.enter(path, {"x": as_numpy(x)})
        result = original(norm, x)
        recorder.leave(tap, {"0": as_numpy(result)})
        return result

    with replaced(campplus, "batch_norm_relu", call):
        yield


@contextmanager
def _rotations(recorder: Recorder) -> Iterator[None]:
    """Record rotary positions, a function made once for all layers, as cosines and sines."""
    original = llama.rotation

    def call(wavelengths, start, length):
        rotate = original(wavelengths, start, length)
        half = wavelengths.shape[0]
        # Turned by an angle, one and zero become its cosine and sine.
        shape = (start.shape[0], length, 1, half)
        turned = rotate(mx.concatenate([mx.ones(shape), mx.zeros(shape)], axis=-1), 1.0)[:, 0]
        outputs = {"cos": as_numpy(turned[..., :half]), "sin": as_numpy(turned[..., half:])}
        inner = recorder.innermost
        recorder.note(f"{inner.name if inner else ''}.rotary_emb", outputs)
        return rotate

    with replaced(llama, "rotation", call):
        yield
