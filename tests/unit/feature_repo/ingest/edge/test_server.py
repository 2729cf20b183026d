"""Settings and the composition root."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.errors import ConfigError
from feature_repo.ingest.server import open_app, serve
from feature_repo.ingest.settings import IngestSettings, load_ingest_settings
from feature_repo.settings import Settings


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESEND_INGEST_CUSTOMER_KEYS", "contact, customer_id")

    assert load_ingest_settings().customer_keys == ("contact", "customer_id")


def test_a_bad_setting_is_named_with_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESEND_INGEST_MAX_BODY_BYTES", "much")

    with pytest.raises(ConfigError, match="FORESEND_INGEST_MAX_BODY_BYTES has value 'much'"):
        load_ingest_settings()


@pytest.mark.parametrize("value", ["s3cret", '["s3cret"]', '{"acme": ["s3cret"]}'])
def test_a_bad_secret_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FORESEND_INGEST_SECRETS", value)

    with pytest.raises(ConfigError, match="FORESEND_INGEST_SECRETS") as caught:
        load_ingest_settings()
    assert "s3cret" not in str(caught.value)


def test_insecure_local_listens_on_loopback_only(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)

    with pytest.raises(ConfigError, match="loopback only"):
        serve(settings, host="0.0.0.0", port=0, insecure_local=True)


@pytest.mark.parametrize("insecure_local", [True, False])
def test_the_application_is_made_while_the_queue_is_away(
    tmp_path: Path, insecure_local: bool
) -> None:
    settings = Settings(home=tmp_path, redis_url="redis://127.0.0.1:1/0")

    app = open_app(settings, IngestSettings(), insecure_local=insecure_local)

    assert app.state.health.is_alive()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("a file")
    settings = Settings(home=tmp_path, redis_url="redis://127.0.0.1:1/0")

    with pytest.raises(ConfigError, match="raw store's folder"):
        open_app(settings, IngestSettings(), insecure_local=True)
