"""Exact and fast calls of the boosters' C libraries."""
