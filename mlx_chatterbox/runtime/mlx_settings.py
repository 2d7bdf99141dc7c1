"""Environment variables for MLX, set before it computes.

**CUDA.** MLX caches its plans for convolutions, attention, Fourier transforms and graphs of kernels
by exact shape, and counts how many it makes: after twice as many as a cache holds (128 for
convolutions) it raises "Cache thrashing is happening", and the count is never reset. Each new
length of a sentence brings 44 new shapes of convolutions, so the sixth would fail. So the count is
switched off, and the caches are larger: 1024 hold the shapes of some twenty lengths, after which
the oldest are made again. Variables that are set already are not changed.
"""

from __future__ import annotations

import os
import sys

CUDA_SETTINGS = {
    "MLX_ENABLE_CACHE_THRASHING_CHECK": "0",
    "MLX_CUDA_CONV_CACHE_SIZE": "1024",
    "MLX_CUDA_SDPA_CACHE_SIZE": "1024",
    "MLX_CUDA_FFT_CACHE_SIZE": "1024",
    "MLX_CUDA_GRAPH_CACHE_SIZE": "1024",
}


def prepare() -> None:
    """Set the variables that are not set; only on Linux, where MLX has a CUDA build."""
    if sys.platform.startswith("linux"):
        for name, value in CUDA_SETTINGS.items():
            os.environ.setdefault(name, value)
