"""Starts and ships things: the command line, the local stack, the demo, the benchmarks."""
