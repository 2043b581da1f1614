"""Base and fine-tuned model side by side on exam questions."""
