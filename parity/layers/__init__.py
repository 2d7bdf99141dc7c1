"""Comparison of layers one by one: bisecting, mutants, errors for pictures."""
