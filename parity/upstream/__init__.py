"""Upstream's files, its package's environment, and jobs that run in it."""
