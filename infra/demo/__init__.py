"""The main job, end to end, on real purchases: what `make demo` runs."""
