"""Base against tuned: compared item by item, and what the difference is worth."""
