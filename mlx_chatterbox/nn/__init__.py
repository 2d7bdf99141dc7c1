"""Layers shared by the networks, each with the fastest implementation for its device."""
