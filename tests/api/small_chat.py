"""A small `Chat`, and parameters for it."""

from __future__ import annotations

from mlx_chatterbox.chattts import Chat

TEXTS = ["hello world.", "good morning", "what is your favorite food", "chat"]
RANDOM = {"temperature": 1.0, "top_P": None, "top_K": None}


def codes(**values) -> Chat.InferCodeParams:
    return Chat.InferCodeParams(**{"max_new_token": 6, "manual_seed": 1, **values})


def refining(**values) -> Chat.RefineTextParams:
    return Chat.RefineTextParams(**{"max_new_token": 5, "manual_seed": 2, **values})


QUIET = {"skip_refine_text": True, "watermark": False}


def ending_chat(folder, gain: float) -> Chat:
    """One with so much larger logits of the code that ends speech, in the first codebook."""
    loaded = Chat()
    loaded.load("custom", custom_path=folder)
    head = loaded.gpt.head_code[0]
    head.weight[-1] = gain * head.weight[-1]
    return loaded
