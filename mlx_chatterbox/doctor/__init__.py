"""`mlx-chatterbox doctor`: describe and measure this machine, and check the package on it.

Works offline and within minutes: the networks are of full size with random weights, except the
pocket model, which is part of the package. One file for each check: `machine`, `limits`, `t3`,
`s3gen`, `correctness`, `invariance`, `threads`, `processes`, `memory`; `verdict` draws the
conclusions, `report` writes them as `schema.json` specifies.
"""
