"""The HTTP edge of scoring: the hot route, its parsing, and what surrounds requests."""
