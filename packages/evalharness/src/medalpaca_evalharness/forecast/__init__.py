"""What a model's probabilities are worth: calibration, answers withheld, answer sets."""
