"""Chatterbox-Flash: the English T3, trained to write blocks of tokens by deciding masked ones."""
