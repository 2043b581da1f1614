"""What a run keeps: its directory, checkpoints, journal, curve, manifest and card."""
