"""The statistics, from counts and probabilities alone."""
