"""Rows in other words: by a model behind any OpenAI-compatible endpoint, checked against their source, or by rule."""
