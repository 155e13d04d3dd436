"""The ``toy`` backend: the worked example of docs/architecture.md."""
