"""The small model of the parity tool, for all tests."""

from mlx_chatterbox.parity.fabricate.small import small_config, small_s3gen

__all__ = ["small_config", "small_s3gen"]
