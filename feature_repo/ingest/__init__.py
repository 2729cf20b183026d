"""From foreign tables and payloads to canonical events."""

from __future__ import annotations

from feature_repo.ingest.webhook.parsing import parse

__all__ = ["parse"]
