"""Rephrasing of rows: by a model behind an OpenAI-compatible endpoint, or by rules without a model.

The answers of a model are checked against the original row.
"""
