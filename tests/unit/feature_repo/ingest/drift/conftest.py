"""What the tests of drift share: an installation of their own and rejected events."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_repo.settings import Settings

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")
