"""The proof: every stage of our networks beside a reference, on the same weights and inputs.

Nothing is imported here, so that `parity.torch_reference` runs in an interpreter that has PyTorch
and upstream's package but neither MLX nor this library.
"""
