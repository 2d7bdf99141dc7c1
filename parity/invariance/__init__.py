"""Proofs that a row's numbers do not depend on its company, and that the proofs can fail."""
