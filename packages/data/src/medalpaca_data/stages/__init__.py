"""Stages of a build: one module for each step from the raw records of a source to the training and validation rows.

The modules are the stages, except `minhash` (the algorithm of `deduplicate`) and `split` (which only assigns rows).
"""
