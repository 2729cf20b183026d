"""`foresend keys`: what a person types and sees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from feature_repo.errors import ConfigError
from infra.commands import keys_add, keys_list, keys_revoke


def run(*words: str) -> Result:
    app = typer.Typer()
    app.command("add")(keys_add.command)
    app.command("list")(keys_list.command)
    app.command("revoke")(keys_revoke.command)
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
