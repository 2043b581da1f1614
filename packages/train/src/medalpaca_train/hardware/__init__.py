"""What this machine has, and how much work it can do."""
