"""The recipe of the pocket voice: texts, free synthesisers, and every network from scratch.

`python -m mlx_chatterbox.train.pocket --work FOLDER` makes the weights that are in the package; see
docs/pocket.md.
"""
