"""Times of every stage, ours beside PyTorch's, in one run: `python -m benchmarks`.

Imports nothing heavy: the PyTorch side runs in another interpreter.
"""
