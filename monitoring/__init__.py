"""Drift, and the reports a person reads."""

from __future__ import annotations

import os

# Evidently reads this when it is imported, and would otherwise report its use over plain HTTP.
os.environ.setdefault("DO_NOT_TRACK", "1")
