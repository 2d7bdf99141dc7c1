"""Data of training: from a folder of recordings to samples.

sources: lists clips as `item`s, from tables (rows, columns, guessing), json_lists, layouts or hub;
recordings finds the files that these name. listen, check, rates, report: check the clips and report
those that cannot be trained on. text, pitch, features, cache: compute the networks' input, once.
batches: split into training and evaluation, batches of an epoch, samples.
"""
