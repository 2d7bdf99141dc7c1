"""Upstream's own PyTorch code, stage by stage and layer by layer.

It runs in an interpreter that may have neither MLX nor this library. PyTorch and upstream's package
are imported in functions, after `env.prepare`, which says in one line what is not installed.
"""
