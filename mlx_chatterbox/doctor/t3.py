"""The speed of T3's decoding at full size, by precision, with random weights."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass

import mlx.core as mx
from mlx.utils import tree_flatten

from ..models.config import ModelConfig
from ..models.decoder.native_step import NativeStep
from ..models.flash.decoding import decode as decode_blocks
from ..models.flash.native_pass import NativePass
from ..models.flash.requests import FlashRequest
from ..models.flash.schedule import table
from ..models.flash.settings import usual_sampling
from ..models.t3.decoding import decode
from ..models.t3.sampling import SamplingSettings
from ..models.t3.t3 import T3
from ..runtime import device
from .examination import Examination, T3Speed
from .findings import Section
from .made_up import NEVER, configuration, fill, networks_of, size_of
from .pocket import open_pocket
from .timing import finish

TITLE = "T3, text to speech tokens"
# Seconds without which it is not begun.
LEAST = 1.0
TEXT_TOKENS = 60
TOKENS = 64
TOKENS_SHORT = 8
# Seconds that are enough for the tokens of one precision.
_ENOUGH = 8.0
# Filling a network, per gigabyte.
_FILL_SECONDS = 1.5
# Tokens of the first call, which is not counted.
_FIRST_TOKENS = 6
# Blocks that are timed after the first.
BLOCKS = 2
# Of the time that is left when T3 begins.
_FOR_S3GEN = 0.4


@dataclass(frozen=True)
class TimedDecoding:
    """One decoding of some tokens.

    Attributes:
        moments: seconds from its beginning to each token, or to each block of tokens.
        hosts: seconds that this thread had computed by then.
        together: tokens of a block, else 1.
    """

    moments: list[float]
    hosts: list[float]
    together: int = 1

    @property
    def token(self) -> float:
        """Seconds of each token after the first, what comes before and after them left out."""
        return self._each(self.moments)

    @property
    def host(self) -> float:
        """Seconds of them that this thread computes."""
        return self._each(self.hosts)

    def _each(self, seconds: list[float]) -> float:
        # The last token is known with no other step begun; a block has passes before it anyway.
        steps = seconds[1:-1] if self.together == 1 else seconds
        return (steps[-1] - steps[0]) / (len(steps) - 1) / self.together


class T3Bench:
    """A T3 with a voice and a text.

    Args:
        config: the model's, for its settings.
    """

    def __init__(self, t3: T3, config: ModelConfig):
        self.t3, self._config = t3, config
        sizes, settings = t3.config, config.generation
        draw = mx.random.key(0)
        prompt = None
        if sizes.hears_prompt:
            length = sizes.speech_cond_prompt_len
            prompt = mx.random.randint(0, config.s3gen.vocab_size, (1, length), key=draw)
        speaker = mx.random.normal((1, sizes.speaker_embed_size), key=draw) / 16
        self._past = t3.conditioning_cache(t3.embed_conditioning(speaker, prompt, 0.5))
        words = mx.random.randint(1, min(90, sizes.text_tokens_dict_size), (TEXT_TOKENS,), key=draw)
        self._text = words.astype(mx.int32)
        finish([self._past.keys, self._past.values, self._text])
        self._settings = SamplingSettings(
            settings.temperature, settings.repetition_penalty, settings.min_p, settings.top_p,
            settings.top_k, settings.sampler_order,
        )  # fmt: skip
        self.together = config.blocks.size if sizes.has_mask else 1

    def decode(self, tokens: int) -> TimedDecoding:
        """Decode a number of tokens, 4 or two blocks at least, and whole blocks."""
        finish()
        moments, hosts = [], []
        began, computed, written = time.perf_counter(), time.thread_time(), 0
        for some in self._steps(tokens):
            written += some
            moments.append(time.perf_counter() - began)
            hosts.append(time.thread_time() - computed)
        if written != tokens:
            raise RuntimeError(f"T3 stopped after {written} of {tokens} tokens")
        return TimedDecoding(moments, hosts, self.together)

    def _steps(self, tokens: int) -> Iterator[int]:
        """Decode, and yield how many tokens have come, each time that some have."""
        key, generation = mx.random.key(1), self._config.generation
        if self.together > 1:
            sampling = usual_sampling(self._config)
            request = FlashRequest(self._text, self._past, sampling, tokens, self.together, key)
            yield from map(len, decode_blocks(self.t3, request))
            return
        weight = generation.cfg_weight
        for _ in decode(self.t3, self._past, self._text, self._settings, weight, tokens, key):
            yield 1


def cases(is_short: bool) -> list[tuple[str, str]]:
    """Variants and precisions that are worth measuring on this device, the most telling first.

    A CPU has no arithmetic of half precision, and few bits do not make it faster.
    """
    if device.on_cpu():
        plain = [(variant, "float32") for variant in ("english", "nano", "turbo", "flash")]
        return plain if is_short else [*plain, ("english", "8bit"), ("english", "4bit")]
    english = [("english", p) for p in ("float16", "float32", "bfloat16", "8bit", "4bit")]
    others = [(v, p) for v in ("flash", "nano", "turbo") for p in ("float16", "float32", "8bit")]
    return english[:2] + others[:1] + others[3:5] + english[2:] + others[1:3] + others[5:]


def examine(exam: Examination, section: Section) -> None:
    """Measure what the budget allows."""
    rows: dict[str, list[float | None]] = {}
    with section.guarded("pocket", "pocket, float32"):
        tts = open_pocket()
        t3 = tts.networks.t3
        t3.config = dataclasses.replace(t3.config, stop_speech_token=NEVER)
        bench = T3Bench(t3, tts.checkpoint.config)
        _note(section, rows, exam, bench, Case("pocket", "float32", TOKENS, is_once=False))
    if device.on_cpu():
        section.not_applicable(
            "halves", "T3 in float16 and bfloat16", "a CPU computes them number by number; how "
            "much slower their weights are read is in the limits",
        )  # fmt: skip
        if exam.is_short:
            section.left_out("few_bits", "T3 in 8 and 4 bits", "it takes more than --short has")
    # S3Gen comes later, and its time is worth as much.
    reserve = _FOR_S3GEN * max(0.0, exam.budget.left())
    for variant, precision in cases(exam.is_short):
        with section.guarded(f"{variant}_{precision}", f"{variant}, {precision}"):
            _measure(exam, section, rows, variant, precision, reserve)
    section.table(
        "speed", "T3 with a text of 60 tokens", "ms",
        ["first token, first call", "later", "a token", "of it Python", "first step's surplus"],
        rows, "the surplus is what is traced and compiled at the first step; a step in this "
        "package's C has neither Python nor surplus; flash writes blocks of 16 tokens, the first "
        "of which come together",
    )  # fmt: skip
    section.figure(
        "multilingual", "multilingual", "as english", note="the same T3 with a larger text table"
    )


def _measure(exam, section, rows, variant: str, precision: str, reserve: float) -> None:
    name, title = f"{variant}_{precision}", f"{variant}, {precision}"
    nbytes = size_of(variant, precision, "t3")
    config = configuration(variant, precision)
    guided = 1 if config.t3.is_gpt2 else 2
    parameters = size_of(variant, "float32", "t3") / 4
    token, first = exam.reading_seconds(nbytes, precision, guided), _FIRST_TOKENS
    tokens = max(6, min(TOKENS_SHORT if exam.is_short else TOKENS, int(_ENOUGH / token)))
    if config.t3.has_mask:
        size = config.blocks.size
        passes = sum(map(bool, table(size, usual_sampling(config)))) + 1
        a_pass = max(token, exam.multiplying_seconds(2 * parameters * guided * size))
        token, first, tokens = a_pass * passes / size, 2 * size, (1 + BLOCKS) * size
    case = Case(variant, precision, tokens, exam.is_short, first)
    read = TEXT_TOKENS + config.t3.speech_cond_prompt_len / guided
    prefill = exam.multiplying_seconds(2 * parameters * guided * read)
    seconds = _FILL_SECONDS * nbytes / 1e9 + prefill + case.tokens * token
    if not case.is_once:
        seconds += prefill + case.first * token
    why = exam.budget.objection(seconds, 1.3 * nbytes, reserve)
    if why:
        section.left_out(name, title, f"it takes {why}")
        return
    networks = networks_of(variant, precision)
    fill(networks.t3, precision)
    _note(section, rows, exam, T3Bench(networks.t3, config), case)
    del networks
    mx.clear_cache()


@dataclass(frozen=True)
class Case:
    """One measurement; `is_once`: of the first call alone; `first`: tokens of that, if not."""

    variant: str
    precision: str
    tokens: int
    is_once: bool
    first: int = _FIRST_TOKENS


def _note(section: Section, rows: dict, exam: Examination, bench: T3Bench, case: Case) -> None:
    weights = sum(w.nbytes for w in dict(tree_flatten(bench.t3.parameters())).values())
    first = bench.decode(case.tokens if case.is_once else case.first)
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    later = first if case.is_once else bench.decode(case.tokens)
    exam.t3[case.variant, case.precision] = T3Speed(
        later.moments[0], later.token, case.tokens, later.together
    )
    compiled = NativeStep.of if later.together == 1 else NativePass.of_blocks
    in_c = compiled(bench.t3) is not None if device.on_cpu() else False
    # The first steps of a block come with its first tokens.
    has_surplus = not in_c and later.together == 1
    surplus = first.moments[1] - first.moments[0] - later.token
    title = f"{case.variant}, {case.precision}"
    rows[title] = [
        1000 * first.moments[0],
        None if case.is_once else 1000 * later.moments[0],
        1000 * later.token,
        None if in_c else 1000 * later.host,
        1000 * surplus if has_surplus else None,
    ]
    name = f"{case.variant}_{case.precision}"
    note = f"{case.tokens} tokens timed"
    section.figure(f"{name}_weights", f"{title}: weights", weights / 1e6, "MB", note)
    if not case.is_once:
        section.figure(
            f"{name}_peak", f"{title}: memory beside them",
            (mx.get_peak_memory() - before) / 1e6, "MB", "at most while tokens are written",
        )  # fmt: skip
