"""The commands of `python -m parity`: parsers and options serve --help, the rest does the work."""
