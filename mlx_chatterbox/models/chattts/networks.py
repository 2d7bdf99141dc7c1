"""All networks of ChatTTS; attribute paths are the keys of a converted checkpoint."""

from __future__ import annotations

import mlx.nn as nn

from .config import ChatTTSConfig
from .convnext import SpectrogramDecoder
from .dvae import DVAE
from .gpt import GPT, CodeWriter, TextWriter
from .vocos import Vocos


class ChatTTSNetworks(nn.Module):
    """GPT, the decoder of its hidden states, that of its codes, and the vocoder.

    Attributes:
        text, codes: the GPT as it writes text tokens, and as it writes codes.
    """

    def __init__(self, config: ChatTTSConfig):
        super().__init__()
        self.gpt = GPT(config.gpt)
        # Not the GPT's own: a network that refers to itself stays in memory when it is dropped.
        self.text, self.codes = TextWriter(self.gpt), CodeWriter(self.gpt)
        self.decoder = SpectrogramDecoder(config.decoder, config.n_mels)
        self.dvae = DVAE(config.dvae, config.n_mels)
        self.vocos = Vocos(config.vocos, config.n_mels)
