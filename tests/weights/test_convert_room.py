"""The disk space that a conversion asks for before it writes anything."""

from __future__ import annotations

import pytest

from mlx_chatterbox.weights.conversion.core import SPARE_BYTES, convert
from mlx_chatterbox.weights.conversion.upstream import to_upstream
from tests.small import small_config
from tests.weights.test_conversion import save, small_weights


@pytest.fixture
def asked(monkeypatch):
    """Bytes that were asked for, one number for each conversion."""
    numbers = []
    monkeypatch.setattr(
        "mlx_chatterbox.weights.conversion.core.check_space",
        lambda _, needed: numbers.append(needed),
    )
    return numbers


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save(tmp_path_factory.mktemp("room") / "upstream", to_upstream(small_weights()))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_all_that_is_written_has_room_and_little_more_is_asked_for(source, tmp_path, asked, dtype):
    """Weights and copied files to the byte; for the rest and the voice 8 MB."""
    result = convert(source, tmp_path / "out", dtype=dtype, config=small_config())
    assert result.shared == 0
    files = {path.name: path.stat().st_size for path in result.folder.iterdir()}
    weights = files.pop("model.safetensors")
    assert 0 < weights - result.size < 2**20  # its header
    copied = (source / "tokenizer.json").stat().st_size
    assert asked == [result.size + copied + SPARE_BYTES]
    assert SPARE_BYTES == 8 * 2**20
    # With a copy in float32 for comparison that has room, too.
    reference = {"verify": lambda folder: None, "with_reference": True}
    convert(source, tmp_path / "other", dtype=dtype, config=small_config(), **reference)
    exact = result.size * (1 if dtype == "float32" else 2)
    assert asked[1] - asked[0] == exact + copied + SPARE_BYTES
