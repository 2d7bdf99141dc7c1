"""Transformers that write tokens one after the other, whichever model's: layers, caches, steps."""
