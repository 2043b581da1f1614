"""Rephrasing of rows: by a model behind an OpenAI-compatible endpoint, checked against the source, or by rules."""
