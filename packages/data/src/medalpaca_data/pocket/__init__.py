"""The embedded pocket world: a few hundred medical facts in the project's own words, as cards and as an exam.

The cards teach, the exam asks about the same facts in sentences that no card and no pre-training text contains.
"""
