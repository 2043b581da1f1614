"""Several processes that train one model: who they are, how work and weights are shared out, how they end."""
