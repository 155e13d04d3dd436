"""Load on a real server: closed loops by perf_analyzer or by our clients, open loops by our own generator."""
