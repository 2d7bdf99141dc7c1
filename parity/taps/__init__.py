"""Recorded inputs and outputs of every layer, and the names that both sides have them under."""
