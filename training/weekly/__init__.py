"""The weekly run: every target, resumable, and its report."""
