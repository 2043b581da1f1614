"""The same from a model that another program serves."""
