"""Exams: read in any layout, judged, asked in one way, and found in texts."""
