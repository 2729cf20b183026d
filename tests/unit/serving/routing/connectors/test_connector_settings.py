"""The part `routing.connectors`: what it may say, and how it answers to what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from feature_repo.config import SHIPPED, Config, read_config
from feature_repo.errors import ConfigError
from serving.routing.connectors.kinds import Means, open_connector
from serving.routing.connectors.process import chosen, chosen_one
from serving.routing.connectors.settings import connector_settings
from serving.routing.settings import routing_settings
from tests.unit.serving.routing.connectors.world import Time, settings_of

HOOK: dict[str, Any] = {
    "kind": "webhook",
    "url": "https://a.example",
    "secret_env": "FORESEND_SECRET",
}
MAUTIC: dict[str, Any] = {"kind": "mautic", "url": "https://a.example", "user_env": "FORESEND_USER"}


def open_it(**keys: Any) -> None:
    means = Means(pace=Time().pace, home=Path(), transport=httpx.MockTransport(lambda _: None))  # type: ignore[arg-type]  # never asked
    open_connector(settings_of(**keys), means).close()


def test_the_shipped_file_declares_none() -> None:
    assert connector_settings(read_config(SHIPPED), {}) == ()


def test_the_documented_file_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "foresend.yaml"
    path.write_text("""
targets: {purchase_30d: {event: purchased, horizon_days: 30, spine: weekly}}
routing:
  enabled: true
  connectors:
    crm:
      kind: mautic
      targets: [purchase_30d]
      url: https://mautic.example.com
      user_env: FORESEND_MAUTIC_USER
      password_env: FORESEND_MAUTIC_PASSWORD
      contact: {by: field, field: foresend_id}
      fields:
        score: foresend_score
        tier: foresend_tier
        action: foresend_action
        holdout: foresend_holdout
    hook:
      {kind: webhook, url: https://e.example/f, secret_env: FORESEND_S, streams: [changed, results]}
    warehouse:
      {kind: files, folder: /srv/outbox/scores, format: parquet, batch: 5000, linger_s: 300}
""")
    config = read_config(path)

    crm, hook, warehouse = connector_settings(config, {})

    assert routing_settings(config).enabled
    assert (crm.newest_only, crm.batch, crm.streams) == (True, 100, ("score.changed",))
    assert (hook.newest_only, hook.streams) == (False, ("score.changed", "score.results"))
    assert warehouse.linger_s == 300.0


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"kind": "mailchimp"}, "kind has value 'mailchimp'"),
        ({}, "kind has value None"),
        ({**HOOK, "token_env": "FORESEND_X"}, "token_env is not a key"),
        ({**HOOK, "streams": "change"}, "use changed, results"),
        ({**HOOK, "targets": ["sell"]}, "use buy"),
        ({**HOOK, "targets": []}, "targets is empty"),
        ({**HOOK, "batch": 0}, "whole number from 1"),
        ({**HOOK, "batch": True}, "whole number from 1"),
        ({**MAUTIC, "batch": 201}, "from 1 to 200"),
        ({**HOOK, "rate_per_s": 0}, "number up to 1000"),
        ({**HOOK, "newest_only": "yes"}, "true or false"),
        ({**HOOK, "url": "ftp://a.example"}, "no address"),
        ({**HOOK, "url": "https://me:pass@a.example"}, "no password"),
        ({**HOOK, "url": "https://[::1"}, "no address"),
        ({**HOOK, "url": "http://10.0.0.1/x"}, "allow_http: true"),
        ({**HOOK, "secret_env": "hunter2"}, "must be the name of an environment variable"),
        ({**HOOK, "secret_env": "FORESEND_MISSING"}, "FORESEND_MISSING is not set"),
        (MAUTIC, "password_env must be the name"),
        ({**MAUTIC, "password_env": "FORESEND_USER", "fields": {"scores": "x"}}, "not a key"),
        ({**MAUTIC, "password_env": "FORESEND_USER", "contact": {"by": "name"}}, "id, field, file"),
        (
            {**MAUTIC, "password_env": "FORESEND_USER", "contact": {"by": "file", "path": "/no"}},
            "is no file",
        ),
        (
            {"kind": "sendgrid", "token_env": "FORESEND_TOKEN", "contact": {"field": "name"}},
            "use one of email, external_id",
        ),
        ({"kind": "files", "format": "xlsx"}, "use csv, parquet"),
    ],
)
def test_what_cannot_be_used_is_said_with_the_cure(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_it(**keys)

    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "pass@" not in str(caught.value)


def test_settings_do_not_show_secrets() -> None:
    assert "open sesame" not in repr(settings_of(**MAUTIC))


def test_two_targets_would_overwrite_each_others_fields() -> None:
    with pytest.raises(ConfigError, match="name one"):
        settings_of(declared=("buy", "open"), **MAUTIC)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1"])
def test_this_machine_may_be_reached_without_tls(url: str) -> None:
    open_it(**{**HOOK, "url": url})


@pytest.mark.parametrize("name", ["Bad name", "all", "x" * 41, 7])
def test_names_are_plain(name: object) -> None:
    sections = {"routing": {"connectors": {name: HOOK}}}
    config = Config(path=Path("f"), targets={}, sections=sections)

    with pytest.raises(ConfigError, match="small letters"):
        connector_settings(config, {})


def test_a_list_of_connectors_is_no_mapping() -> None:
    config = Config(path=Path("f"), targets={}, sections={"routing": {"connectors": [HOOK]}})

    with pytest.raises(ConfigError, match="mapping of names"):
        connector_settings(config, {})


def test_a_name_that_is_not_declared_is_told_with_those_that_are() -> None:
    found = [settings_of(**HOOK)]

    assert chosen(found, "all") == chosen(found, "tool") == found
    for choose in (chosen, chosen_one):
        with pytest.raises(ConfigError, match="tool"):
            choose(found, "tol")
    with pytest.raises(ConfigError, match="declares no connectors"):
        chosen([], "all")
