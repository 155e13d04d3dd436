"""millwork: compiler and release gate for tabular models on Triton Inference Server."""

__version__ = "0.1.0"
