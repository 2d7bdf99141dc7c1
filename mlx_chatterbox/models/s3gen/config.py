"""Hyperparameters of S3Gen: token encoder, flow matching, speaker encoder and HiFT vocoder.

Field names and defaults of the two main classes follow the Hugging Face configuration of the same
networks (`S3GenConfig`, `HiFTNetConfig`); what that one hard-codes is added after them.
Sources: upstream `models/s3gen/s3gen.py`, `configs.py`, `hifigan.py`, `xvector.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from ...checks.config_base import MAX_SIZE, Config, divides, need
from ...checks.plain import shown
from ...errors import CheckpointError

# Positions that a dilated convolution may span; the widest that is published spans 55.
MAX_SPAN = 4096


@dataclass
class HiFTNetConfig(Config):
    """HiFT: neural source filter and inverse STFT (https://arxiv.org/abs/2309.09493)."""

    MAY_BE_ZERO: ClassVar = frozenset({"nb_harmonics"})

    in_channels: int = 80
    base_channels: int = 512
    nb_harmonics: int = 8
    sampling_rate: int = 22050
    nsf_alpha: float = 0.1
    nsf_sigma: float = 0.003
    nsf_voiced_threshold: float = 10.0
    upsample_rates: list[int] = field(default_factory=lambda: [8, 8])
    upsample_kernel_sizes: list[int] = field(default_factory=lambda: [16, 16])
    istft_n_fft: int = 16
    istft_hop_len: int = 4
    resblock_kernel_sizes: list[int] = field(default_factory=lambda: [3, 7, 11])
    resblock_dilation_sizes: list[list[int]] = field(
        default_factory=lambda: [[1, 3, 5], [1, 3, 5], [1, 3, 5]]
    )
    source_resblock_kernel_sizes: list[int] = field(default_factory=lambda: [7, 11])
    source_resblock_dilation_sizes: list[list[int]] = field(
        default_factory=lambda: [[1, 3, 5], [1, 3, 5]]
    )
    lrelu_slope: float = 0.1
    audio_limit: float = 0.99
    f0_predictor_in_channels: int = 80
    f0_predictor_cond_channels: int = 512
    # Beyond upstream, for small vocoders: the last convolution's output multiplies the source's
    # spectrum, rather than being the speech's own. The harmonics then come from the source alone,
    # and frames of 20 ms, 200 a second, are enough.
    filter_source: bool = False

    def __post_init__(self):
        rates, kernels = self.upsample_rates, self.upsample_kernel_sizes
        stages = len(rates)
        need(
            "HiFT",
            upsample_rates=stages > 0,
            upsample_kernel_sizes=len(kernels) == stages
            and all(
                k >= rate and (k - rate) % 2 == 0 for k, rate in zip(kernels, rates, strict=True)
            ),
            base_channels=stages < 31 and self.base_channels >> stages > 0,
            resblock_kernel_sizes=_are_odd(self.resblock_kernel_sizes),
            resblock_dilation_sizes=len(self.resblock_dilation_sizes)
            == len(self.resblock_kernel_sizes)
            and _span(self.resblock_kernel_sizes, self.resblock_dilation_sizes) <= MAX_SPAN,
            source_resblock_kernel_sizes=len(self.source_resblock_kernel_sizes) >= stages
            and _are_odd(self.source_resblock_kernel_sizes),
            source_resblock_dilation_sizes=min(
                len(self.source_resblock_dilation_sizes), len(self.source_resblock_kernel_sizes)
            )
            >= stages
            and _span(
                self.source_resblock_kernel_sizes[:stages],
                self.source_resblock_dilation_sizes[:stages],
            )
            <= MAX_SPAN,
            istft_n_fft=divides(self.istft_n_fft, 2),
            istft_hop_len=self.istft_hop_len <= self.istft_n_fft
            and self.samples_per_frame <= self.sampling_rate,
            audio_limit=self.audio_limit > 0,
        )

    @property
    def samples_per_frame(self) -> int:
        """Waveform samples of a mel frame."""
        return math.prod(self.upsample_rates) * self.istft_hop_len

    def layers(self) -> int:
        stages = len(self.upsample_rates)
        pairs = stages * sum(map(len, self.resblock_dilation_sizes))
        return stages + pairs + sum(map(len, self.source_resblock_dilation_sizes[:stages]))


def _span(kernels: list[int], dilations: list[list[int]]) -> int:
    """Return the positions that the widest of dilated convolutions spans; 0 without any."""
    return max(
        (kernel * one for kernel, some in zip(kernels, dilations, strict=True) for one in some),
        default=0,
    )


def _are_odd(sizes: list[int]) -> bool:
    """Return True for at least one kernel size, all odd."""
    return bool(sizes) and all(size % 2 for size in sizes)


def chatterbox_hift() -> HiFTNetConfig:
    """The vocoder inside S3Gen: 24 kHz, 480 samples a mel frame."""
    return HiFTNetConfig(
        sampling_rate=24000,
        upsample_rates=[8, 5, 3],
        upsample_kernel_sizes=[16, 11, 7],
        source_resblock_kernel_sizes=[7, 7, 11],
        source_resblock_dilation_sizes=[[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    )


@dataclass
class CAMPPlusConfig(Config):
    """CAM++ speaker encoder (https://arxiv.org/abs/2303.00332)."""

    feat_dim: int = 80
    embedding_size: int = 192
    head_channels: int = 32
    growth_rate: int = 32
    bn_size: int = 4
    init_channels: int = 128
    block_layers: list[int] = field(default_factory=lambda: [12, 24, 16])
    block_dilations: list[int] = field(default_factory=lambda: [1, 2, 2])
    segment_length: int = 100

    def __post_init__(self):
        need(
            "CAM++",
            block_layers=len(self.block_layers) > 0,
            block_dilations=len(self.block_dilations) == len(self.block_layers)
            and max(self.block_dilations, default=0) <= MAX_SPAN,
            feat_dim=self.feat_dim == _FIXED["mel_bins"],
        )

    def layers(self) -> int:
        return sum(self.block_layers)


# Most steps of the flow. More change nothing audible, and each takes its time.
MAX_CFM_STEPS = 1000

# Fields of the Hugging Face configuration that every published model has the same, and for which
# the code knows one value: another one is refused rather than ignored.
_FIXED = {
    "cfm_solver": "euler",
    "cfm_t_scheduler": "cosine",
    "decoder_act_fn": "gelu",
    "n_fft": 1920,
    "hop_length": 480,
    "win_size": 1920,
    "fmin": 0,
    "fmax": 8000,
    "mel_bins": 80,
    "sampling_rate": 24000,
    "input_frame_rate": 25,
}


@dataclass
class S3GenConfig(Config):
    """S3Gen at full size; `meanflow` adds the second time input of the distilled models."""

    MAY_BE_ZERO: ClassVar = frozenset(
        {"fmin", "encoder_num_blocks", "encoder_num_up_blocks", "decoder_n_blocks"}
        | {"decoder_num_mid_blocks"}
    )

    vocab_size: int = 6561
    token_embed_dim: int = 512
    speaker_feat_dim: int = 80
    speaker_embed_dim: int = 192
    encoder_output_size: int = 512
    encoder_attention_heads: int = 8
    encoder_linear_units: int = 2048
    encoder_num_blocks: int = 6
    encoder_num_up_blocks: int = 4
    encoder_dropout_rate: float = 0.1
    decoder_in_channels: int = 320
    decoder_out_channels: int = 80
    decoder_channels: list[int] = field(default_factory=lambda: [256])
    decoder_n_blocks: int = 4
    decoder_num_mid_blocks: int = 12
    decoder_num_heads: int = 8
    decoder_attention_head_dim: int = 64
    decoder_act_fn: str = "gelu"
    cfm_sigma_min: float = 1e-6
    cfm_solver: str = "euler"
    cfm_t_scheduler: str = "cosine"
    cfm_inference_cfg_rate: float = 0.7
    # Beyond upstream: the scale of the noise that the flow starts from, and the share of it that
    # is left in inference. A small estimator does better with less.
    cfm_noise_scale: float = 1.0
    cfm_noise_temperature: float = 1.0
    sampling_rate: int = 24000
    mel_bins: int = 80
    n_fft: int = 1920
    hop_length: int = 480
    win_size: int = 1920
    fmin: int = 0
    fmax: int = 8000
    input_frame_rate: int = 25
    token_mel_ratio: int = 2
    pre_lookahead_len: int = 3
    meanflow: bool = False
    hift: HiFTNetConfig = field(default_factory=chatterbox_hift)
    speaker_encoder: CAMPPlusConfig = field(default_factory=CAMPPlusConfig)

    def __post_init__(self):
        values = {name: getattr(self, name) for name in _FIXED}
        other = {name: value for name, value in values.items() if value != _FIXED[name]}
        if other:
            wanted = {name: _FIXED[name] for name in other}
            raise CheckpointError(f"S3Gen cannot be built with {shown(other)}; it has {wanted}.")
        width, heads = self.encoder_output_size, self.encoder_attention_heads
        frames = self.sampling_rate // self.hop_length
        need(
            "S3Gen",
            token_embed_dim=self.token_embed_dim == width,  # upstream's encoder keeps one width
            encoder_attention_heads=divides(width, heads),
            decoder_channels=len(self.decoder_channels) == 1,  # the estimator has one level
            decoder_attention_head_dim=self.decoder_attention_head_dim * self.decoder_num_heads
            <= MAX_SIZE,
            decoder_out_channels=self.decoder_out_channels == self.mel_bins,
            decoder_in_channels=self.decoder_in_channels == 4 * self.decoder_out_channels,
            token_mel_ratio=self.token_mel_ratio * self.input_frame_rate == frames,
            speaker_embed_dim=self.speaker_embed_dim == self.speaker_encoder.embedding_size,
        )

    def check_vocoder(self) -> None:
        """Raise CheckpointError unless the vocoder takes the flow's mels."""
        hift = self.hift
        need(
            "S3Gen's vocoder",
            sampling_rate=hift.sampling_rate == self.sampling_rate,
            in_channels=hift.in_channels == hift.f0_predictor_in_channels == self.mel_bins,
            upsample_rates=hift.samples_per_frame == self.hop_length,
        )

    def layers(self) -> int:
        stages = self.decoder_num_mid_blocks + 2
        own = self.encoder_num_blocks + self.encoder_num_up_blocks
        return own + stages * max(self.decoder_n_blocks, 1) + super().layers()
