"""What lm-eval logged: a run, its samples, whether they are whole, and what one run shows."""
