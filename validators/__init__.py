"""The gate: what to test on (``rows``), is it right (``parity``), how fast (``latency``), which one (``choose``), and
does a real Triton serve it (``triton``)."""
