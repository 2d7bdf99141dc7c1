"""The packages of the wheel; everything else is in pyproject.toml.

`convert` and `parity` lie beside the library and are installed within it (`package-dir` there), and
setuptools finds no packages that lie elsewhere.
"""

from setuptools import find_packages, setup

WITHIN = ("convert", "parity")

setup(
    packages=[
        *find_packages(include=["mlx_chatterbox", "mlx_chatterbox.*"]),
        *(
            f"mlx_chatterbox.{name}"
            for top in WITHIN
            for name in find_packages(include=[top, f"{top}.*"])
        ),
    ]
)
