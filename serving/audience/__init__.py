"""Scoring a whole segment as a job."""
