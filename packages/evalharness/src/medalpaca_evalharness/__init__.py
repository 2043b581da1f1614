"""Medical exams as tasks of lm-evaluation-harness, and the comparison of two results.

This file stays empty of imports: the start-up file in site-packages imports the package in every Python
process.
"""
