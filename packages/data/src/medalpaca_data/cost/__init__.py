"""What rephrasing would take, and what it took."""
