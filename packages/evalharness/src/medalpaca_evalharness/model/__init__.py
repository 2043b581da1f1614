"""Model type of lm-eval that encodes each question once, and evaluates base and adapter in one pass."""
