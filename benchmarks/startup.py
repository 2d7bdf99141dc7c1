"""Timing in a new process: an engine's `import`, its `load` with all imports, or `limits`.

Ours imports what it needs when it is needed, so that `import` alone flatters it; `load` does not.
The folder's files are in the system's cache after the first run, which is not counted.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path

from parity.torch.env import prepare

from .stages import MODULES

PACKAGES = {
    "ours": ["mlx_chatterbox"],
    "mlx-audio": ["mlx_audio.tts.models.chatterbox"],
    # The package itself imports a watermarker that this environment does not need.
    "torch": [
        f"chatterbox.models.{name}" for name in ("t3", "s3gen", "voice_encoder", "tokenizers")
    ],
}


def main() -> None:
    engine, what, folder, device = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    started = time.perf_counter()
    if what == "import":
        if engine == "torch":
            prepare()
        for package in PACKAGES[engine]:
            import_module(package)
    else:
        module = import_module(f".{MODULES[engine]}", __package__)
        module.use_device(device)
        if what == "limits":
            print(json.dumps(module.limits()), file=answers, flush=True)
            return
        module.load(Path(folder))
    print(json.dumps({what: time.perf_counter() - started}), file=answers, flush=True)


if __name__ == "__main__":
    main()
