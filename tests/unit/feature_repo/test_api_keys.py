"""API keys: hashes on disk, and who is let in."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from feature_repo.api_keys import KeyFile, Scope, digest
from feature_repo.errors import ConfigError
from tests.unit.serving.conftest import NOW, Clock


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "state" / "keys.json")


def test_a_key_is_found_by_itself_and_kept_only_as_its_hash(keys: KeyFile, tmp_path: Path) -> None:
    key, secret = keys.add("mailer", [Scope.SCORE], clock=Clock())
    path = tmp_path / "state" / "keys.json"

    assert keys.holder(secret) == key
    assert keys.holder(secret + "x") is None
    assert secret.startswith("fsk_")
    assert secret not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_a_name_is_given_once(keys: KeyFile) -> None:
    keys.add("mailer", [Scope.SCORE], clock=Clock())

    with pytest.raises(ConfigError, match="'mailer' exists"):
        keys.add("mailer", [Scope.SCORE], clock=Clock())


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 65, "a/b"])
def test_a_name_that_cannot_be_one_is_refused(keys: KeyFile, name: str) -> None:
    with pytest.raises(ConfigError, match="1 to 64"):
        keys.add(name, [Scope.SCORE], clock=Clock())


def test_revoking_what_is_not_there_lists_what_is(keys: KeyFile) -> None:
    keys.add("mailer", [Scope.SCORE], clock=Clock())

    with pytest.raises(ConfigError, match="Known keys: mailer"):
        keys.revoke("mailre")


def test_a_running_reader_sees_what_another_process_changes(keys: KeyFile, tmp_path: Path) -> None:
    reader = KeyFile(tmp_path / "state" / "keys.json")
    assert reader.keys() == ()

    _, secret = keys.add("mailer", [Scope.SCORE], clock=Clock())
    assert reader.holder(secret) is not None

    keys.revoke("mailer")
    assert reader.holder(secret) is None


def _with(more: str) -> str:
    key = f'{{"name": "a", "sha256": "", "created_at": "", "scopes": [], {more}}}'
    return f'{{"format": 2, "keys": [{key}]}}'


def test_a_key_of_a_damaged_file_is_read_when_its_numbers_are_in_bounds(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(_with('"rate": 0.5, "burst": 1'))

    (key,) = KeyFile(path).keys()

    assert (key.rate, key.burst) == (0.5, 1)


@pytest.mark.parametrize(("rate", "burst"), [(0.0, None), (float("inf"), None), (1.0, 0)])
def test_a_rate_that_cannot_be_one_is_not_written(
    keys: KeyFile, rate: float, burst: int | None
) -> None:
    with pytest.raises(ConfigError, match=r"Key 'mailer' cannot be made"):
        keys.add("mailer", [Scope.SCORE], clock=Clock(), rate=rate, burst=burst)

    assert keys.keys() == ()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format": 3, "keys": []}',
        '{"format": 1, "keys": [{"name": "a"}]}',
        '{"format": 2, "keys": ["x"]}',
        '{"format": 2, "keys": "x"}',
        _with('"rate": 0'),
        _with('"rate": -1.0'),
        _with('"rate": Infinity'),
        _with('"rate": NaN'),
        _with('"rate": 1, "burst": 0'),
        _with('"rate": 1, "burst": Infinity'),
        # A moment without an offset is no moment.
        '{"format": 2, "keys": [{"name": "a", "sha256": "", "created_at": "", "scopes": [],'
        ' "expires_at": "2026-11-24T12:00:00"}]}',
    ],
)
def test_a_damaged_file_is_named_with_its_cure(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)

    with pytest.raises(ConfigError, match=r"keys\.json cannot be used"):
        KeyFile(path).keys()


def test_a_file_of_the_first_format_is_read_and_written_on(keys: KeyFile, tmp_path: Path) -> None:
    path = tmp_path / "state" / "keys.json"
    path.parent.mkdir()
    old = {"name": "a", "sha256": digest("fsk_a"), "created_at": "2026-01-01T00:00:00+00:00"}
    path.write_text(json.dumps({"format": 1, "keys": [{**old, "scopes": ["score"]}]}))

    assert keys.holder("fsk_a") is not None
    expires_at = NOW + timedelta(days=7)
    made, _ = keys.add("b", [Scope.INGEST], clock=Clock(), expires_at=expires_at, rate=9.5, burst=3)

    first, second = KeyFile(path).keys()
    assert (first.name, first.scopes, first.expires_at) == ("a", (Scope.SCORE,), None)
    assert second == made


def test_a_rotation_without_grace_leaves_only_the_newest_secret(tmp_path: Path) -> None:
    clock = Clock()
    keys = KeyFile(tmp_path / "keys.json", clock=clock)
    _, first = keys.add("mailer", [Scope.SCORE], clock=clock)
    second = keys.rotate("mailer", grace=timedelta(days=9), clock=clock)
    assert keys.holder(first) is not None

    third = keys.rotate("mailer", grace=timedelta(0), clock=clock)

    assert [keys.holder(secret) is not None for secret in (first, second, third)] == [
        False,
        False,
        True,
    ]
    assert all(secret not in (tmp_path / "keys.json").read_text() for secret in (first, third))


def test_a_later_rotation_never_prolongs_an_earlier_secret(tmp_path: Path) -> None:
    clock = Clock()
    keys = KeyFile(tmp_path / "keys.json", clock=clock)
    _, first = keys.add("mailer", [Scope.SCORE], clock=clock)
    keys.rotate("mailer", grace=timedelta(hours=1), clock=clock)
    keys.rotate("mailer", grace=timedelta(days=9), clock=clock)

    clock.now = NOW + timedelta(hours=1)

    assert keys.holder(first) is None


def test_nobody_is_let_in_by_an_expired_key(tmp_path: Path) -> None:
    clock = Clock()
    keys = KeyFile(tmp_path / "keys.json", clock=clock)
    _, secret = keys.add("a", [Scope.SCORE], clock=clock, expires_at=NOW + timedelta(seconds=1))
    assert keys.holder(secret) is not None

    clock.now = NOW + timedelta(seconds=1)

    assert keys.holder(secret) is None
    (kept,) = keys.keys()
    assert kept.name == "a"
