"""From what a model says or scores to an item's answer."""
