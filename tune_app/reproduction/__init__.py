"""A bundle from which anyone can repeat a sweep, and the check that it says what it says.

A bundle is one zip archive: journals, reports, cells, tokenizers, hashes of the data, versions and
commands. `bundle` writes one, `verify` recomputes its numbers, checks its hashes and trains a
cell's first steps again. Knows nothing of Ray.
"""
