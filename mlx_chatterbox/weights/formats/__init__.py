"""File formats of tensors that others write, read without running anything."""
