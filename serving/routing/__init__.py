"""Scores through queues: requests and results, changed scores, and what is to be done."""
