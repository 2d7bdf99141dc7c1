"""`mlx-chatterbox doctor`: what this machine is, what it can do, and whether all is right on it.

Offline and within minutes: the networks are of full size, but their weights are made up, except
the pocket model's, which are in the package. One file a subject: `machine`, `limits`, `t3`,
`s3gen`, `correctness`, `threads`, `processes`, `memory` are the checks, `verdict` says what follows
from them, `report` writes it down as `schema.json` says.
"""
