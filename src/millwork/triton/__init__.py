"""A real Triton: install one from pip, start it, ask it, check its answers, stop it without a trace."""
