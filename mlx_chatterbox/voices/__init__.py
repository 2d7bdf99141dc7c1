"""Voices: made of recordings, saved, checked against a model, corrected."""
