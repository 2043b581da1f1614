"""The model type: every question encoded once, and base and tuned in one pass."""
