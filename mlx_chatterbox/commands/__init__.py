"""The parts of the command lines: their options, checks, and the work of each mode."""
