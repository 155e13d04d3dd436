"""A model that can't be loaded."""

MISSING = {}["the weights"]
