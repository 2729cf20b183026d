"""`foresend keys`: what a person types and sees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from feature_repo.errors import ConfigError
from infra.commands import keys_add, keys_list, keys_revoke, keys_rotate


def run(*words: str) -> Result:
    app = typer.Typer()
    app.command("add")(keys_add.command)
    app.command("list")(keys_list.command)
    app.command("revoke")(keys_revoke.command)
    app.command("rotate")(keys_rotate.command)
    return CliRunner().invoke(app, words)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESEND_HOME", str(tmp_path))


def test_a_key_is_printed_once_alone_on_stdout_and_never_listed() -> None:
    added = run("add", "mailer")

    secret = added.stdout.strip()
    assert secret.startswith("fsk_")
    assert secret not in run("list").output
    assert secret not in run("list", "--json").output


def test_json_holds_what_a_script_needs() -> None:
    added = json.loads(run("add", "hook", "--scope", "ingest", "--json").stdout)
    listed = json.loads(run("list", "--json").stdout)

    assert added["scopes"] == ["ingest"]
    assert added["key"].startswith("fsk_")
    assert [key["name"] for key in listed["keys"]] == ["hook"]


def test_a_revoked_key_is_gone() -> None:
    run("add", "mailer")
    run("revoke", "mailer")

    assert "foresend keys add" in run("list").output


def test_an_unknown_scope_is_named_with_those_there_are() -> None:
    result = run("add", "mailer", "--scope", "scroe")

    assert isinstance(result.exception, ConfigError)
    assert "'scroe' is not one of: score, ingest, admin" in str(result.exception)


def test_a_rotated_key_has_two_secrets_until_the_grace_ends() -> None:
    old = run("add", "mailer").stdout.strip()
    new = json.loads(run("rotate", "mailer", "--grace", "2h", "--json").stdout)
    (listed,) = json.loads(run("list", "--json").stdout)["keys"]

    assert new["key"].startswith("fsk_")
    assert new["key"] != old
    assert new["grace_s"] == 7200
    assert listed["secrets"] == 2

    last = run("rotate", "mailer", "--grace", "0s")
    assert last.stdout.strip().startswith("fsk_")
    assert json.loads(run("list", "--json").stdout)["keys"][0]["secrets"] == 1


def test_a_key_may_have_a_rate_and_an_end() -> None:
    run("add", "mailer", "--rate", "600/min", "--burst", "50", "--expires", "90d")

    (listed,) = json.loads(run("list", "--json").stdout)["keys"]
    assert (listed["rate"], listed["burst"], listed["is_expired"]) == (10.0, 50, False)
    assert "10/s" in run("list").output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--rate", "fast"), "--rate 'fast' is no rate"),
        (("--rate", "0/s"), "is no rate above 0"),
        (("--burst", "5"), "needs a --rate"),
        (("--expires", "soon"), "--expires 'soon' is no length of time"),
        (("--expires", "99999d"), "is no length of time"),
    ],
)
def test_a_limit_that_cannot_be_is_told_with_its_cure(words: tuple[str, ...], told: str) -> None:
    result = run("add", "mailer", *words)

    assert isinstance(result.exception, ConfigError)
    assert told in str(result.exception)
