"""Data of training: from a folder of recordings to samples.

sources: lists clips as `item`s, from tables (table_rows, columns, guessing), json_lists,
recording_folders or hub_data; recordings finds the files that these name. listen, check, rates,
data_report: check the clips and report those that cannot be trained on. text, pitch, features,
array_cache: compute the networks' input, once. batches: split into training and evaluation, batches
of an epoch, samples.
"""
