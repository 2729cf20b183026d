"""Drift, and the reports a person reads."""
