"""ONNX: tree ensembles of ai.onnx.ml, and nets."""
