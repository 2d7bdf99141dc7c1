"""Hyperparameters of ChatTTS: GPT, the decoders of its codes, and the vocoder.

Sizes follow from the checkpoint's tensors, constants from its `asset/gpt/config.json`; the names
of `GPTConfig` are those of that file where it has one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from ...checks.config_base import MAX_SIZE, Config, divides, need
from ...checks.plain import shown
from ...errors import CheckpointError
from ..config import CHATTTS_TYPE, DTYPES, CheckpointConfig, QuantizationConfig

# Of upstream's `config.json`: what the network has no choice in, and so must say.
_FIXED: dict[str, Any] = {
    "model_type": "llama",
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "rope_scaling": None,
}
# By their names there; the others keep their names.
_RENAMED = {"rms_norm_eps": "norm_eps"}
_TAKEN = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "rms_norm_eps",
    "rope_theta",
    "max_position_embeddings",
    "num_text_tokens",
    "num_audio_tokens",
    "num_vq",
)


@dataclass
class GPTConfig(Config):
    """The Llama that writes text tokens or, four at a time, codes of sound.

    Attributes:
        num_audio_tokens: of each codebook; the last ends the speech.
        num_vq: codebooks.
        stop_text_token: `[Ebreak]`, which ends refined text.
        speaker_token: `[spk_emb]`, whose embedding is replaced by the speaker's vector.
    """

    MAY_BE_ZERO: ClassVar = frozenset({"stop_text_token", "speaker_token"})

    num_text_tokens: int = 21178
    num_audio_tokens: int = 626
    num_vq: int = 4
    stop_text_token: int = 21136
    speaker_token: int = 21143

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 20
    num_attention_heads: int = 12
    norm_eps: float = 1e-6
    max_position_embeddings: int = 4096
    rope_theta: float = 10000.0
    rope_scaling: dict = field(default_factory=dict)

    def __post_init__(self):
        largest = max(self.stop_text_token, self.speaker_token)
        need(
            "ChatTTS's GPT",
            num_attention_heads=divides(self.hidden_size, 2 * self.num_attention_heads),
            num_text_tokens=largest < self.num_text_tokens,
            # No code may be taken for the speaker's token.
            num_audio_tokens=1 < self.num_audio_tokens <= self.speaker_token,
            rope_theta=self.rope_theta > 0,
            rope_scaling=not self.rope_scaling,
        )

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def stop_code(self) -> int:
        """The code that, in any codebook, ends the speech."""
        return self.num_audio_tokens - 1

    def layers(self) -> int:
        return self.num_hidden_layers

    @classmethod
    def from_upstream(cls, values: dict[str, Any], **tokens: int) -> GPTConfig:
        """Build from upstream's `asset/gpt/config.json`, which has keys that say nothing here.

        Args:
            tokens: `stop_text_token` and `speaker_token`, where they are not the published ones.

        Raises:
            CheckpointError: a size is missing or cannot be one, or it describes another network.
        """
        if not isinstance(values, dict):
            raise CheckpointError(f"GPTConfig: expected an object, got {shown(values)}.")
        heads = values.get("num_attention_heads")
        for key, fixed in {**_FIXED, "num_key_value_heads": heads}.items():
            if values.get(key, fixed) != fixed:
                raise CheckpointError(
                    f"GPTConfig: {key} {shown(values[key])} is not supported; {shown(fixed)} is."
                )
        missing = [key for key in _TAKEN if key not in values]
        if missing:
            raise CheckpointError(f"GPTConfig: {', '.join(missing)} missing.")
        taken = {_RENAMED.get(key, key): values[key] for key in _TAKEN}
        return cls.from_dict({**taken, **tokens})


@dataclass
class BodyConfig(Config):
    """A stack of ConvNeXt blocks between two convolutions and one.

    Attributes:
        in_channels, hidden_channels, out_channels: of frames, within the blocks, of the result.
        bottleneck: channels between the first two convolutions.
    """

    in_channels: int = 384
    bottleneck: int = 128
    hidden_channels: int = 512
    out_channels: int = 384
    num_layers: int = 12
    kernel_size: int = 7
    dilation: int = 2

    def __post_init__(self):
        need("a ConvNeXt stack", kernel_size=self.kernel_size % 2 == 1)

    def layers(self) -> int:
        return self.num_layers


def _codes_decoder() -> BodyConfig:
    return BodyConfig(in_channels=512, hidden_channels=256, out_channels=512)


def _codes_encoder() -> BodyConfig:
    return BodyConfig(in_channels=512, hidden_channels=256, out_channels=1024)


@dataclass
class DVAEConfig(Config):
    """The autoencoder between mel spectrograms and codes.

    Attributes:
        groups, stages: of the quantiser; together the number of codebooks.
        levels: of each of a code's digits, an odd number.
        digits: of a code.
        n_fft, hop: of the mel spectrograms that it reads, in samples.
    """

    decoder: BodyConfig = field(default_factory=_codes_decoder)
    encoder: BodyConfig = field(default_factory=_codes_encoder)
    groups: int = 2
    stages: int = 2
    levels: int = 5
    digits: int = 4
    n_fft: int = 1024
    hop: int = 256

    def __post_init__(self):
        steps = self.encoder.out_channels
        need(
            "ChatTTS's DVAE",
            groups=divides(steps, self.groups),
            levels=self.levels % 2 == 1 and self.levels > 1,
            digits=self.levels**self.digits <= MAX_SIZE,
            decoder=steps == 2 * self.decoder.in_channels,
            hop=self.hop <= self.n_fft,
        )

    @property
    def codes(self) -> int:
        """The number of codes of a codebook."""
        return self.levels**self.digits


@dataclass
class VocosConfig(Config):
    """The vocoder (https://arxiv.org/abs/2306.00814)."""

    hidden_channels: int = 512
    inner_channels: int = 1536
    num_layers: int = 8
    kernel_size: int = 7
    n_fft: int = 1024
    hop: int = 256

    def __post_init__(self):
        need(
            "Vocos",
            kernel_size=self.kernel_size % 2 == 1,
            n_fft=self.n_fft % 2 == 0,
            hop=2 * self.hop <= self.n_fft,
        )

    def layers(self) -> int:
        return self.num_layers


@dataclass
class ChatTTSConfig(CheckpointConfig):
    """A whole ChatTTS. `decoder` reads the hidden states of the GPT, `dvae` its codes."""

    MODEL_TYPE: ClassVar = CHATTTS_TYPE
    CHOICES: ClassVar = {"variant": (CHATTTS_TYPE,), "dtype": DTYPES}

    variant: str = CHATTTS_TYPE
    dtype: str = "float32"
    gpt: GPTConfig = field(default_factory=GPTConfig)
    decoder: BodyConfig = field(default_factory=BodyConfig)
    dvae: DVAEConfig = field(default_factory=DVAEConfig)
    vocos: VocosConfig = field(default_factory=VocosConfig)
    n_mels: int = 100
    sample_rate: int = 24000
    quantization: QuantizationConfig = field(default_factory=QuantizationConfig)
    source: dict = field(default_factory=dict)

    def __post_init__(self):
        dvae = self.dvae
        need(
            "ChatTTS",
            decoder=2 * self.decoder.in_channels == self.gpt.hidden_size,
            num_vq=self.gpt.num_vq == dvae.groups * dvae.stages,
            num_audio_tokens=self.gpt.num_audio_tokens == dvae.codes + 1,
            hop=dvae.hop == self.vocos.hop,
        )

    @property
    def samples_per_step(self) -> int:
        """Samples of a step of the GPT, which is two mel frames."""
        return 2 * self.vocos.hop

    def check_tokenizer(self, speaker_id: int, end_id: int, size: int, name: object) -> None:
        """Raise CheckpointError unless a tokenizer is the GPT's.

        Args:
            speaker_id, end_id: of `[spk_emb]` and `[Ebreak]`.
            size: of the vocabulary.
            name: of the checkpoint, for the message.
        """
        gpt = self.gpt
        own = (gpt.speaker_token, gpt.stop_text_token)
        if (speaker_id, end_id) != own or size > gpt.num_text_tokens:
            raise CheckpointError(
                f"{name}: the tokenizer has {size} tokens, [spk_emb] {speaker_id} and [Ebreak] "
                f"{end_id}; the GPT has {gpt.num_text_tokens}, {own[0]} and {own[1]}: they do not "
                "belong together."
            )
