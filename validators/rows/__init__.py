"""Rows to test on: the user's own (``table``), and adversarial ones made from the model (``adversarial``)."""
