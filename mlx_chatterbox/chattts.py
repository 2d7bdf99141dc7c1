"""ChatTTS with upstream's interface: `from mlx_chatterbox.chattts import Chat`."""

from __future__ import annotations

from .api.chattts.chat import Chat

__all__ = ["Chat"]
