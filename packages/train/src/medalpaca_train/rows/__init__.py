"""Rows on their way to tensors: tokens, the plan of steps, batches, and a preview of them."""
