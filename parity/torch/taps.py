"""Taps of upstream's networks by forward hooks, under our names and in our layout.

Runs where neither MLX nor this library is; `taps.names` says what is called and cut otherwise, and
the process that asks for taps sends the names. What is hooked is copied at once: upstream changes
tensors in place (`+=`, in-place ReLU) after a layer has returned them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np

from ..taps.names import (
    BACKBONE,
    CHANNELS_SECOND_IN,
    CHANNELS_SECOND_OUT,
    EMBEDDINGS,
    INPUTS_UPSTREAM,
    MORE_CALLS,
    OUTPUTS,
    PADDED_OUTSIDE,
    PER_SEGMENT,
    SEGMENT,
    SWAPPED,
    TIMES,
    WITH_RELU,
)
from ..taps.recording import CALLS, Arrays, Recorder, Tap, without_repeats
from ..taps.replacing import replaced
from . import flash

# Methods that upstream calls without hooks: network, path, method.
METHODS = (
    ("s3gen", "flow.decoder.estimator", "forward"),
    ("s3gen", "speaker_encoder", "forward"),
    ("s3gen", "mel2wav", "decode"),
    ("s3gen", "tokenizer", "log_mel_spectrogram"),
    ("s3gen", "tokenizer.quantizer._codebook", "encode"),
)

Names = Sequence[tuple[str, str, str]]


class TorchRecorder(Recorder):
    """A recorder that brings upstream's calls to the form of ours.

    Attributes:
        meanflow: whether each step embeds two flow times.
        tails: by stage, the number of last positions whose T3 logits are compared; default 1.
    """

    def __init__(self, calls: int = CALLS):
        super().__init__(calls, f"{TIMES.pattern}|{EMBEDDINGS.pattern}|{SWAPPED.pattern}")
        self.meanflow = False
        self.tails: dict[str, int] = {}

    def finished(self, taps: list[Tap]) -> list[Tap]:
        taps = without_repeats(taps)
        if taps and taps[-1].stage == "flow":
            taps = self._times_together(taps)
        if taps and taps[-1].stage in MORE_CALLS:
            return _rows_apart(taps)
        for tap in taps:
            if tap.name == "t3.speech_head" and tap.stage not in MORE_CALLS:
                last = self.tails.get(tap.stage, 1)
                tap.inputs = {k: a[..., -last:, :] for k, a in tap.inputs.items()}
                tap.outputs = {k: a[..., -last:, :] for k, a in tap.outputs.items()}
        return taps

    def _times_together(self, taps: list[Tap]) -> list[Tap]:
        """Join the steps' embedded times into one call, all starts (in mean flow then all ends)."""
        kinds = 2 if self.meanflow else 1
        kept, steps = [], {}
        for tap in taps:
            if not TIMES.match(tap.name):
                kept.append(tap)
                continue
            kind = 1 if tap.name.endswith("mixer") else kinds
            steps.setdefault((tap.name, (tap.call - 1) % kind), []).append(tap)
        for (_, offset), group in steps.items():
            first = group[0]
            # Rows of guidance have the same time.
            first.inputs = _first_rows([tap.inputs for tap in group])
            first.outputs = _first_rows([tap.outputs for tap in group])
            first.call = offset + 1
        return sorted([*kept, *(group[0] for group in steps.values())], key=lambda t: t.started)


def _rows_apart(taps: list[Tap]) -> list[Tap]:
    """Make two calls of the first of each layer, as ours are: the row with text, and of that
    without text the start token, before which all is zero."""
    apart = []
    for tap in taps:
        if not BACKBONE.match(tap.name):
            apart.append(tap)
        elif tap.call > 1:
            tap.call += 1
            apart.append(tap)
        else:
            for call, rows, at in (
                (1, slice(0, 1), slice(None)),
                (2, slice(1, 2), slice(-1, None)),
            ):
                ways = [
                    {name: array[rows, at] for name, array in arrays.items()}
                    for arrays in (tap.inputs, tap.outputs)
                ]
                apart.append(replace(tap, call=call, inputs=ways[0], outputs=ways[1]))
    return apart


def _first_rows(steps: list[Arrays]) -> Arrays:
    return {name: np.concatenate([step[name][:1] for step in steps]) for name in steps[0]}


def as_numpy(value) -> np.ndarray:
    """A copy in float32, or int32."""
    if not isinstance(value, np.ndarray):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    return np.array(value, dtype=np.int32 if value.dtype.kind in "iub" else np.float32)


@contextmanager
def tapped(networks, recorder: TorchRecorder, names: Names) -> Iterator[Recorder]:
    """Record calls of upstream's layers.

    Args:
        networks: `torch_networks.Networks`; each is hooked when it is loaded.
        names: network, upstream's path and ours, see `taps.upstream_names`.
    """
    recorder.meanflow = networks.variant.meanflow
    with ExitStack() as stack:

        def hook_all(network: str, module) -> None:
            modules = dict(module.named_modules())
            methods = {path: method for owner, path, method in METHODS if owner == network}
            for owner, path, ours in names:
                if owner != network or path not in modules:
                    continue
                hook = _method if path in methods else _hooks
                stack.enter_context(hook(modules[path], ours, recorder, methods.get(path)))

        networks.when_loaded = hook_all
        try:
            stack.enter_context(_signal(recorder))
            if networks.variant.is_flash:
                stack.enter_context(_steps(recorder))
            yield recorder
        finally:
            networks.when_loaded = None


def _kind(module) -> str:
    return type(module).__name__.removeprefix("Parametrized")


@contextmanager
def _hooks(module, name: str, recorder: Recorder, _method: None) -> Iterator[None]:
    running: list[Tap | None] = []

    def before(module, args, kwargs):
        running.append(recorder.enter(name, _inputs(module, module.forward, name, args, kwargs)))

    def after(module, args, kwargs, result):
        recorder.leave(running.pop(), _outputs(_kind(module), name, result))

    handles = [
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after, with_kwargs=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _method(module, name: str, recorder: Recorder, method: str) -> Iterator[None]:
    original = getattr(module, method)

    def call(*args, **kwargs):
        inner = recorder.innermost
        if inner is not None and inner.name == name:
            return original(*args, **kwargs)
        tap = recorder.enter(name, _inputs(module, original, name, args, kwargs))
        result = original(*args, **kwargs)
        recorder.leave(tap, _outputs(_kind(module), name, result))
        return result

    setattr(module, method, call)
    try:
        yield
    finally:
        delattr(module, method)


def _inputs(module, function: Callable, name: str, args: tuple, kwargs: dict) -> Arrays:
    import torch

    kind = _kind(module)
    second = kind in CHANNELS_SECOND_IN
    if kind == "T3CondEnc":
        cond = args[0]
        values = {
            "speaker": cond.speaker_emb,
            "prompt": cond.cond_prompt_speech_emb,
            "emotion": cond.emotion_adv,
        }
    elif kind in INPUTS_UPSTREAM:
        bound = {**kwargs}
        parameters = [p for p in inspect.signature(function).parameters if p != "self"]
        bound.update(zip(parameters, args, strict=False))
        values = {ours: bound.get(theirs) for ours, theirs in INPUTS_UPSTREAM[kind].items()}
    else:
        arrays = (a for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor))
        values = {"x": next(arrays, None)}
    if kind == "CausalResnetBlock1D":
        # Ours take it after the activation that stands first in upstream's layer.
        values["time"] = torch.nn.functional.mish(values["time"])
    inputs = {}
    for role, value in values.items():
        if isinstance(value, torch.Tensor):
            inputs[role] = _cut(name, _channels_last(as_numpy(value), second))
    for pattern, start, end in PADDED_OUTSIDE:
        if pattern.search(name):
            inputs["x"] = inputs["x"][:, start : inputs["x"].shape[1] - end]
    return inputs


def _outputs(kind: str, name: str, result) -> Arrays:
    if kind == "LlamaRotaryEmbedding":
        # Each pair of channels has one angle; transformers writes it down twice.
        half = result[0].shape[-1] // 2
        return {"cos": as_numpy(result[0])[..., :half], "sin": as_numpy(result[1])[..., :half]}
    if kind == "EspnetRelPositionalEncoding":
        return {"0": as_numpy(result[1])}
    if hasattr(result, "last_hidden_state"):
        result = result.last_hidden_state
    results = result if isinstance(result, (tuple, list)) else [result]
    second = kind in CHANNELS_SECOND_OUT
    outputs = {}
    for role in OUTPUTS.get(kind, ("0",)):
        array = _cut(name, _channels_last(as_numpy(results[int(role)]), second))
        outputs[role] = np.maximum(array, 0.0) if WITH_RELU.search(name) else array
    return outputs


def _channels_last(array: np.ndarray, second: bool) -> np.ndarray:
    return np.moveaxis(array, 1, -1) if second and array.ndim > 2 else array


def _cut(name: str, array: np.ndarray) -> np.ndarray:
    return array[:, ::SEGMENT] if PER_SEGMENT.search(name) else array


@contextmanager
def _signal(recorder: TorchRecorder) -> Iterator[None]:
    """Record the functions of PyTorch and librosa under the names of ours."""
    import librosa
    import torch
    import torchaudio
    import torchaudio.compliance.kaldi as kaldi
    from chatterbox.models.s3gen.utils import mel as s3gen_mel
    from chatterbox.models.voice_encoder import melspec
    from scipy.signal import get_window

    def stft(original):
        def call(*args, **kwargs):
            bound = inspect.signature(original).bind(*args, **kwargs).arguments
            window = {"window": as_numpy(bound["window"])}
            recorder.note("audio.stft.hann_window", {"0": window["window"]})
            tap = recorder.enter("audio.stft.stft", {"x": as_numpy(bound["input"]), **window})
            result = original(*args, **kwargs)
            recorder.leave(tap, _real_and_imaginary(result.detach().mT))
            return result

        return call

    def istft(original):
        def call(x, *args, **kwargs):
            inputs = {"real": x.real.mT, "imag": x.imag.mT, "window": kwargs["window"]}
            tap = recorder.enter("audio.stft.istft", {k: as_numpy(v) for k, v in inputs.items()})
            result = original(x, *args, **kwargs)
            recorder.leave(tap, {"0": as_numpy(result)})
            return result

        return call

    def librosa_stft(original):
        def call(y, **kwargs):
            window = as_numpy(get_window("hann", kwargs["win_length"]))
            recorder.note("audio.stft.hann_window", {"0": window})
            tap = recorder.enter("audio.stft.stft", {"x": as_numpy(y), "window": window})
            result = original(y, **kwargs)
            recorder.leave(tap, _real_and_imaginary(result.T))
            return result

        return call

    def noted(name: str, change: Callable = lambda value: value, filters: Callable | None = None):
        def wrap(original):
            def call(*args, **kwargs):
                tap = recorder.enter(name, {})
                result = original(*args, **kwargs)
                if filters is not None:
                    # Upstream caches these between calls.
                    recorder.note("audio.mel.mel_filters", {"0": as_numpy(filters(*args))})
                recorder.leave(tap, {"0": as_numpy(change(result))})
                return result

            return call

        return wrap

    def voice_filters(waveform, hp, *_):
        return melspec.mel_basis(hp)

    def s3gen_filters(*_):
        return next(iter(s3gen_mel.mel_basis.values()))

    wrapped = (
        (torch, "stft", stft),
        (torch, "istft", istft),
        (librosa, "stft", librosa_stft),
        (melspec, "melspectrogram", _mel("voice_encoder_mel", noted, voice_filters)),
        (s3gen_mel, "mel_spectrogram", _mel("s3gen_mel", noted, s3gen_filters)),
        # Kaldi's leave the last bin out; ours are transposed and have it as zeros.
        (kaldi, "get_mel_banks", noted("audio.kaldi._mel_banks", lambda r: _with_nyquist(r[0]))),
        (kaldi, "_feature_window_function", noted("audio.kaldi._povey_window")),
        (kaldi, "fbank", noted("audio.kaldi.fbank")),
        (librosa.effects, "trim", noted("audio.silence.trim_silence", lambda r: r[0])),
        (librosa, "resample", noted("audio.resample.resample_soxr")),
        (torchaudio.transforms.Resample, "forward", noted("audio.resample.resample_sinc")),
    )
    with ExitStack() as stack:
        for owner, name, wrap in wrapped:
            stack.enter_context(replaced(owner, name, wrap(getattr(owner, name))))
        yield


@contextmanager
def _steps(recorder: TorchRecorder) -> Iterator[None]:
    """Record what stands around Flash's network under the names of our functions."""
    prior, counts = flash.Sentence.prior, flash.decided_counts
    propose, select = flash.propose, flash.select

    def noted_prior(sentence, size):
        tap = recorder.enter("models.flash.writer.log_prior", {})
        result = prior(sentence, size)
        recorder.leave(tap, {"0": as_numpy(result.log())})
        return result

    def noted_counts(*args):
        result = counts(*args)
        outputs = {str(i): as_numpy(np.array(count)) for i, count in enumerate(result)}
        recorder.note("models.flash.schedule.table", outputs)
        return result

    def noted_proposal(logits, prior):
        result = propose(logits, prior)
        inputs = {"logits": as_numpy(logits), "log_prior": as_numpy(prior.log())}
        outputs = {name: as_numpy(value) for name, value in result.items()}
        recorder.note("models.flash.scores.propose", outputs, inputs)
        return result

    def noted_selection(logits, prior, tokens, *args):
        result = select(logits, prior, tokens, *args)
        inputs = {
            "scores": as_numpy(propose(logits, prior)["scores"]),
            "is_masked": as_numpy(tokens == logits.shape[-1]),
        }
        recorder.note("models.flash.scores.select", {"0": as_numpy(result)}, inputs)
        return result

    with ExitStack() as stack:
        stack.enter_context(replaced(flash.Sentence, "prior", noted_prior))
        stack.enter_context(replaced(flash, "decided_counts", noted_counts))
        stack.enter_context(replaced(flash, "propose", noted_proposal))
        stack.enter_context(replaced(flash, "select", noted_selection))
        yield


def _mel(name: str, noted: Callable, filters: Callable) -> Callable:
    """Mel spectrogram, (bins, T) in upstream, as (T, bins)."""
    return noted(f"audio.mel.{name}", lambda result: as_numpy(result).swapaxes(-1, -2), filters)


def _real_and_imaginary(spectrum) -> Arrays:
    return {"0": as_numpy(spectrum.real), "1": as_numpy(spectrum.imag)}


def _with_nyquist(banks) -> np.ndarray:
    return np.pad(as_numpy(banks).T, [(0, 1), (0, 0)])
