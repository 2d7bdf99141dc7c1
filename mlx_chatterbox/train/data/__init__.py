"""From a folder of recordings to samples.

sources: where clips are listed, as `item`s: tables (rows, columns, guessing), json_lists, layouts,
hub; recordings finds the files that these name. listen, check, rates, report: which of them can be
trained on, and what is wrong with the others. text, pitch, features, cache: what the networks want
to know of a clip, computed once. batches: split, plan of an epoch, samples.
"""
