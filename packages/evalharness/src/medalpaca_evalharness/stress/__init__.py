"""One exam asked in other ways, and what of a score holds."""
