"""Measure how an exam score changes if the items are perturbed: `exam stress`."""
