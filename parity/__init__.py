"""Proof that every stage of our networks equals a reference on the same weights and inputs.

Nothing of ours is imported here, so that `parity.torch.backend` runs in an interpreter that has
PyTorch and upstream's package but neither MLX nor this library.

MLX multiplies float32 in TF32, which has ten bits, on CUDA and on the newest Macs. Equal to
upstream to 1e-4 it can only be without; MLX looks at this variable at its first product.
"""

import os
import sys
from pathlib import PurePath

os.environ.setdefault("MLX_ENABLE_TF32", "0")

SCRIPT = "mlx-chatterbox-parity"
# The program as this process was started: by its script, else by `python -m` with this package,
# which is "mlx_chatterbox.parity" where it is installed, or "parity" in a checkout.
COMMAND = SCRIPT if sys.argv and PurePath(sys.argv[0]).name == SCRIPT else f"python -m {__name__}"
