"""The machine's limits, measured through MLX, by which all other times are explained."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from ..nn.attention import attend
from ..nn.conv import conv1d, conv1d_by_taps
from ..nn.quantized_linear import install_cpu_kernels
from ..runtime import device
from .examination import Examination
from .findings import Section
from .made_up import GROUP_SIZE, bits_of, fill, float_type
from .timing import finish, typical

TITLE = "Limits"
# Seconds without which it is not begun.
LEAST = 5.0
PRECISIONS = ("float32", "float16", "bfloat16", "8bit", "4bit")
ROWS = (1, 2, 4, 16)
WIDTH = 4096
# Far beyond any cache.
_BYTES, _BYTES_SHORT = 512 * 2**20, 128 * 2**20
# A figure is not worth more seconds than this; what takes longer is timed once.
_PATIENCE = 0.4
# Of the whole time, kept for what comes later: a slow or busy machine must not spend it all here.
_FOR_THE_REST = 0.8
_CHANNELS, _KERNELS = (64, 128, 256, 512), (3, 7, 11)
# The flow's attention over 14 s, reference included.
_ATTENTION = (2, 8, 700, 64)
_CHAIN = 400


class _Stack(nn.Module):
    """Weights that lie apart, as those of a network's layers do."""

    def __init__(self, count: int):
        super().__init__()
        self.layers = [nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(count)]


def weights_of(precision: str, nbytes: int) -> nn.Module:
    """Layers of about `nbytes` together, of the kind that T3 has in that precision."""
    width = bits_of(precision) / 8 or getattr(mx, precision).size
    stack = _Stack(max(1, round(nbytes / (WIDTH * WIDTH * width))))
    if bits_of(precision):
        nn.quantize(stack, GROUP_SIZE, bits_of(precision))
        install_cpu_kernels(stack)
    return fill(stack, precision)


def reading_speed(stack: nn.Module, precision: str, rows: int) -> float:
    """Bytes of weights a second in `x @ W.T`, x having a few rows."""
    x = mx.random.normal((rows, WIDTH)).astype(getattr(mx, float_type(precision)))
    layers = stack.layers
    finish(x)
    seconds = typical(lambda: layers[0](x), repeats=1, warm_up=0)
    if seconds > _PATIENCE / 4:
        # Reading alone does not take that long.
        layers = layers[:1]
    else:
        seconds = typical(lambda: [layer(x) for layer in layers], at_most=_PATIENCE)
    weights = dict(tree_flatten([one.parameters() for one in layers])).values()
    return sum(weight.nbytes for weight in weights) / seconds


def multiplying_speed(dtype: mx.Dtype) -> float:
    """Operations a second of a product of two square matrices, as large as makes sense."""
    size = 256
    while True:
        a, b = (mx.random.normal((size, size)).astype(dtype) for _ in range(2))
        finish([a, b])
        seconds = typical(partial(mx.matmul, a, b), repeats=3, at_most=_PATIENCE)
        if seconds > 0.03 or size >= 8192:
            return 2 * size**3 / seconds
        size *= 2


def kernel_seconds() -> float:
    """Seconds of one small operation that waits for the one before it."""
    x, step = mx.ones((256,)), mx.full((256,), 1e-3)
    finish([x, step])

    def chain() -> mx.array:
        out = x
        for _ in range(_CHAIN // 2):
            out = mx.tanh(out) + step
        return out

    return typical(chain, repeats=5, at_most=_PATIENCE) / _CHAIN


def examine(exam: Examination, section: Section) -> None:
    """Measure all of it."""
    with section.guarded("reading", "reading of weights"):
        _measure_reading(exam, section)
    for dtype in ("float32", "float16"):
        with section.guarded(f"multiplying_{dtype}", f"products of {dtype}"):
            exam.multiplying[dtype] = speed = multiplying_speed(getattr(mx, dtype))
            section.figure(
                f"multiplying_{dtype}", f"large products, {dtype}", speed / 1e9, "GFLOP/s"
            )
    with section.guarded("kernel", "a small kernel"):
        section.figure(
            "kernel",
            "a small kernel that waits for another",
            1e6 * kernel_seconds(),
            "us",
            "a T3 step has hundreds",
        )
    for name, title, measure in (
        ("convolution", "convolutions", lambda: _measure_convolutions(exam, section)),
        ("attention", "attention", lambda: _measure_attention(section)),
    ):
        with section.guarded(name, title):
            if exam.allows(section, name, title, 1.0, reserve=_reserve(exam)):
                measure()


def _reserve(exam: Examination) -> float:
    return _FOR_THE_REST * exam.budget.seconds


def _measure_reading(exam: Examination, section: Section) -> None:
    nbytes = _BYTES_SHORT if exam.is_short else _BYTES
    rows: dict[str, list[float | None]] = {}
    for precision in PRECISIONS:
        title = f"reading of weights, {precision}"
        reserve, needed = _reserve(exam), 2.5 * nbytes
        if not exam.allows(section, f"reading_{precision}", title, 1.0, needed, reserve):
            continue
        with section.guarded(f"reading_{precision}", title):
            stack = weights_of(precision, nbytes)
            speeds: list[float | None] = []
            for count in ROWS:
                if speeds and exam.budget.objection(0.5, reserve=reserve):
                    speeds += [None] * (len(ROWS) - len(speeds))
                    section.left_out(
                        f"reading_{precision}_{count}", f"{title}, from {count} rows on",
                        f"it takes {exam.budget.objection(0.5, reserve=reserve)}",
                    )  # fmt: skip
                    break
                speed = reading_speed(stack, precision, count)
                exam.reading[precision, count] = speed
                speeds.append(speed / 1e9)
            rows[precision] = speeds
            del stack
            mx.clear_cache()
    section.table(
        "reading",
        "Reading of weights: x @ W.T with so many rows of x",
        "GB/s",
        [f"{count} row{'s' if count > 1 else ''}" for count in ROWS],
        rows,
        "a decoding step reads all weights once, for 2 rows with guidance, else for 1; a CPU "
        "computes halves number by number" if device.on_cpu() else
        "a decoding step reads all weights once, for 2 rows with guidance, else for 1",
    )  # fmt: skip


def _measure_convolutions(exam: Examination, section: Section) -> None:
    ways: dict[str, Callable[..., mx.array]] = {"MLX": mx.conv1d, "by taps": conv1d_by_taps}
    if device.on_cpu():
        ways["as used"] = lambda x, weight: conv1d(x, weight, evaluate=True)
    columns: list[str] = []
    rows: dict[str, list[float]] = {}
    for channels in _CHANNELS[1:3] if exam.is_short else _CHANNELS:
        # The vocoder has fewer channels where it has more frames.
        frames = 409_600 // channels
        for kernel in _KERNELS[1:2] if exam.is_short else _KERNELS:
            x = mx.random.normal((1, frames, channels))
            weight = mx.random.normal((channels, kernel, channels)) / channels
            finish([x, weight])
            operations = 2 * (frames - kernel + 1) * kernel * channels**2
            columns.append(f"{channels} x {kernel}")
            for way, function in ways.items():
                seconds = typical(partial(function, x, weight), repeats=3, at_most=_PATIENCE)
                rows.setdefault(way, []).append(operations / seconds / 1e9)
    section.table(
        "convolution", "Convolutions, channels x taps, float32", "GFLOP/s", columns, rows,
        "the vocoder is made of these",
    )  # fmt: skip


def _measure_attention(section: Section) -> None:
    types = ("float32",) if device.on_cpu() else ("float32", "float16")
    rows: dict[str, list[float | None]] = {}
    for dtype in types:
        queries, keys, values = (
            mx.random.normal(_ATTENTION).astype(getattr(mx, dtype)) for _ in range(3)
        )
        length, scale = _ATTENTION[2], _ATTENTION[3] ** -0.5
        mask = mx.where(mx.arange(length) > length - 10, -6e4, 0.0).astype(queries.dtype)
        mask = mx.broadcast_to(mask, (_ATTENTION[0], 1, length, length))
        finish([queries, keys, values, mask])
        ways: dict[str, Callable[..., mx.array]] = {"fused": _fused}
        if device.on_cpu():
            ways["as used"] = attend
        for way, function in ways.items():
            works = [partial(function, queries, keys, values, scale, bias) for bias in (None, mask)]
            rows[f"{way}, {dtype}"] = [
                1000 * typical(work, repeats=3, at_most=_PATIENCE) for work in works
            ]
    section.table(
        "attention", "Attention, 2 x 8 heads of 64 over 700 frames", "ms",
        ["without mask", "with mask"], rows, "the flow does this 56 times a step",
    )  # fmt: skip


def _fused(queries, keys, values, scale, bias):
    return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=bias)
