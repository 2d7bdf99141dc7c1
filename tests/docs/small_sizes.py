"""Run a program or a script with upstream's models at small sizes.

    python -m tests.docs.small_sizes -m MODULE|-c CODE|FILE [arguments]

Names, repositories, files, text processing and code are the real ones; only the sizes differ of
the networks whose weights the stand-in for the hub has (`parity/fabricate/small.py`).
"""

from __future__ import annotations

import copy
import dataclasses
import runpy
import sys

from mlx_chatterbox.weights.variants import VARIANTS
from tests.small import small_config


def shrink() -> None:
    """Give the variants that can be fabricated small default configurations."""
    for name in ("english", "multilingual", "turbo", "nano", "flash"):
        config = small_config(name)
        # Their tables of positions end at 256, where the real ones allow 1000 tokens.
        config.generation.max_new_tokens = 200
        VARIANTS[name] = dataclasses.replace(
            VARIANTS[name], default_config=lambda config=config: copy.deepcopy(config)
        )


def main() -> None:
    kind, rest = sys.argv[1], sys.argv[2:]
    shrink()
    if kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<block>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [kind, *rest]
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    main()
