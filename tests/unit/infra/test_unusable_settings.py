"""What cannot be used is told in one sentence, with exit code 2 and before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.errors import ConfigError
from feature_repo.ingest.settings import IngestSettings
from feature_repo.settings import load_settings
from infra.erasure_view import whom


def test_an_address_that_is_none_of_redis_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FORESEND_HOME", str(tmp_path))
    monkeypatch.setenv("FORESEND_REDIS_URL", "secret@nonsense")

    with pytest.raises(ConfigError, match="FORESEND_REDIS_URL") as found:
        load_settings()

    assert "secret" not in str(found.value)


def test_nobody_is_not_erased() -> None:
    with pytest.raises(ConfigError, match="empty"):
        whom(IngestSettings(), " ", [])
