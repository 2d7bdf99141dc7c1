"""Inputs of the stages, made from a seed and optionally a recording."""
