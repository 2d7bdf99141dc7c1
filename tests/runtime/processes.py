"""Code that is to run in a process of its own."""

import os
import subprocess
import sys


def printed(code: str, **environment: str) -> str:
    """Run `code` in a new Python process with these environment variables added; its output."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()
