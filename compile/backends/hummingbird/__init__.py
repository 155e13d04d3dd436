"""Hummingbird, in an environment of its own: what it is fed, and what it makes of it.

Its own readers lose what a framework's file says (XGBoost 3's base score, where a missing value goes, thresholds of
exactly -1 in an ONNX file). So it is fed our forest, in the form of a scikit-learn forest of regressors, which has
nothing that could be lost: see :mod:`.feed`.
"""
