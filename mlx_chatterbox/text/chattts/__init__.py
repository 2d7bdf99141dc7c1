"""Texts for ChatTTS: normalising, splitting, prompts, tokens."""
