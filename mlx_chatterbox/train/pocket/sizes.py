"""Sizes of pocket's vocoder and flow: Chatterbox's networks, as small as is still understood."""

from __future__ import annotations

from typing import Any

from ...models.s3gen.config import HiFTNetConfig


def hift_config() -> HiFTNetConfig:
    """Return the vocoder's configuration: inverse STFT frames of 20 ms, 200 a second; 1 M weights.

    31 harmonics reach 5 to 6 kHz for a woman's voice and 3 kHz for a man's; above them the
    speech of the synthesisers is mostly noise.
    """
    return HiFTNetConfig(
        base_channels=192,
        nb_harmonics=30,
        sampling_rate=24000,
        nsf_voiced_threshold=40.0,
        upsample_rates=[4],
        upsample_kernel_sizes=[8],
        istft_n_fft=480,
        istft_hop_len=120,
        resblock_kernel_sizes=[3, 7],
        resblock_dilation_sizes=[[1, 3], [1]],
        source_resblock_kernel_sizes=[3],
        source_resblock_dilation_sizes=[[1, 3]],
        f0_predictor_cond_channels=64,
        filter_source=True,
    )


def flow_fields() -> dict[str, Any]:
    """Return the flow's fields of `S3GenConfig`; about 3.6 million weights.

    It is trained from little noise, nearly as a regression, which suits speech as regular as a
    synthesiser's, and generates from none, with the fewest word errors. Guidance, which would
    double the work, is not trained.
    """
    return {
        "token_embed_dim": 160,
        "encoder_output_size": 160,
        "encoder_attention_heads": 2,
        "encoder_linear_units": 512,
        "encoder_num_blocks": 2,
        "encoder_num_up_blocks": 2,
        "decoder_channels": [128],
        "decoder_n_blocks": 1,
        "decoder_num_mid_blocks": 3,
        "decoder_num_heads": 2,
        "decoder_attention_head_dim": 64,
        "cfm_inference_cfg_rate": 0.0,
        "cfm_noise_scale": 0.1,
        "cfm_noise_temperature": 0.0,
    }
