"""Runners: one standalone file an engine, with numpy, that engine and what lies beside it here.

Each file has a class ``Runner(model_file, parameters, threads)`` with ``predict(rows float32 [N, F]) -> float32
[N, K]``; the framework ones also give ``leaves`` and ``margins``. The same file is what parity and latency judge
here and what is copied beside the artifact for Triton's python backend, so what was measured is what is served.
"""
