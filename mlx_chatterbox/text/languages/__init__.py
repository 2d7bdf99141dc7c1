"""Front ends: the preparation of a language's text before it is cut into tokens.

A library that only one language needs is imported when that language is first spoken.
"""
