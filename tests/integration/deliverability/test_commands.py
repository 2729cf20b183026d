"""`foresend deliverability` as its user meets it: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from feature_repo.errors import ForesendError
from infra.cli import build_app

pytestmark = pytest.mark.integration

SEEDS = Path(__file__).parents[2] / "fixtures" / "seeds"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environ: None) -> Path:
    monkeypatch.setenv("FORESEND_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def foresend(*words: str | Path) -> Result:
    return CliRunner().invoke(build_app(), ["deliverability", *map(str, words)])


def test_a_file_comes_in_and_shows_in_the_status() -> None:
    words = ("--form", "seed_list", "--known-at", "day+1d", "--json")
    done = foresend("import", SEEDS / "mailgun.json", *words)
    shown = foresend("status", "--json")

    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["readings"], told["pending"], told["rejected"]) == (8, 1, {"no_counts": 1})
    assert shown.exit_code == 0
    states = {one["source"]: one for one in json.loads(shown.stdout)}
    assert states["seed_list"]["newest_day"] == "2026-03-03"
    assert states["postmaster"]["verdict"] == "idle"


def test_a_source_without_a_number_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESEND_SNDS_KEY", "k3y")
    shown = foresend("status")

    assert shown.exit_code == 1
    assert "empty" in shown.output
    assert "k3y" not in shown.output


def test_mailboxes_are_known_by_name_without_dns() -> None:
    shown = foresend("mailboxes", "gmail.com", "hotmail.fr", "--json")

    assert shown.exit_code == 0
    told = json.loads(shown.stdout)
    assert {name: one["family"] for name, one in told.items()} == {
        "gmail.com": "google",
        "hotmail.fr": "microsoft",
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("pull",), "No source has credentials"),
        (("pull", "--source", "yahoo"), "'yahoo' cannot be asked"),
        (("mailboxes", "shop.example"), "FORESEND_MAILBOXES_DNS=true"),
        (("import", "nowhere", "--form", "arf"), "nowhere is not there"),
        (("import", __file__, "--form", "arf", "--known-at", "then"), "day+DELAY"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_with_its_cure(
    words: tuple[str, ...], told: str
) -> None:
    done = foresend(*words)

    assert isinstance(done.exception, ForesendError)
    assert done.exception.exit_code == 2
    assert told in str(done.exception)
