"""A LoRA run as one model: merged, compared with what it came from, and described."""
