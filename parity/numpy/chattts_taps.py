"""Taps of ChatTTS in NumPy: its functions are wrapped while a recording lasts.

A function that takes weights first is a layer, and those weights' path in upstream's file tells
which; the converter's rules give our name of it. Arrays are recorded in our layout.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

import numpy as np

from mlx_chatterbox.weights.conversion.chattts import RULES

from ..errors import ParityError
from ..taps.recording import Recorder
from ..taps.replacing import replaced
from . import chattts, vocoder
from .layers import Weights

Change = Callable[[np.ndarray], np.ndarray]


def _as_is(array: np.ndarray) -> np.ndarray:
    return array


def _swapped(array: np.ndarray) -> np.ndarray:
    """(..., C, T) to (..., T, C)."""
    return array.swapaxes(-1, -2)


# Functions of layers, and how the first array and the result become ours.
_LAYERS: dict[str, tuple[Change, Change]] = {
    **dict.fromkeys(("linear", "layer_norm", "rms_norm"), (_as_is, _as_is)),
    **dict.fromkeys(("attend", "gated", "llama_layer", "embed_rows"), (_as_is, _as_is)),
    **dict.fromkeys(("conv1d", "convnext_block", "body", "decode_steps"), (_swapped, _swapped)),
    **dict.fromkeys(("dequantise", "dequantise_group"), (_swapped, _swapped)),
    **dict.fromkeys(("quantise", "quantise_group"), (_swapped, _swapped)),
    "llama": (_as_is, _as_is),
    "log_mel": (_as_is, _swapped),
    "vocos": (_swapped, _as_is),
    "vocos_backbone": (_swapped, _swapped),
    "vocos_head": (_swapped, _as_is),
}


@contextmanager
def recorded(recorder: Recorder) -> Iterator[None]:
    """Record every layer of `numpy.chattts`, its transforms, and the speaker's vector."""
    with ExitStack() as stack:
        for name in _LAYERS:
            stack.enter_context(replaced(chattts, name, _layer(name, recorder)))
        stack.enter_context(replaced(chattts, "stft", _stft(recorder)))
        stack.enter_context(replaced(chattts, "istft", _istft(recorder)))
        stack.enter_context(replaced(vocoder, "get_window", _window(recorder)))
        stack.enter_context(replaced(chattts, "normalised_speaker", _speaker(recorder)))
        yield


def _layer(name: str, recorder: Recorder) -> Callable:
    original, (before, after) = getattr(chattts, name), _LAYERS[name]

    def call(w: Weights, x: np.ndarray, *args, **kwargs):
        # Ours goes on from what it has kept, so layers are called with something else there.
        if recorder.stack and recorder.stack[0].name.startswith("generate_"):
            return original(w, x, *args, **kwargs)
        tap = recorder.enter(layer_name(w.file, w.path), {"x": _narrow(before(x))})
        result = original(w, x, *args, **kwargs)
        results = _parts(result)
        recorder.leave(tap, {str(i): _narrow(after(part)) for i, part in enumerate(results)})
        return result

    return call


def _parts(result) -> tuple[np.ndarray, ...]:
    """The arrays of a result: of a list of states the last, of a spectrum two."""
    if isinstance(result, list):
        return (result[-1],)
    return (result.real, result.imag) if np.iscomplexobj(result) else (result,)


def _stft(recorder: Recorder) -> Callable:
    original = chattts.stft

    def call(x: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
        tap = recorder.enter("audio.stft.stft", {"x": _narrow(x)})
        result = original(x, n_fft, hop)
        recorder.leave(tap, {"0": _narrow(result.real.T), "1": _narrow(result.imag.T)})
        return result

    return call


def _istft(recorder: Recorder) -> Callable:
    original = chattts.istft

    def call(spectrum: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
        inputs = {"real": _narrow(spectrum.real.T), "imag": _narrow(spectrum.imag.T)}
        tap = recorder.enter("audio.stft.istft", inputs)
        result = original(spectrum, n_fft, hop)
        recorder.leave(tap, {"0": _narrow(result)})
        return result

    return call


def _window(recorder: Recorder) -> Callable:
    original = vocoder.get_window

    def call(name: str, size: int) -> np.ndarray:
        window = original(name, size)
        recorder.note("audio.stft.hann_window", {"0": _narrow(window)})
        return window

    return call


def _speaker(recorder: Recorder) -> Callable:
    original = chattts.normalised_speaker

    def call(vector: np.ndarray) -> np.ndarray:
        result = original(vector)
        inputs = {"vector": _narrow(np.asarray(vector))}
        recorder.note("voices.chattts.strings.normalised", {"0": _narrow(result)}, inputs)
        return result

    return call


def _narrow(array: np.ndarray) -> np.ndarray:
    return array.astype(np.int32 if array.dtype.kind in "iub" else np.float32)


@cache
def layer_name(file: str, path: str) -> str:
    """Our name of a layer of one of ChatTTS's files, by its path there; the file itself is ""."""
    rules, key = RULES[file], f"{path}." if path else ""
    for theirs, ours in rules.prefixes:
        if path and key.startswith(theirs):
            target = ours + key.removeprefix(theirs)
            for pattern, replacement in rules.renames:
                target = re.sub(pattern, replacement, target)
            return target.rstrip(".")
        if theirs.startswith(key):
            # A layer above those with a rule: as many names less.
            below = theirs.removeprefix(key).rstrip(".").count(".") + 1
            return ".".join(ours.rstrip(".").split(".")[:-below])
    raise ParityError(f"{file} has no layer {path}.")
