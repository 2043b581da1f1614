"""Model type `medalpaca` of lm-eval: encodes each question once, and evaluates base and adapter in one pass."""
