"""Losses and gradients of the training, against upstream's networks in PyTorch.

Both read the same small fabricated weights and the same batch. Upstream fixes some widths in its
constructors (512 in the flow's encoder), so the flow is narrow only where it can be.
"""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.models.s3gen.config import S3GenConfig
from mlx_chatterbox.train.tasks.flow import FlowTask
from mlx_chatterbox.train.tasks.t3 import T3Task
from tests.small import small_config
from tests.train.small_networks import gradients, sample

pytestmark = pytest.mark.reference

RELATIVE = 1e-4


@pytest.fixture(scope="module", autouse=True)
def upstream_environment():
    from mlx_chatterbox.parity.torch.env import prepare

    prepare()


class Model:
    """A small model twice: upstream's files, and our networks made from them by conversion."""

    def __init__(self, folder, variant: str, config):
        from mlx_chatterbox.parity.fabricate.checkpoint import fabricate
        from mlx_chatterbox.weights.checkpoint import load
        from mlx_chatterbox.weights.conversion.core import convert_folder
        from mlx_chatterbox.weights.variants import variant_named

        self.config = config
        self.variant = variant_named(variant)
        self.upstream = fabricate(folder / "upstream", variant, config=config, seed=4)
        converted = convert_folder(
            self.upstream, folder / "converted", variant=variant, config=config
        )
        self.networks = load(converted).networks

    def file(self, name: str, prefix: str = "") -> dict:
        """Tensors of one of upstream's files, those under a prefix."""
        from safetensors.torch import load_file

        tensors = load_file(self.upstream / name)
        return {
            key.removeprefix(prefix): value
            for key, value in tensors.items()
            if key.startswith(prefix)
        }

    def ours(self, file: str, prefix: str, grads: dict, within: str) -> dict[str, np.ndarray]:
        """PyTorch's gradients under our names and in our layout, as conversion treats weights."""
        from mlx_chatterbox.weights.conversion.rules import axes_of
        from mlx_chatterbox.weights.conversion.upstream import plan

        named = {prefix + key: grad.numpy() for key, grad in grads.items()}
        shapes = {key: tuple(grad.shape) for key, grad in named.items()}
        found = {}
        for entry in plan({file: shapes}, self.variant).entries:
            axes = axes_of(entry.operation)
            grad = named[entry.sources[0]]
            found[entry.target.removeprefix(within)] = (
                grad if axes is None else grad.transpose(axes)
            )
        return found


def assert_equal_gradients(ours: dict, theirs: dict):
    """Relative RMS difference of every tensor.

    The gradient of a bias that softmax does not see is only rounding; it is measured against the
    largest gradient of all.
    """
    assert ours.keys() == theirs.keys()
    largest = max(np.linalg.norm(grad) for grad in theirs.values())
    wrong = {}
    for key, expected in theirs.items():
        difference = np.linalg.norm(ours[key] - expected)
        if difference > RELATIVE * max(np.linalg.norm(expected), 1e-4 * largest):
            wrong[key] = difference / np.linalg.norm(expected)
    assert wrong == {}


# --- T3 ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_upstream_t3(model: Model):
    """Upstream's T3 at the size of `model`, through its own tables of sizes."""
    from functools import partial

    import torch
    from chatterbox.models.t3 import T3
    from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS
    from chatterbox.models.t3.modules import cond_enc
    from chatterbox.models.t3.modules.t3_config import T3Config

    config = model.config.t3
    name = "GPT2_medium" if config.is_gpt2 else "Llama_520M"
    sizes = {
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_attention_heads,
        "head_dim": config.head_dim,
    }
    if config.is_gpt2:
        sizes = {
            "n_embd": config.hidden_size,
            "hidden_size": config.hidden_size,
            "n_head": config.num_attention_heads,
            "n_layer": config.num_hidden_layers,
            "n_positions": config.max_position_embeddings,
            "n_ctx": config.max_position_embeddings,
            "vocab_size": config.text_tokens_dict_size,
        }
    settings = T3Config(text_tokens_dict_size=config.text_tokens_dict_size)
    settings.max_text_tokens = config.max_text_tokens
    settings.max_speech_tokens = config.max_speech_tokens
    settings.speech_tokens_dict_size = config.speech_tokens_dict_size
    settings.llama_config_name = name
    if config.is_gpt2:
        settings.input_pos_emb = None
        settings.use_perceiver_resampler = False
        settings.emotion_adv = False
    full, perceiver = LLAMA_CONFIGS[name], cond_enc.Perceiver
    LLAMA_CONFIGS[name] = {**full, **sizes}
    cond_enc.Perceiver = partial(
        perceiver,
        pre_attention_query_token=config.perceiver_queries,
        pre_attention_query_size=config.hidden_size,
        embedding_dim=config.hidden_size,
    )
    try:
        t3 = T3(settings)
        weights = model.file(model.variant.t3_file)
        missing, unexpected = t3.load_state_dict(weights, strict=False)
        assert not unexpected
        assert not missing
        assert all(value.dtype == torch.float32 for value in t3.state_dict().values())
        yield t3.eval()
    finally:
        LLAMA_CONFIGS[name], cond_enc.Perceiver = full, perceiver


def torch_t3_loss(t3, samples, heard, totals) -> object:
    """Shifted cross-entropies of upstream's hidden states, one sample after the other, unpadded.

    The rows are laid out as `T3.inference` and `T3.inference_turbo` do.
    """
    import torch
    from chatterbox.models.t3.modules.cond_enc import T3Cond
    from torch.nn.functional import cross_entropy

    loss = 0.0
    for one, sees_text in zip(samples, heard, strict=True):
        text = torch.from_numpy(one["text_tokens"].astype(np.int64))[None]
        speech = torch.from_numpy(one["speech_tokens"].astype(np.int64))[None]
        prompt = torch.from_numpy(one["prompt"]["speech_tokens"].astype(np.int64))[None]
        cond = t3.prepare_conditioning(
            T3Cond(
                speaker_emb=torch.from_numpy(one["prompt"]["speaker_embedding"])[None],
                cond_prompt_speech_tokens=prompt,
                emotion_adv=torch.full((1, 1, 1), 0.5),
            )
        )
        start = torch.full((1, 1), t3.hp.start_speech_token)
        text_emb = t3.text_emb(text) * float(sees_text)
        spoken = t3.speech_emb(torch.cat([start, speech], dim=1))
        starts = [spoken]
        if not t3.is_gpt:
            text_emb = text_emb + t3.text_pos_emb(text)
            positions = torch.arange(spoken.shape[1])[None]
            spoken = spoken + t3.speech_pos_emb.get_fixed_embedding(positions)
            starts = [spoken[:, :1], spoken]
        embeds = torch.cat([cond, text_emb, *starts], dim=1)
        hidden = t3.tfmr(inputs_embeds=embeds, use_cache=False)[0][0]
        stop = torch.tensor([t3.hp.stop_speech_token])
        first = cond.shape[1]
        if sees_text:
            logits = t3.text_head(hidden[first : first + text.shape[1] - 1])
            loss = loss + cross_entropy(logits, text[0, 1:], reduction="sum") / totals["text"]
        logits = t3.speech_head(hidden[-speech.shape[1] - 1 :])
        labels = torch.cat([speech[0], stop])
        loss = loss + cross_entropy(logits, labels, reduction="sum") / totals["speech"]
    return loss


@pytest.mark.parametrize("variant", ["english", "nano"])
def test_t3_gradients_are_pytorchs(variant, tmp_path):
    model = Model(tmp_path, variant, small_config(variant))
    task = T3Task(model.config.t3, text_dropout=0.5)
    samples = [sample(index, seed=1) for index in range(4)]
    batch = task.collate(samples)
    heard = np.array(batch["text_kept"])
    assert variant == "nano" or 0 < heard.sum() < len(samples)
    value, ours = gradients(task, model.networks, samples)
    with small_upstream_t3(model) as t3:
        loss = torch_t3_loss(t3, samples, heard, task.counts(batch))
        loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-5)
    grads = {key: value.grad for key, value in t3.named_parameters() if value.grad is not None}
    assert_equal_gradients(ours, model.ours(model.variant.t3_file, "", grads, "t3."))


# --- Flow --------------------------------------------------------------------------------------


def flow_config():
    """A flow as narrow as upstream's constructors allow."""
    config = small_config()
    small = config.s3gen
    config.s3gen = S3GenConfig(
        encoder_linear_units=48,
        encoder_num_blocks=1,
        decoder_channels=[32],
        decoder_n_blocks=1,
        decoder_num_mid_blocks=2,
        decoder_num_heads=2,
        decoder_attention_head_dim=16,
        hift=small.hift,
        speaker_encoder=small.speaker_encoder,
    )
    return config


@pytest.fixture(scope="module")
def flow_model(tmp_path_factory):
    return Model(tmp_path_factory.mktemp("flow"), "english", flow_config())


@pytest.fixture
def upstream_flow(flow_model):
    from chatterbox.models.s3gen.configs import CFM_PARAMS
    from chatterbox.models.s3gen.decoder import ConditionalDecoder
    from chatterbox.models.s3gen.flow import CausalMaskedDiffWithXvec
    from chatterbox.models.s3gen.flow_matching import CausalConditionalCFM
    from chatterbox.models.s3gen.transformer.upsample_encoder import UpsampleConformerEncoder

    config = flow_model.config.s3gen
    encoder = UpsampleConformerEncoder(
        output_size=config.encoder_output_size,
        attention_heads=config.encoder_attention_heads,
        linear_units=config.encoder_linear_units,
        num_blocks=config.encoder_num_blocks,
        input_layer="linear",
        pos_enc_layer_type="rel_pos_espnet",
        selfattention_layer_type="rel_selfattn",
        input_size=config.token_embed_dim,
        use_cnn_module=False,
        macaron_style=False,
    )
    estimator = ConditionalDecoder(
        in_channels=config.decoder_in_channels,
        out_channels=config.decoder_out_channels,
        causal=True,
        channels=config.decoder_channels,
        dropout=0.0,
        attention_head_dim=config.decoder_attention_head_dim,
        n_blocks=config.decoder_n_blocks,
        num_mid_blocks=config.decoder_num_mid_blocks,
        num_heads=config.decoder_num_heads,
        act_fn=config.decoder_act_fn,
    )
    decoder = CausalConditionalCFM(spk_emb_dim=80, cfm_params=CFM_PARAMS, estimator=estimator)
    flow = CausalMaskedDiffWithXvec(encoder=encoder, decoder=decoder)
    flow.load_state_dict(flow_model.file(flow_model.variant.s3gen_file, "flow."))
    return flow.eval()


@contextlib.contextmanager
def injected(monkeypatch, batch):
    """Upstream draws what our batch holds: prompt lengths, times, noise, dropped conditions."""
    import torch
    from chatterbox.models.s3gen import flow, flow_matching

    time = np.array(batch["time"], dtype=np.float64)
    uniform = torch.from_numpy(2 / np.pi * np.arccos(1 - time)).float().reshape(-1, 1, 1)
    noise = torch.from_numpy(np.array(batch["noise"])).transpose(1, 2)
    # Draws above 0.2 keep the condition.
    draws = iter([uniform, torch.from_numpy(np.array(batch["kept"]))])
    lengths = iter(np.array(batch["prompt_mask"]).sum(axis=1).astype(int).tolist())
    stub = SimpleNamespace(random=lambda: 0.9, randint=lambda low, high: next(lengths))
    monkeypatch.setattr(flow, "random", stub)
    monkeypatch.setattr(flow_matching.torch, "rand", lambda *args, **kwargs: next(draws))
    monkeypatch.setattr(flow_matching.torch, "randn_like", lambda like: noise)
    try:
        yield
    finally:
        monkeypatch.undo()
    assert next(draws, None) is None


def mixed_samples(task, lengths) -> list[dict]:
    """Samples among which conditions are kept and dropped, prompts given and not."""
    for seed in range(100):
        samples = [sample(0, seed=seed + 100 * i, speech=n) for i, n in enumerate(lengths)]
        batch = task.collate(samples)
        prompted = np.array(batch["prompt_mask"]).sum(axis=1) > 0
        kept = np.array(batch["kept"]) > 0
        if 0 < kept.sum() < len(samples) and (prompted & kept).any() and not prompted.all():
            return samples
    raise AssertionError("no such seed")


def test_the_flows_loss_and_gradients_are_upstreams(flow_model, upstream_flow, monkeypatch):
    """The whole of `CausalMaskedDiffWithXvec.compute_loss`, on samples of one length.

    The length is a bucket's, so that nothing is padded: upstream's look-ahead sees padding after
    the norm, ours sees zeros, as at the end of an unpadded row.
    """
    import torch

    task = FlowTask(flow_model.config.s3gen)
    samples = mixed_samples(task, [32] * 4)
    batch = task.collate(samples)
    assert batch["tokens"].shape == (4, 32)
    value, ours = gradients(task, flow_model.networks, samples)
    given = {
        "speech_token": torch.from_numpy(np.array(batch["tokens"]).astype(np.int64)),
        "speech_token_len": torch.full((4,), 32),
        "speech_feat": torch.from_numpy(np.array(batch["mel"])).transpose(1, 2),
        "speech_feat_len": torch.full((4,), 64),
        "embedding": torch.from_numpy(np.array(batch["embedding"])),
    }
    with injected(monkeypatch, batch):
        loss = upstream_flow.compute_loss(given, torch.device("cpu"))["loss"]
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-5)
    named = upstream_flow.named_parameters()
    grads = {key: value.grad for key, value in named if value.grad is not None}
    theirs = flow_model.ours(flow_model.variant.s3gen_file, "flow.", grads, "s3gen.flow.")
    assert_equal_gradients(ours, theirs)


def test_flow_matching_on_padded_rows_is_upstreams(flow_model, upstream_flow, monkeypatch):
    """`compute_loss` of the decoder on rows of four lengths: times, noise, masks, dropping."""
    import torch

    task = FlowTask(flow_model.config.s3gen)
    batch = task.collate(mixed_samples(task, [9, 20, 31, 40]))
    flow, rng = flow_model.networks.s3gen.flow, np.random.default_rng(0)
    mask = batch["mel_mask"][..., None]
    mu = mx.array(rng.standard_normal(batch["mel"].shape).astype(np.float32)) * mask
    speakers = mx.array(rng.standard_normal((4, 80)).astype(np.float32))
    cond = batch["mel"] * batch["prompt_mask"][..., None]
    velocity = task.velocity(flow, batch, mu, speakers, cond)
    ours = ((velocity - task.target(batch)) ** 2 * mask).sum() / task.counts(batch)["flow"]

    def channels_first(array):
        return torch.from_numpy(np.array(array)).transpose(1, 2)

    with injected(monkeypatch, batch), torch.no_grad():
        theirs, _ = upstream_flow.decoder.compute_loss(
            channels_first(batch["mel"]),
            channels_first(mask),
            channels_first(mu),
            torch.from_numpy(np.array(speakers)),
            channels_first(cond),
        )
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
