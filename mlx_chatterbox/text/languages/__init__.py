"""Front ends: what a language's text goes through before it is cut into tokens.

A library that only one language needs is imported when that language is first spoken.
"""
