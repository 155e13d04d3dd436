"""Lowering: ``frontends`` (a file -> LoadedModel), ``backends`` (a program -> a candidate), ``runners`` (run it)."""
