"""A backend is a folder here and a row of ``table.py``."""
