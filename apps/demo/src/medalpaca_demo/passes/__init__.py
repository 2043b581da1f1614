"""What one pass of the engine is: what is asked, read, rated, written and told back, on our own weights."""
