"""Benchmarks of the send-time path: our server beside what a user of Feast would write."""
