"""Who is let in, how often, and how soon a changed key file acts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from feature_repo.api_keys import KeyFile, Scope
from serving.admission.keys import RECHECK_S, Doorkeeper
from serving.errors import BadKey, KeysUnreadable, MissingScope, RateLimited
from tests.unit.serving.conftest import NOW, Clock


class Ticks:
    """A monotonic clock that is moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def keys(tmp_path: Path, clock: Clock) -> KeyFile:
    return KeyFile(tmp_path / "keys.json", clock=clock)


@pytest.fixture
def add(keys: KeyFile, clock: Clock) -> Callable[..., str]:
    def make(name: str = "mailer", **more: Any) -> str:
        return keys.add(name, [Scope.SCORE], clock=clock, **more)[1]

    return make


@pytest.fixture
def door(tmp_path: Path, clock: Clock, ticks: Ticks) -> Doorkeeper:
    return Doorkeeper(KeyFile(tmp_path / "keys.json", clock=clock), workers=1, monotonic=ticks)


def test_without_a_key_file_everybody_is_local() -> None:
    assert Doorkeeper(None, workers=1).admit(None, Scope.ADMIN) == "local"


def test_the_holder_is_named_and_others_are_refused(
    door: Doorkeeper, add: Callable[..., str]
) -> None:
    secret = add()

    assert [door.admit(secret, Scope.SCORE) for _ in range(2)] == ["mailer", "mailer"]
    for wrong in (None, "", "fsk_no", secret + "x"):
        with pytest.raises(BadKey) as refused:
            door.admit(wrong, Scope.SCORE)
        assert refused.value.headers["WWW-Authenticate"] == "Bearer"
    with pytest.raises(MissingScope, match="'admin'"):
        door.admit(secret, Scope.ADMIN)


def test_a_new_key_works_at_once_and_a_revoked_one_is_out_after_the_recheck(
    door: Doorkeeper, add: Callable[..., str], keys: KeyFile, ticks: Ticks
) -> None:
    first = add("first")
    assert door.admit(first, Scope.SCORE) == "first"
    second = add("second")
    assert door.admit(second, Scope.SCORE) == "second"

    keys.revoke("first")
    ticks.now += RECHECK_S

    with pytest.raises(BadKey):
        door.admit(first, Scope.SCORE)
    assert door.admit(second, Scope.SCORE) == "second"
    assert RECHECK_S < 1.0


def test_after_a_rotation_both_secrets_open_until_the_grace_ends(
    door: Doorkeeper, add: Callable[..., str], keys: KeyFile, ticks: Ticks, clock: Clock
) -> None:
    old = add()
    new = keys.rotate("mailer", grace=timedelta(hours=24), clock=clock)
    assert {door.admit(secret, Scope.SCORE) for secret in (old, new)} == {"mailer"}

    clock.now = NOW + timedelta(hours=24)
    ticks.now += RECHECK_S

    assert door.admit(new, Scope.SCORE) == "mailer"
    with pytest.raises(BadKey):
        door.admit(old, Scope.SCORE)


def test_an_expired_key_is_refused(
    door: Doorkeeper, add: Callable[..., str], ticks: Ticks, clock: Clock
) -> None:
    secret = add(expires_at=NOW + timedelta(days=1))
    assert door.admit(secret, Scope.SCORE) == "mailer"

    clock.now = NOW + timedelta(days=1)
    ticks.now += RECHECK_S

    with pytest.raises(BadKey, match="expired"):
        door.admit(secret, Scope.SCORE)


def test_a_key_asks_as_often_as_it_may_and_is_told_how_long_to_wait(
    door: Doorkeeper, add: Callable[..., str], ticks: Ticks
) -> None:
    secret, free = add(rate=0.5, burst=2), add("free")

    assert [door.admit(secret, Scope.SCORE) for _ in range(2)] == ["mailer"] * 2
    with pytest.raises(RateLimited, match="2000 ms") as refused:
        door.admit(secret, Scope.SCORE)
    assert refused.value.headers == {"Retry-After": "2"}
    assert refused.value.document("id")["status"] == 429
    assert door.admit(free, Scope.SCORE) == "free"

    ticks.now += 2.0
    assert door.admit(secret, Scope.SCORE) == "mailer"


def test_a_changed_key_file_does_not_refill_a_bucket(
    door: Doorkeeper, add: Callable[..., str], keys: KeyFile, ticks: Ticks, clock: Clock
) -> None:
    old = add(rate=0.1, burst=1)
    door.admit(old, Scope.SCORE)

    new = keys.rotate("mailer", grace=timedelta(hours=1), clock=clock)
    ticks.now += RECHECK_S

    for secret in (old, new):
        with pytest.raises(RateLimited):
            door.admit(secret, Scope.SCORE)


def test_a_rate_is_shared_by_the_workers(
    tmp_path: Path, clock: Clock, ticks: Ticks, add: Callable[..., str]
) -> None:
    secret = add(rate=10.0, burst=8)
    doors = [
        Doorkeeper(KeyFile(tmp_path / "keys.json", clock=clock), workers=4, monotonic=ticks)
        for _ in range(4)
    ]

    def allowed() -> int:
        count = 0
        for door in doors:
            for _ in range(20):
                try:
                    door.admit(secret, Scope.SCORE)
                except RateLimited:
                    break
                count += 1
        return count

    assert allowed() == 8
    ticks.now += 0.4
    assert allowed() == 4


@pytest.mark.parametrize("is_known", [True, False])
def test_a_file_that_cannot_be_looked_at_lets_nobody_in(
    door: Doorkeeper,
    add: Callable[..., str],
    ticks: Ticks,
    monkeypatch: pytest.MonkeyPatch,
    is_known: bool,
) -> None:
    secret = add()
    assert door.admit(secret, Scope.SCORE) == "mailer"

    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", denied)
    ticks.now += RECHECK_S if is_known else 0.0
    with pytest.raises(KeysUnreadable):
        door.admit(secret if is_known else "fsk_unknown", Scope.SCORE)

    monkeypatch.undo()
    ticks.now += RECHECK_S
    assert door.admit(secret, Scope.SCORE) == "mailer"


def test_a_share_of_a_rate_is_named_as_such(
    tmp_path: Path, clock: Clock, ticks: Ticks, add: Callable[..., str]
) -> None:
    secret = add(rate=8.0, burst=4)
    door = Doorkeeper(KeyFile(tmp_path / "keys.json", clock=clock), workers=4, monotonic=ticks)
    door.admit(secret, Scope.SCORE)

    with pytest.raises(RateLimited, match="8 times a second, 2 at each of the 4 workers"):
        door.admit(secret, Scope.SCORE)


def test_a_damaged_file_lets_nobody_in_until_it_is_mended(
    door: Doorkeeper, add: Callable[..., str], keys: KeyFile, ticks: Ticks, tmp_path: Path
) -> None:
    secret = add()
    good = (tmp_path / "keys.json").read_text()
    (tmp_path / "keys.json").write_text("{")

    with pytest.raises(KeysUnreadable) as refused:
        door.admit(secret, Scope.SCORE)
    assert str(tmp_path) not in str(refused.value)

    (tmp_path / "keys.json").write_text(good)
    ticks.now += RECHECK_S
    assert door.admit(secret, Scope.SCORE) == "mailer"
