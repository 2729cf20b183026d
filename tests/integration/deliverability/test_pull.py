"""Asking the sources: what is kept, what a failure costs, and what is told of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pyarrow.compute as pc
import pytest

from feature_repo.deliverability.pull import Pulled, configured, pull
from feature_repo.deliverability.readings import Readings
from feature_repo.deliverability.state import read_states
from feature_repo.deliverability.status import SourceStatus, status
from feature_repo.errors import ConfigError, StoreUnavailable
from feature_repo.history import duck
from feature_repo.settings import Settings
from feature_repo.sole import only_one
from tests.unit.feature_repo.deliverability.discovery import answer
from tests.unit.feature_repo.deliverability.world import NOON, Clock, Web

pytestmark = pytest.mark.integration

SNDS = Path(__file__).parents[2] / "fixtures" / "snds"
CONFIG = """
targets: {click_7d: {event: clicked, horizon_days: 7, spine: sent}}
deliverability: {sending_ips: {192.0.2.0/24: news.example}}
"""


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, clean_environ: None) -> None:
    monkeypatch.setenv("FORESEND_POSTMASTER_CLIENT_ID", "id")
    monkeypatch.setenv("FORESEND_POSTMASTER_CLIENT_SECRET", "s3cret")
    monkeypatch.setenv("FORESEND_POSTMASTER_REFRESH_TOKEN", "r3fresh")
    monkeypatch.setenv("FORESEND_POSTMASTER_REPULL_DAYS", "3")
    monkeypatch.setenv("FORESEND_POSTMASTER_COMPLIANCE", "false")
    monkeypatch.setenv("FORESEND_SNDS_KEY", "k3y")
    monkeypatch.setenv("FORESEND_SNDS_REPULL_DAYS", "1")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "own.yaml").write_text(CONFIG)
    return Settings(home=tmp_path / "home", config=tmp_path / "own.yaml")


@pytest.fixture
def con(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with duck.connect(settings) as opened:
        yield opened


class Sources:
    """Google and Microsoft, as recorded; `queries` replaces answers of domainStats:query."""

    def __init__(self, *queries: httpx.Response) -> None:
        self.queries = iter(queries)
        self.web = Web(handler=self.answer)

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/token":
            return httpx.Response(200, json={"access_token": "t", "expires_in": 3600})
        if path == "/v2/domains":
            return httpx.Response(200, json=answer("domains_2" if request.url.params.get(
                "pageToken") else "domains_1"))  # fmt: skip
        if path.endswith(":query"):
            return next(self.queries, httpx.Response(200, json=answer("stats_none")))
        name = "data.csv" if path.endswith("data.aspx") else "ip_status.csv"
        return httpx.Response(200, content=(SNDS / name).read_bytes())

    def pull(self, settings: Settings, clock: Clock, *sources: str) -> list[Pulled]:
        return pull(
            settings,
            sources,
            pace=clock.pace(),
            progress=lambda *_: None,
            transport=self.web.transport(),
        )


def stats(name: str) -> httpx.Response:
    return httpx.Response(200, json=answer(name))


def spam_rates(
    settings: Settings, con: duckdb.DuckDBPyConnection, at: datetime | None = None
) -> dict[int, float | None]:
    rows = Readings(settings.deliverability_path / "readings").as_known(con, at)
    wanted = pc.and_(
        pc.equal(rows["metric"], "gpt_spam_rate"), pc.equal(rows["sending_domain"], "news.example")
    )
    found = rows.filter(wanted)
    days: list[date] = found["day"].to_pylist()
    return dict(zip([day.day for day in days], found["value"].to_pylist(), strict=True))


def test_later_pulls_fill_in_what_was_missing_and_keep_what_was_known(
    settings: Settings, con: duckdb.DuckDBPyConnection
) -> None:
    clock = Clock()
    Sources(stats("stats_2")).pull(settings, clock, "postmaster")
    first = clock.now
    clock.now += timedelta(hours=6)
    (again,) = Sources(stats("stats_1"), stats("stats_2")).pull(settings, clock, "postmaster")

    assert spam_rates(settings, con, first) == {3: None, 4: None, 5: 0.0}
    assert spam_rates(settings, con) == {3: 0.0012, 4: None, 5: 0.0}
    # One rate, two kinds of authentication and one reason of errors are new; the rest was known.
    assert again.added == 4
    assert again.rejected == {"unverified": 1}


def test_what_came_before_a_failure_is_kept(
    settings: Settings, con: duckdb.DuckDBPyConnection
) -> None:
    busy = httpx.Response(429, headers={"retry-after": "7200"})
    clock = Clock()
    (done,) = Sources(stats("stats_2"), busy).pull(settings, clock, "postmaster")

    assert done.outcome == "failed"
    assert done.added > 0
    assert spam_rates(settings, con)[5] == 0.0
    state = read_states(settings)["postmaster"]
    assert state.retry_at == clock.now + timedelta(hours=2)
    assert state.succeeded_at is None


def test_a_source_is_left_alone_until_it_said(settings: Settings) -> None:
    clock = Clock()
    Sources(httpx.Response(429, headers={"retry-after": "7200"})).pull(
        settings, clock, "postmaster"
    )
    early = Sources()
    clock.now += timedelta(minutes=119)
    (waiting,) = early.pull(settings, clock, "postmaster")
    assert (waiting.outcome, early.web.requests) == ("waiting", [])

    clock.now += timedelta(minutes=2)
    (done,) = early.pull(settings, clock, "postmaster")
    assert done.outcome == "done"
    assert read_states(settings)["postmaster"].failure is None


def test_a_source_that_fails_does_not_stop_the_next(
    settings: Settings, con: duckdb.DuckDBPyConnection
) -> None:
    refused = httpx.Response(401, json={})
    sources = Sources(refused, refused, refused, refused)
    google, microsoft = sources.pull(settings, Clock(), "postmaster", "snds")

    assert (google.outcome, microsoft.outcome) == ("failed", "done")
    assert microsoft.added == 9
    assert "k3y" not in repr([google, microsoft, read_states(settings)])


def verdicts(settings: Settings, now: datetime) -> dict[str, SourceStatus]:
    return {one.source: one for one in status(settings, ["postmaster", "snds"], now)}


def test_status_tells_what_is_fresh_and_what_is_not(settings: Settings) -> None:
    clock = Clock()
    before = verdicts(settings, clock.now)
    Sources(stats("stats_2")).pull(settings, clock, "postmaster", "snds")
    fresh = verdicts(settings, clock.now)
    old = verdicts(settings, clock.now + timedelta(days=6))

    assert [before[name].verdict for name in ("postmaster", "snds", "arf")] == [
        "empty", "empty", "idle",
    ]  # fmt: skip
    assert (fresh["postmaster"].verdict, fresh["postmaster"].stale_days) == ("fresh", 1)
    assert fresh["postmaster"].newest_day == date(2026, 3, 5)
    assert fresh["snds"].verdict == "fresh"
    assert old["postmaster"].verdict == "stale"
    assert old["postmaster"].is_bad
    assert not old["arf"].is_bad


def test_status_tells_of_failures_and_of_waiting(settings: Settings) -> None:
    clock = Clock()
    busy = httpx.Response(429, headers={"retry-after": "7200"})
    Sources(stats("stats_2"), busy).pull(settings, clock, "postmaster")

    assert verdicts(settings, clock.now)["postmaster"].verdict == "waiting"
    assert verdicts(settings, clock.now + timedelta(hours=3))["postmaster"].verdict == "failing"


def test_a_damaged_state_file_stops_nothing(settings: Settings) -> None:
    settings.deliverability_path.mkdir(parents=True)
    (settings.deliverability_path / "sources.json").write_text('{"postmaster": {}}')

    assert [one.outcome for one in Sources().pull(settings, Clock(), "postmaster")] == ["done"]


def test_two_pulls_do_not_run_at_once(settings: Settings) -> None:
    with (
        only_one(settings, "deliverability-pull"),
        pytest.raises(StoreUnavailable, match="running"),
    ):
        Sources().pull(settings, Clock(), "postmaster")


@pytest.mark.parametrize(
    ("unset", "source", "told"),
    [
        (["FORESEND_SNDS_KEY"], "snds", "FORESEND_SNDS_KEY is not set"),
        (["FORESEND_POSTMASTER_CLIENT_SECRET"], "postmaster", "FORESEND_POSTMASTER_CLIENT_SECRET,"),
        ([], "yahoo", "postmaster or snds"),
    ],
)
def test_what_is_not_set_is_told_by_name(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, unset: list[str], source: str, told: str
) -> None:
    for name in unset:
        monkeypatch.delenv(name)

    with pytest.raises(ConfigError, match=told) as failure:
        Sources().pull(settings, Clock(), source)
    assert "r3fresh" not in str(failure.value)


def test_snds_needs_to_know_who_sends_from_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sending_ips"):
        Sources().pull(Settings(home=tmp_path), Clock(), "snds")


def test_only_sources_with_credentials_are_asked_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert configured() == ["postmaster", "snds"]
    monkeypatch.delenv("FORESEND_SNDS_KEY")
    assert configured() == ["postmaster"]


def test_knowledge_time_is_the_pull(settings: Settings, con: duckdb.DuckDBPyConnection) -> None:
    Sources(stats("stats_2")).pull(settings, Clock(), "postmaster")
    rows: list[dict[str, Any]] = (
        Readings(settings.deliverability_path / "readings").all(con).to_pylist()
    )

    assert {row["received_time"] for row in rows} == {NOON}
    assert {json.dumps(row["raw_ref"]) for row in rows} == {'"pull:2026-03-06T12:00:00Z"'}
