"""The loss of packed rows: attention, the last layer in chunks, and the check that it is the model's own."""
