"""Readers of files, for `tests/fuzzing.py`: a module for each subject, with `READERS`."""
