"""HTML and JSON reports of exam results, and their verification."""
