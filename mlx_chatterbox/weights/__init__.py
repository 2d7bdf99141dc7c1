"""Weights: found, checked, converted, loaded."""
