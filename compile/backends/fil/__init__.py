"""Treelite's checkpoint, for Triton's FIL and for nvForest."""
