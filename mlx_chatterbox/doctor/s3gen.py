"""The speed of S3Gen at full size, stage by stage, with random weights."""

from __future__ import annotations

import time

import mlx.core as mx

from ..models.config import ModelConfig
from ..models.s3gen.s3gen import S3Gen
from ..runtime import device
from ..voices.voice import embed_voice
from .counts import flow_flops, vocoder_flops
from .examination import Examination, S3GenSpeed
from .findings import Section
from .made_up import configuration, fill, networks_of, size_of
from .pocket import open_pocket, recording
from .timing import finish, samples

TITLE = "S3Gen, speech tokens to sound"
# Seconds without which it is not begun.
LEAST = 1.0
# A reference of 10 s, and a sentence of 4 s.
PROMPT_TOKENS, TOKENS = 250, 100
SPEECH_SECONDS = TOKENS / 25
_FILL_SECONDS = 1.5
# An estimate by counting operations is right within this factor.
_DOUBT = 1.5
# A stage that takes longer is timed once.
_PATIENCE, _PATIENCE_SHORT = 2.0, 0.3


class S3GenBench:
    """An S3Gen with tokens and a reference.

    Args:
        prompt, tokens: number of tokens of the reference and of the speech.
    """

    def __init__(self, s3gen: S3Gen, config: ModelConfig, prompt: int, tokens: int):
        sizes = config.s3gen
        self._s3gen, self._steps = s3gen, config.generation.cfm_steps
        frames = (prompt + tokens) * sizes.token_mel_ratio
        bins = sizes.mel_bins
        draw = mx.random.key(0)
        self._tokens = mx.random.randint(0, sizes.vocab_size, (1, prompt + tokens), key=draw)
        self._noise = mx.random.normal((1, frames, bins), key=draw).astype(s3gen.flow.dtype)
        self._mel = (
            mx.random.normal((1, tokens * sizes.token_mel_ratio, bins), key=draw) - 3.0
        ).astype(s3gen.flow.dtype)
        embedding = mx.random.normal((1, sizes.speaker_embed_dim), key=draw)
        self._speaker = s3gen.flow.project_speaker(embedding)
        self._mu = mx.zeros((1, frames, bins), dtype=s3gen.flow.dtype)
        finish([self._tokens, self._noise, self._mel, self._speaker, self._mu])

    def encode(self) -> mx.array:
        """The token encoder."""
        return self._s3gen.flow.encode(self._tokens)

    def step(self, steps: int = 1) -> mx.array:
        """The flow's estimator in that number of steps."""
        zeros = mx.zeros_like(self._mu)
        return self._s3gen.flow.decoder(self._noise, self._mu, self._speaker, zeros, steps)

    def all_steps(self) -> mx.array:
        """The flow's estimator in all of the model's steps."""
        return self.step(self._steps)

    def vocode(self) -> mx.array:
        """Mel to waveform."""
        return self._s3gen.mel2wav(self._mel, None, mx.random.key(2))[0]


def types() -> tuple[str, ...]:
    """The types that are worth measuring on this device."""
    return ("float32",) if device.on_cpu() else ("float32", "float16")


def examine(exam: Examination, section: Section) -> None:
    """Measure the S3Gen of every variant, and the making of a voice."""
    rows: dict[str, list[float | None]] = {}
    with section.guarded("pocket", "pocket, float32"):
        tts = open_pocket()
        _note(exam, section, rows, tts.networks.s3gen, tts.checkpoint.config, "pocket", "float32")
    if device.on_cpu():
        section.not_applicable(
            "halves", "S3Gen in float16", "a CPU computes halves as float32, or number by number"
        )
    for dtype in types():
        with section.guarded(f"english_{dtype}", f"english, {dtype}"):
            _english(exam, section, rows, dtype)
    for dtype in types():
        with section.guarded(f"turbo_{dtype}", f"turbo and nano, {dtype}"):
            _turbo(exam, section, rows, dtype)
    section.table(
        "stages", "4 s of speech after a reference of 10 s", "ms",
        ["token encoder", "one step", "all steps", "vocoder", "together"], rows,
        "10 steps with guidance; turbo and nano 2 without; multilingual is as english",
    )  # fmt: skip


def _seconds(stage, exam: Examination) -> float:
    patience = _PATIENCE_SHORT if exam.is_short else _PATIENCE
    seconds = samples(stage, repeats=4, warm_up=0, at_most=patience)
    # The first one meets what is new; where there is no other, it counts.
    later = sorted(seconds[1:]) or seconds
    return later[len(later) // 2]


def expected_step(config: ModelConfig) -> float:
    """Operations of one step, the token encoder left out."""
    sizes = config.s3gen
    return flow_flops(sizes, PROMPT_TOKENS, TOKENS, 1) - flow_flops(sizes, PROMPT_TOKENS, TOKENS, 0)


def _english(exam: Examination, section: Section, rows, dtype: str) -> None:
    config = configuration("english", dtype)
    frames = TOKENS * config.s3gen.token_mel_ratio
    work = flow_flops(config.s3gen, PROMPT_TOKENS, TOKENS, 1)
    work += vocoder_flops(config.s3gen.hift, frames)
    nbytes = size_of("english", dtype, "s3gen")
    runs = 1 if exam.is_short else 2
    seconds = _FILL_SECONDS * nbytes / 1e9
    seconds += runs * _DOUBT * exam.multiplying_seconds(work, dtype)
    if not exam.allows(section, f"english_{dtype}", f"english, {dtype}", seconds, 3 * nbytes):
        return
    networks = networks_of("english", dtype)
    fill(networks.s3gen, dtype)
    _note(exam, section, rows, networks.s3gen, config, "english", dtype)
    with section.guarded(f"voice_{dtype}", f"a voice, {dtype}"):
        _time_voice(exam, section, networks, config, dtype)
    del networks
    mx.clear_cache()


def _turbo(exam: Examination, section: Section, rows, dtype: str) -> None:
    """Its encoder and vocoder are English's, so that the estimator alone is left to time."""
    english = rows.get(f"english, {dtype}")
    name, title = f"turbo_{dtype}", f"turbo and nano, {dtype}"
    if english is None:
        section.left_out(name, title, "it needs English's encoder and vocoder, which were not done")
        return
    config = configuration("turbo", dtype)
    nbytes = size_of("turbo", dtype, "s3gen")
    # Without guidance it is one row instead of two, and no less on some machines.
    seconds = _FILL_SECONDS * nbytes / 1e9 + 2 * english[1] / 1000
    encoder, vocoder = english[0], english[3]
    if exam.is_short:
        section.left_out(name, f"{title}: measured", "English's step is taken for it (--short)")
        step = english[1]
        _keep(exam, rows, "turbo", dtype, encoder, step, 2 * step, vocoder, True)
        return
    if not exam.allows(section, name, title, seconds, 3 * nbytes):
        return
    networks = networks_of("turbo", dtype)
    fill(networks.s3gen.flow, dtype)
    bench = S3GenBench(networks.s3gen, config, PROMPT_TOKENS, TOKENS)
    both = 1000 * _seconds(bench.all_steps, exam)
    _keep(exam, rows, "turbo", dtype, encoder, both / 2, both, vocoder, False)
    del networks, bench
    mx.clear_cache()


def _note(exam, section, rows, s3gen: S3Gen, config: ModelConfig, variant, dtype) -> None:
    bench = S3GenBench(s3gen, config, PROMPT_TOKENS, TOKENS)
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    encoder = 1000 * _seconds(bench.encode, exam)
    step = 1000 * _seconds(bench.step, exam)
    vocoder = 1000 * _seconds(bench.vocode, exam)
    steps = config.generation.cfm_steps
    title = f"{variant}, {dtype}: {steps} steps in one go"
    together = steps * step
    is_extrapolated = True
    if exam.is_short and variant != "pocket":
        section.left_out(f"{variant}_{dtype}_steps", title, f"one step times {steps} (--short)")
    elif exam.allows(section, f"{variant}_{dtype}_steps", title, together / 1000):
        together, is_extrapolated = 1000 * _once(bench.all_steps), False
    _keep(exam, rows, variant, dtype, encoder, step, together, vocoder, is_extrapolated)
    section.figure(
        f"{variant}_{dtype}_peak", f"{variant}, {dtype}: memory beside the weights",
        (mx.get_peak_memory() - before) / 1e6, "MB", "at most, in any of its stages",
    )  # fmt: skip
    if not device.on_cpu():
        section.figure(
            f"{variant}_{dtype}_cache", f"{variant}, {dtype}: freed buffers that MLX keeps",
            mx.get_cache_memory() / 1e6, "MB",
        )  # fmt: skip


def _once(work) -> float:
    finish()
    began = time.perf_counter()
    finish(work())
    return time.perf_counter() - began


def _keep(
    exam: Examination,
    rows: dict,
    variant: str,
    dtype: str,
    encoder: float,
    step: float,
    steps: float,
    vocoder: float,
    is_extrapolated: bool,
) -> None:
    together = encoder + steps + vocoder
    rows[f"{variant}, {dtype}"] = [encoder, step, steps, vocoder, together]
    exam.s3gen[variant, dtype] = S3GenSpeed(together / 1000, SPEECH_SECONDS, is_extrapolated)


def _time_voice(exam: Examination, section: Section, networks, config, dtype: str) -> None:
    name, title = f"voice_{dtype}", f"a voice from 10 s of recording, {dtype}"
    parts = (networks.s3_tokenizer, networks.ve)
    nbytes = sum(size_of("english", dtype, part) for part in ("s3_tokenizer", "ve"))
    work = 4 * nbytes / 4 * 250
    seconds = _FILL_SECONDS * nbytes / 1e9 + 2 * exam.multiplying_seconds(work, dtype) + 1.0
    if exam.is_short:
        section.left_out(name, title, "only the pocket model's voice is made (--short)")
        return
    if not exam.allows(section, name, title, seconds, 2 * nbytes):
        return
    for part in parts:
        fill(part, dtype)
    waveform = recording(10.0)
    value = _seconds(lambda: vars(embed_voice(networks, waveform, config.generation)), exam)
    section.figure(name, title, 1000 * value, "ms", "once a voice; it can be saved")
