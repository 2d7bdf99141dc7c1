"""The work of each stage by formula from the configuration: bytes read, operations done.

A multiplication and an addition count as two operations. Counted are matrix products,
convolutions and attention, of the network as it is defined: what an implementation saves (by
polyphase filters, say) or wastes does not change the count. Norms, activations, time embeddings
and the STFT are left out: together they are under a hundredth.
"""

from __future__ import annotations

import math

FLOAT = 4


def t3_step_bytes(config, rows: int, positions: int, sentences: int = 1) -> int:
    """Bytes that one decoding step must read: every weight once, and the caches of all rows.

    Args:
        config: `T3Config` of a Llama.
        rows: sequences decoded together, with guidance two a sentence.
        positions: length of each one's cache.
        sentences: how many tokens the step yields; the result is for one of them.
    """
    width, inner = config.hidden_size, config.intermediate_size
    heads = config.num_attention_heads * config.head_dim
    layer = 4 * width * heads + 3 * width * inner + 2 * width
    weights = config.num_hidden_layers * layer + width + width * config.speech_tokens_dict_size
    cache = rows * positions * config.num_hidden_layers * 2 * heads
    return FLOAT * (weights + cache) // sentences


def flow_flops(config, prompt_tokens: int, tokens: int, steps: int) -> int:
    """Operations of the flow: token encoder, and the estimator in `steps` guided steps.

    Args:
        config: `S3GenConfig`.
        prompt_tokens, tokens: of the reference and new ones; both are computed.
        steps: of the solver; each has two rows, with mean flow one.
    """
    n = prompt_tokens + tokens
    frames = n * config.token_mel_ratio
    rows = 1 if config.meanflow else 2
    encoder = _encoder_macs(config, n)
    return 2 * (encoder + steps * rows * _estimator_macs(config, frames))


def vocoder_flops(config, frames: int) -> int:
    """Operations of the vocoder over `frames` of mel; `config` is a `HiFTNetConfig`."""
    width, bins = config.f0_predictor_cond_channels, config.istft_n_fft + 2
    layers = [3 * config.f0_predictor_in_channels * width, *[3 * width * width] * 4, width]
    macs = frames * (sum(layers) + 7 * config.in_channels * config.base_channels)
    length, channels = frames, config.base_channels
    kernels = config.resblock_kernel_sizes
    dilations = config.resblock_dilation_sizes
    for stage, rate in enumerate(config.upsample_rates):
        macs += length * config.upsample_kernel_sizes[stage] * channels * (channels // 2)
        length, channels = length * rate, channels // 2
        later = math.prod(config.upsample_rates[stage + 1 :])
        macs += length * (1 if later == 1 else 2 * later) * bins * channels
        blocks = zip(
            [*kernels, config.source_resblock_kernel_sizes[stage]],
            [*dilations, config.source_resblock_dilation_sizes[stage]],
            strict=True,
        )
        macs += sum(length * 2 * len(d) * k * channels * channels for k, d in blocks)
    return 2 * (macs + length * 7 * channels * bins)


def _encoder_macs(config, n: int) -> int:
    """The conformer at 25 frames/s, and its upper half at the mel's rate."""
    width, ratio = config.encoder_output_size, config.token_mel_ratio
    frames = n * ratio
    embed = (n + frames) * width * width
    ahead = n * (config.pre_lookahead_len + 1 + 3) * width * width
    upsample = frames * (2 * ratio + 1) * width * width
    layers = config.encoder_num_blocks * _conformer_macs(config, n)
    layers += config.encoder_num_up_blocks * _conformer_macs(config, frames)
    return embed + ahead + upsample + layers + frames * width * config.decoder_out_channels


def _conformer_macs(config, length: int) -> int:
    width, distances = config.encoder_output_size, 2 * length - 1
    projections = (4 * length + distances) * width * width
    attention = length * (2 * length + distances) * width
    return projections + attention + 2 * length * width * config.encoder_linear_units


def _estimator_macs(config, frames: int) -> int:
    """One row through the U-Net, (frames, channels)."""
    width = config.decoder_channels[0]
    inner = config.decoder_num_heads * config.decoder_attention_head_dim

    def resnet(channels: int) -> int:
        return 3 * channels * width + 3 * width * width + channels * width

    block = 4 * width * inner + 2 * frames * inner + 8 * width * width
    stages = config.decoder_num_mid_blocks + 2
    a_frame = stages * config.decoder_n_blocks * block
    a_frame += resnet(config.decoder_in_channels) + resnet(2 * width)
    a_frame += config.decoder_num_mid_blocks * resnet(width)
    a_frame += 3 * (3 * width * width) + width * config.decoder_out_channels
    return frames * a_frame
