"""Foundations that every member imports: errors, files, offline mode, weights, rows, prompts, command lines."""
