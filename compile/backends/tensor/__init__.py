"""Trees as plain tensor operators, thresholds rank-encoded."""
