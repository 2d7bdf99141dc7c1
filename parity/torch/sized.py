"""Upstream's networks in other sizes than its constructors fix, from its own classes.

For tests and for a layer by itself: the same classes in the same order, with the sizes of a
`config.json` of ours in place of the numbers that upstream's constructors hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .networks import Networks


class SizedNetworks(Networks):
    """`Networks` of the sizes in a model's `config.json`.

    Args:
        config: its contents.
        folder, variant, t3_file: as of `Networks`.
    """

    def __init__(self, config: Mapping[str, Any], folder, variant="english", t3_file=None):
        super().__init__(folder, variant, t3_file)
        self._config = config

    def _build_t3(self):
        from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS
        from chatterbox.models.t3.modules.perceiver import Perceiver

        sizes = self._config["t3"]
        width, heads = sizes["hidden_size"], sizes["num_attention_heads"]
        if self.variant.is_turbo:
            row = LLAMA_CONFIGS["GPT2_medium"] | {
                "n_embd": width,
                "hidden_size": width,
                "n_inner": sizes["intermediate_size"],
                "n_head": heads,
                "n_layer": sizes["num_hidden_layers"],
                "n_positions": sizes["max_position_embeddings"],
                "vocab_size": sizes["text_tokens_dict_size"],
            }
        else:
            row = LLAMA_CONFIGS["Llama_520M"] | {
                "hidden_size": width,
                "intermediate_size": sizes["intermediate_size"],
                "num_hidden_layers": sizes["num_hidden_layers"],
                "num_attention_heads": heads,
                "num_key_value_heads": heads,
                "head_dim": sizes["head_dim"],
            }
        LLAMA_CONFIGS["sized"] = row
        settings = self._t3_settings()
        settings.llama_config_name = "sized"
        settings.max_text_tokens = sizes["max_text_tokens"]
        settings.max_speech_tokens = sizes["max_speech_tokens"]
        settings.speech_cond_prompt_len = sizes["speech_cond_prompt_len"]
        # Built small first: the resampler has sizes of its own, which are replaced below.
        t3 = self._t3_class()(settings)
        if t3.cond_enc.perceiver is not None:
            queries = sizes["perceiver_queries"]
            t3.cond_enc.perceiver = Perceiver(queries, width, width, sizes["perceiver_heads"])
        return t3

    def _build_voice_encoder(self):
        from chatterbox.models.voice_encoder import VoiceEncoder
        from chatterbox.models.voice_encoder.config import VoiceEncConfig

        sizes = self._config["voice_encoder"]
        settings = VoiceEncConfig()
        settings.ve_hidden_size = sizes["hidden_size"]
        settings.speaker_embed_size = sizes["speaker_embed_size"]
        settings.ve_partial_frames = sizes["partial_frames"]
        return VoiceEncoder(settings)

    def _build_s3gen(self):
        import torch

        sizes = self._config["s3gen"]
        s3gen = torch.nn.Module()
        s3gen.tokenizer = _tokenizer(self._config["s3_tokenizer"])
        s3gen.speaker_encoder = _speaker_encoder(sizes["speaker_encoder"])
        s3gen.flow = _flow(sizes)
        s3gen.mel2wav = _vocoder(sizes["hift"])
        s3gen.meanflow = sizes["meanflow"]
        s3gen.register_buffer("trim_fade", torch.zeros(0), persistent=False)
        return s3gen


def _tokenizer(sizes: Mapping[str, Any]):
    import librosa
    import torch
    from chatterbox.models.s3tokenizer.s3tokenizer import S3Tokenizer
    from s3tokenizer.model_v2 import ModelConfig, S3TokenizerV2, precompute_freqs_cis

    settings = ModelConfig(
        n_mels=sizes["n_mels"],
        n_audio_state=sizes["n_audio_state"],
        n_audio_head=sizes["n_audio_head"],
        n_audio_layer=sizes["n_audio_layer"],
    )
    # Upstream's own constructor passes no sizes on; what it does besides is repeated here.
    tokenizer = S3Tokenizer.__new__(S3Tokenizer)
    S3TokenizerV2.__init__(tokenizer, "speech_tokenizer_v2_25hz", settings)
    tokenizer.n_fft = 400
    filters = librosa.filters.mel(sr=16000, n_fft=400, n_mels=sizes["n_mels"])
    tokenizer.register_buffer("_mel_filters", torch.FloatTensor(filters))
    tokenizer.register_buffer("window", torch.hann_window(400))
    depth = sizes["n_audio_state"] // sizes["n_audio_head"]
    tokenizer.encoder.freqs_cis = precompute_freqs_cis(depth, 1024 * 2)
    return tokenizer


def _speaker_encoder(sizes: Mapping[str, Any]):
    from collections import OrderedDict

    import torch
    from chatterbox.models.s3gen import xvector

    encoder = xvector.CAMPPlus.__new__(xvector.CAMPPlus)
    torch.nn.Module.__init__(encoder)
    encoder.output_level = "segment"
    encoder.head = xvector.FCM(m_channels=sizes["head_channels"], feat_dim=sizes["feat_dim"])
    channels, growth = sizes["init_channels"], sizes["growth_rate"]
    tdnn = xvector.TDNNLayer(encoder.head.out_channels, channels, 5, stride=2, padding=-1)
    layers = OrderedDict(tdnn=tdnn)
    rows = zip(sizes["block_layers"], sizes["block_dilations"], strict=True)
    for number, (count, dilation) in enumerate(rows, start=1):
        layers[f"block{number}"] = xvector.CAMDenseTDNNBlock(
            num_layers=count,
            in_channels=channels,
            out_channels=growth,
            bn_channels=sizes["bn_size"] * growth,
            kernel_size=3,
            dilation=dilation,
        )
        channels += count * growth
        layers[f"transit{number}"] = xvector.TransitLayer(channels, channels // 2, bias=False)
        channels //= 2
    layers["out_nonlinear"] = xvector.get_nonlinear("batchnorm-relu", channels)
    layers["stats"] = xvector.StatsPool()
    layers["dense"] = xvector.DenseLayer(
        2 * channels, sizes["embedding_size"], config_str="batchnorm_"
    )
    encoder.xvector = torch.nn.Sequential(layers)
    return encoder


def _flow(sizes: Mapping[str, Any]):
    from chatterbox.models.s3gen.decoder import ConditionalDecoder
    from chatterbox.models.s3gen.flow import CausalMaskedDiffWithXvec
    from chatterbox.models.s3gen.flow_matching import CausalConditionalCFM
    from chatterbox.models.s3gen.transformer import upsample_encoder as encoders

    width = sizes["encoder_output_size"]
    encoder = encoders.UpsampleConformerEncoder(
        input_size=sizes["token_embed_dim"],
        output_size=width,
        attention_heads=sizes["encoder_attention_heads"],
        linear_units=sizes["encoder_linear_units"],
        num_blocks=sizes["encoder_num_blocks"],
        use_cnn_module=False,
        macaron_style=False,
    )
    # Fixed at 512 channels, and at four blocks after the upsampling.
    encoder.pre_lookahead_layer = encoders.PreLookaheadLayer(width, sizes["pre_lookahead_len"])
    encoder.up_layer = encoders.Upsample1D(width, width, sizes["token_mel_ratio"])
    encoder.up_encoders = encoder.up_encoders[: sizes["encoder_num_up_blocks"]]
    estimator = ConditionalDecoder(
        in_channels=sizes["decoder_in_channels"],
        out_channels=sizes["decoder_out_channels"],
        channels=sizes["decoder_channels"],
        attention_head_dim=sizes["decoder_attention_head_dim"],
        n_blocks=sizes["decoder_n_blocks"],
        num_mid_blocks=sizes["decoder_num_mid_blocks"],
        num_heads=sizes["decoder_num_heads"],
        meanflow=sizes["meanflow"],
    )
    return CausalMaskedDiffWithXvec(
        input_size=sizes["token_embed_dim"],
        vocab_size=sizes["vocab_size"],
        spk_embed_dim=sizes["speaker_embed_dim"],
        encoder=encoder,
        decoder=CausalConditionalCFM(spk_emb_dim=80, estimator=estimator),
    )


def _vocoder(sizes: Mapping[str, Any]):
    from chatterbox.models.s3gen.f0_predictor import ConvRNNF0Predictor
    from chatterbox.models.s3gen.hifigan import HiFTGenerator

    same = (
        *("in_channels", "base_channels", "nb_harmonics", "sampling_rate", "nsf_alpha"),
        *("nsf_sigma", "nsf_voiced_threshold", "upsample_rates", "upsample_kernel_sizes"),
        *("resblock_kernel_sizes", "resblock_dilation_sizes", "source_resblock_kernel_sizes"),
        *("source_resblock_dilation_sizes", "lrelu_slope", "audio_limit"),
    )
    return HiFTGenerator(
        **{name: sizes[name] for name in same},
        istft_params={"n_fft": sizes["istft_n_fft"], "hop_len": sizes["istft_hop_len"]},
        f0_predictor=ConvRNNF0Predictor(
            in_channels=sizes["f0_predictor_in_channels"],
            cond_channels=sizes["f0_predictor_cond_channels"],
        ),
    )
