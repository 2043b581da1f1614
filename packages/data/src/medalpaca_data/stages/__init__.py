"""What happens to rows between their source and the Meadow directory: one stage, one file."""
