"""Passes on ONNX graphs: onnx-ir's own, in the order that we want."""
