"""Drift, and the reports a person reads."""

from __future__ import annotations

import os

# Evidently reads this when it is imported, and would otherwise report its use over plain HTTP.
os.environ.setdefault("DO_NOT_TRACK", "1")
# The bar of two small files would be drawn over our own progress.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
