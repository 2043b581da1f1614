"""The model that is trained: loaded, made from nothing, or quantised, and the update it is given."""
