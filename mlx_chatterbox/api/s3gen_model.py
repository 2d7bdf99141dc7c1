"""S3GenModel: speech tokens to a waveform, with the interface of Hugging Face's transformers.

The interface is that of pull request 42413 (`S3GenModel` there, S3Gen's `S3Token2Wav` upstream),
for code written against it: mels as (B, 80, T), references as dictionaries, `finalize`. Beneath it
are the same networks as in `ChatterboxTTS`. Beyond both originals: rows of different lengths, each
with a reference of its own or all with one, seeds, the number of steps, mean flow.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..audio.resample import resample_sinc
from ..checks.config_base import need
from ..errors import SettingError
from ..models.config import ModelConfig, QuantizationConfig
from ..models.s3gen.batch import mel_frames, mels_of, stack_padded, waveforms_of
from ..models.s3gen.config import S3GenConfig
from ..models.s3gen.s3gen import S3Gen, S3GenConditionals, faded_in, trim_fade
from ..models.s3tokenizer.config import S3TokenizerConfig
from ..models.s3tokenizer.s3tokenizer import S3TokenizerV2
from ..runtime.device_argument import on_device
from ..runtime.seeds import Seed
from ..runtime.threads import compute_in_this_thread
from ..train.tasks.flow import FlowTask
from ..voices.voice import DECODER_RATE, ENCODER_RATE, embed_reference
from ..weights.s3gen_store import S3GEN, dtype_name, read_part, save_s3gen
from .arrays import ArrayLike, broadcast_rows, is_mlx, split_rows, to_caller_library, whole_numbers
from .hiftnet_model import HiFTNetModel, source_cache_rows
from .s3gen_rows import (
    Rows,
    checked_recording,
    loss_samples,
    references_of,
    replace_noise_tail,
    rows_of,
)

# The logarithm of a mel's floor, as padding after a shorter row: silence.
SILENT_MEL = float(np.log(np.float32(1e-5)))
STEPS, MEANFLOW_STEPS = 10, 2
Array = mx.array | np.ndarray


class S3GenModel(nn.Module):
    """Tokens and a reference recording to mel and waveform.

    Arrays of any library are taken; see `api/arrays.py` for what comes back. Parameters are named
    as in a checkpoint, `s3gen.*` and `s3_tokenizer.*`.

    Attributes:
        config: hyperparameters.
        n_cfm_timesteps: steps of the flow, by default.
        quantization: rules of the quantized layers.
    """

    main_input_name = "speech_tokens"

    def __init__(
        self, config: S3GenConfig | None = None, tokenizer_config: S3TokenizerConfig | None = None
    ):
        """A model with random weights, ready to use."""
        super().__init__()
        self.config = S3GenConfig() if config is None else config
        self.tokenizer_config = tokenizer_config or S3TokenizerConfig()
        need("S3GenModel", quantizer_dims=self.tokenizer_config.codes <= self.config.vocab_size)
        self.s3gen = S3Gen(self.config)
        self.s3_tokenizer = S3TokenizerV2(self.tokenizer_config)
        self.n_cfm_timesteps = MEANFLOW_STEPS if self.config.meanflow else STEPS
        self.quantization = QuantizationConfig()
        self.eval()

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        dtype: str | None = None,
        config: S3GenConfig | None = None,
        tokenizer_config: S3TokenizerConfig | None = None,
    ) -> S3GenModel:
        """Load S3Gen and its speech tokenizer.

        Args:
            name: a known model (`chatterbox`, `turbo`, `pocket`, ...), OWNER/NAME on the hub, a
                folder with a whole model of any layout (ours, upstream's, mlx-audio's) or with
                S3Gen alone (Hugging Face's, or of `save_pretrained`), or upstream's file itself.
                Of a whole model only S3Gen's part is read; other layouts are converted in memory.
            dtype: "float32", "float16" or "bfloat16" instead of the weights' own; float32 for what
                is converted.
            config, tokenizer_config: hyperparameters, where the folder states none and they are
                not the usual ones.

        Raises:
            CheckpointError, HubError: not found, damaged, or of other shapes.
        """
        part = read_part(name, dtype, S3GEN)
        config = config or part.config.s3gen
        tokenizer_config = tokenizer_config or part.config.s3_tokenizer
        config.check_layers(len(part.weights), name)
        tokenizer_config.check_layers(len(part.weights), name)
        config.check_vocoder()
        model = cls(config, tokenizer_config)
        model.n_cfm_timesteps = part.config.generation.cfm_steps
        part.fill(model)
        model.quantization = part.config.quantization
        return model

    def save_pretrained(self, folder: str | Path, layout: str = "mlx") -> Path:
        """Save weights and configuration; other files in the folder stay.

        Args:
            folder: made if it is not there.
            layout: "mlx", this library's checkpoint format, or "transformers", Hugging Face's.
                The second can also take the place of a model's S3Gen: `convert --s3gen`.

        Raises:
            CheckpointError: another layout, the folder cannot be written, or quantised layers,
                which "transformers" does not have.
        """
        config = ModelConfig(
            dtype=dtype_name(self.flow.dtype),
            s3gen=self.config,
            s3_tokenizer=self.tokenizer_config,
            quantization=self.quantization,
        )
        config.generation.cfm_steps = self.n_cfm_timesteps
        return save_s3gen(self, config, folder, layout)

    @property
    def tokenizer(self) -> S3TokenizerV2:
        """Speech to tokens."""
        return self.s3_tokenizer

    @property
    def speaker_encoder(self) -> nn.Module:
        """CAM++."""
        return self.s3gen.speaker_encoder

    @property
    def flow(self) -> nn.Module:
        """Tokens to mel."""
        return self.s3gen.flow

    @property
    def mel2wav(self) -> HiFTNetModel:
        """Mel to waveform; its weights are this model's."""
        return HiFTNetModel.around(self.s3gen.mel2wav)

    @property
    def trim_fade(self) -> mx.array:
        """20 ms of silence and 20 ms of fade-in, (960,)."""
        return trim_fade(self.config.sampling_rate)

    def embed_ref(
        self,
        ref_wav: ArrayLike,
        ref_sr: int,
        device: str = "auto",
        *,
        ref_wav_lens: ArrayLike | None = None,
    ) -> dict[str, Any]:
        """Compute S3Gen's conditionals of recordings, to be used again as `ref_dict`.

        Args:
            ref_wav: (n,), (B, n) or a list of (n_i,): recordings, one for each row. Two channels
                are two recordings: mix them before.
            ref_sr: their sample rate in Hz.
            device: "cpu" computes on the CPU, anything else on MLX's default device.
            ref_wav_lens: (B,) samples of each row; the rest is padding.

        Returns:
            `prompt_token` (B, n) int32 and `prompt_token_len` (B,); `prompt_feat` (B, P, 80), the
            log-mel at 50 frames/s, and `prompt_feat_len` (B,), None where all are P; `embedding`
            (B, 192).

        Raises:
            AudioError: a recording that is shorter than 80 ms, or not finite.
        """
        compute_in_this_thread()
        as_mlx = is_mlx(ref_wav)
        recordings = split_rows(ref_wav, ref_wav_lens, "ref_wav", "ref_wav_lens")
        with on_device(None if device is None else str(device)):
            references = [self._embed(recording, ref_sr) for recording in recordings]
            lengths = [
                [reference.prompt_token.shape[1] for reference in references],
                [reference.prompt_feat.shape[1] for reference in references],
            ]
            feat_len = mx.array(lengths[1]) if len(set(lengths[1])) > 1 else None
            values = {
                "prompt_token": stack_padded([one.prompt_token[0] for one in references]),
                "prompt_token_len": mx.array(lengths[0]),
                "prompt_feat": stack_padded([one.prompt_feat[0] for one in references]),
                "prompt_feat_len": feat_len,
                "embedding": mx.concatenate([one.embedding for one in references]),
            }
            mx.eval([value for value in values.values() if value is not None])
        return {
            name: None if value is None else to_caller_library(value, as_mlx)
            for name, value in values.items()
        }

    def __call__(
        self,
        speech_tokens: ArrayLike,
        ref_wav: ArrayLike | None = None,
        ref_sr: int | None = None,
        ref_dict: dict[str, Any] | None = None,
        finalize: bool = False,
        *,
        speech_token_lens: ArrayLike | None = None,
        n_cfm_timesteps: int | None = None,
        noised_mels: ArrayLike | None = None,
        seed: Seed = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> Array:
        """Mel spectrograms of tokens.

        Args:
            speech_tokens: (m,), (B, m) or a list of (m_i,), 0 to 6560.
            ref_wav, ref_sr: recordings of the voices, one for each row or one for all, and their
                sample rate; or
            ref_dict: result of `embed_ref` for them.
            finalize: False, as by default upstream, if more tokens follow: the last three are then
                lookahead, and no mel is made of them.
            speech_token_lens: (B,) tokens of each row; the rest is padding.
            n_cfm_timesteps: Euler steps of the flow; None: 10, or 2 of a mean flow.
            noised_mels: (B, 80, 2 m) the flow's start for the new tokens, or longer, for the end of
                the prompt too; None draws it.
            seed: of the noise; one number, for all rows alike, or one for each.
            on_step: callback(steps done, total).

        Returns:
            (B, 80, T) log-mel at 50 frames/s, T = 2 m (`mel_lengths`), silent after a shorter row.

        Raises:
            SettingError: not exactly one of `ref_wav` and `ref_dict`, tokens that have no sound, or
                shapes that do not fit. AudioError: see `embed_ref`.
        """
        rows = self._rows(speech_tokens, speech_token_lens, ref_wav, ref_sr, ref_dict, seed)
        mels = self._mels(rows, finalize, n_cfm_timesteps, noised_mels, on_step)
        padded = stack_padded([mel.astype(mx.float32) for mel in mels], SILENT_MEL)
        return to_caller_library(padded.swapaxes(1, 2), is_mlx(speech_tokens))

    forward = __call__

    def inference(
        self,
        speech_tokens: ArrayLike,
        ref_wav: ArrayLike | None = None,
        ref_sr: int | None = None,
        ref_dict: dict[str, Any] | None = None,
        cache_source: ArrayLike | None = None,
        finalize: bool = True,
        *,
        speech_token_lens: ArrayLike | None = None,
        n_cfm_timesteps: int | None = None,
        noised_mels: ArrayLike | None = None,
        seed: Seed = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> tuple[Array, Array]:
        """Waveforms of tokens. Arguments as for `__call__` and `HiFTNetModel.inference`.

        Returns:
            (B, 960 m) float32 at 24 kHz, faded in over 40 ms, and the vocoder's excitation,
            (B, 1, 960 m); zeros after a shorter row.
        """
        rows = self._rows(speech_tokens, speech_token_lens, ref_wav, ref_sr, ref_dict, seed)
        mels = self._mels(rows, finalize, n_cfm_timesteps, noised_mels, on_step)
        waveforms, sources = waveforms_of(
            self.s3gen.mel2wav, mels, rows.source_keys, source_cache_rows(cache_source, len(mels))
        )
        faded = [faded_in(wave, self.config.sampling_rate) for wave in waveforms]
        as_mlx = is_mlx(speech_tokens)
        return (
            to_caller_library(stack_padded(faded), as_mlx),
            to_caller_library(stack_padded(sources)[:, None], as_mlx),
        )

    def generate(
        self,
        speech_tokens: ArrayLike,
        ref_wav: ArrayLike | None = None,
        ref_sr: int | None = None,
        cache_source: ArrayLike | None = None,
        finalize: bool = True,
        **more: Any,
    ) -> Array:
        """The waveforms of `inference`, whose other arguments are taken by keyword."""
        return self.inference(
            speech_tokens, ref_wav, ref_sr, cache_source=cache_source, finalize=finalize, **more
        )[0]

    def mel_lengths(
        self,
        speech_token_lens: ArrayLike,
        ref_dict: dict[str, Any],
        finalize: bool = True,
    ) -> list[int]:
        """Mel frames that each row becomes; a frame is 480 samples.

        Args:
            speech_token_lens: (B,) tokens of each row.
            ref_dict: of `embed_ref`; an odd frame that a prompt has beyond its tokens is missing.
        """
        counts = whole_numbers(speech_token_lens, "speech_token_lens")
        references = broadcast_rows(references_of(ref_dict, self.config), len(counts), "ref_dict")
        return [
            mel_frames(self.s3gen.flow, count, reference, self._unspoken(finalize))[1]
            for count, reference in zip(counts, references, strict=True)
        ]

    def compute_loss(self, batch: dict[str, ArrayLike], seed: int = 0) -> mx.array:
        """The flow's loss, a number to take gradients of; `train()` the model first.

        Half of the rows see up to 30 % of their mel as a prompt, and a fifth see neither tokens,
        voice nor prompt (guidance). The whole training is `mlx_chatterbox.train`.

        Args:
            batch: as upstream's flow takes it: `speech_token` (B, m) with `speech_token_len` (B,),
                their mel `speech_feat` (B, 80, 2 m) and `embedding` (B, 192).
            seed: of noise, times, prompts and guidance.

        Raises:
            SettingError: a mean flow, which has no such loss. DataError: mels of other lengths.
        """
        task = FlowTask(self.config)
        collated = task.collate(loss_samples(batch, seed, self.config))
        return task.loss(self, collated, task.counts(collated))[0]

    # --- Beneath ---------------------------------------------------------------------------------

    def _unspoken(self, finalize: bool) -> int:
        return 0 if finalize else self.config.pre_lookahead_len

    def _rows(self, speech_tokens, lengths, ref_wav, ref_sr, ref_dict, seed) -> Rows:
        compute_in_this_thread()
        if (ref_wav is None) == (ref_dict is None):
            raise SettingError("give exactly one of ref_wav and ref_dict.")
        if ref_dict is None:
            if ref_sr is None:
                raise SettingError("ref_wav needs ref_sr, its sample rate in Hz.")
            ref_dict = self.embed_ref(ref_wav, ref_sr)
        return rows_of(
            self.config, speech_tokens, lengths, references_of(ref_dict, self.config), seed
        )

    def _mels(self, rows: Rows, finalize, n_timesteps, noised_mels, on_step) -> list[mx.array]:
        unspoken = self._unspoken(finalize)
        noises = []
        for tokens, reference, key in zip(
            rows.tokens, rows.references, rows.flow_keys, strict=True
        ):
            noise = self.s3gen.noise_for(len(tokens), reference, key)[0]
            noises.append(noise[: len(noise) - self.config.token_mel_ratio * unspoken])
        if noised_mels is not None:
            counts = [len(tokens) for tokens in rows.tokens]
            noises = replace_noise_tail(self.config, noises, noised_mels, counts)
        return mels_of(
            self.s3gen.flow,
            rows.tokens,
            rows.references,
            noises,
            self.n_cfm_timesteps if n_timesteps is None else n_timesteps,
            unspoken,
            on_step,
        )

    def _embed(self, recording: mx.array, rate: int) -> S3GenConditionals:
        recording = checked_recording(recording, rate)
        at_24k = np.array(resample_sinc(recording, rate, DECODER_RATE))
        return embed_reference(self, at_24k, resample_sinc(recording, rate, ENCODER_RATE))
