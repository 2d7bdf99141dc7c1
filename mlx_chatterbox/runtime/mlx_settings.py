"""What MLX reads from the environment, set before it computes.

**CUDA.** MLX keeps what it has built for a convolution, an attention, a Fourier transform or a
graph of kernels, by exact shape, and counts what it has to build: after twice as many as a cache
holds (128 convolutions) it raises "Cache thrashing is happening", and never forgets the count.
Every length of a sentence brings 44 new shapes of convolutions, so the sixth would be the last.
So the count is not looked at, and the caches are larger: 1024 are the shapes of some twenty
lengths, after which the oldest are built anew. Who has set these variables is left alone.
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
    """Set what is not set; only on Linux, where MLX has a CUDA build."""
    if sys.platform.startswith("linux"):
        for name, value in CUDA_SETTINGS.items():
            os.environ.setdefault(name, value)
