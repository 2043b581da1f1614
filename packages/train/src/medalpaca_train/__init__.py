"""Fine-tunes a causal language model on Meadow rows: LoRA or full, resumable, with a receipt."""

__version__ = "0.1.0"
