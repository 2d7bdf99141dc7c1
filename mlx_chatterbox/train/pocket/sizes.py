"""The sizes of the pocket model: Chatterbox's networks, each as small as still serves."""

from __future__ import annotations

from ...models.s3gen.config import HiFTNetConfig


def hift_config() -> HiFTNetConfig:
    """The vocoder: a source filter over frames of 20 ms, 200 a second; about a million weights.

    31 harmonics reach 5 to 6 kHz for a woman's voice and 3 kHz for a man's; above them, as in the
    synthesisers that it learns from, there is mostly noise.
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


def flow_fields() -> dict:
    """Fields of `S3GenConfig` that are the flow's own; about 3.6 million weights.

    From little noise the flow is nearly a regression, which suits speech as regular as a
    synthesiser's, and from none at all it is understood best. Guidance, which would double the
    work, is not trained.
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
