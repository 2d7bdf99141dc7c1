"""Texts of Chatterbox-Flash: upstream's own cleaner, for comparison, and its marks."""
