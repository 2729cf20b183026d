"""The online edge, and the scoring runtime that training evaluates with."""
