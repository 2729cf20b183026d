"""Drift, and the reports a person reads."""

from __future__ import annotations

import os

# Evidently and MLflow read these when they are imported, and would otherwise report their use.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# The bar of two small files would be drawn over our own progress.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
