"""HTML and JSON reports of exam results, and their verification: `exam report` and `exam verify`."""
