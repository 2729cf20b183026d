"""Runs the jobs of foresend.yaml on time, each in a process of its own."""
