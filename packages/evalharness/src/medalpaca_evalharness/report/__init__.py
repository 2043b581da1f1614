"""A report: its figures, its page, and the check that computes all of it again."""
