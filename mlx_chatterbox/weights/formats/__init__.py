"""Readers of tensor files from elsewhere, which never run code from a file."""
