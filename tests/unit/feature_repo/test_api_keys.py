"""API keys: hashes on disk, and who is let in."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.api_keys import KeyFile, Scope
from feature_repo.errors import ConfigError
from tests.unit.serving.conftest import Clock


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


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": 2, "keys": []}', '{"format": 1, "keys": [{"name": "a"}]}']
)
def test_a_damaged_file_is_named_with_its_cure(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)

    with pytest.raises(ConfigError, match=r"keys\.json cannot be used"):
        KeyFile(path).keys()
