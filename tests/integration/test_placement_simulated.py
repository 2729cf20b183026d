"""A simulated collapse, from events to answers: found, built, loaded, and equal on both sides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb
import pandas as pd
import pytest
from deltalake import DeltaTable

from feature_repo import addresses, agreement, contract, load, online, store
from feature_repo.deliverability.estimates import read_estimates
from feature_repo.deliverability.standing import standings
from feature_repo.history import duck
from feature_repo.history.build import BuildResult, build
from feature_repo.history.log import EventLog
from feature_repo.settings import Settings
from infra.simulator.history import write_history
from infra.simulator.options import Collapse, Options

pytestmark = [
    pytest.mark.integration,
    # Ibis 12 calls it on DuckDB 2.
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
FIRST, DAYS = 45, 14
MIDDLE, THROUGH = START + 56 * DAY, START + 66 * DAY
OPTIONS = Options(
    customers=1_000,
    days=66,
    seed=3,
    collapses=(Collapse(provider="google", domain=None, first_day=FIRST, days=DAYS, inbox=0.05),),
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, redis_server: str) -> Settings:
    """A home whose log holds the whole programme."""
    folder = tmp_path_factory.mktemp("collapse")
    (events,) = write_history(OPTIONS, folder / "sim").events
    settings = Settings(
        home=folder / "home", redis_url=redis_server, project="collapse", duckdb_threads=1
    )
    with duck.connect(settings) as con:
        EventLog(settings.log_path).append(con, con.from_parquet(str(events)))
    return settings


@pytest.fixture(scope="module")
def built(settings: Settings) -> BuildResult:
    """Built in the middle of the collapse, then to the end."""
    build(settings, through=MIDDLE)
    with online.connect(addresses.redis_url(settings)) as client:
        client.flushdb()
        load.load(settings, client, as_of=MIDDLE)
    return build(settings, through=THROUGH)


def test_only_the_collapsed_cells_are_impaired_on_its_days(
    settings: Settings, built: BuildResult
) -> None:
    estimates = read_estimates(settings).to_pylist()

    impaired = {
        (row["mailbox_provider"], (row["day"] - START.date()).days)
        for row in estimates
        if row["is_impaired"]
    }
    assert {provider for provider, _ in impaired} == {"google"}
    days = {day for _, day in impaired}
    assert {*range(FIRST + 1, FIRST + DAYS)} <= days <= {*range(FIRST, FIRST + DAYS + 2)}


def test_what_redis_serves_in_the_collapse_is_what_history_knows(
    settings: Settings, built: BuildResult
) -> None:
    found = agreement.verify(settings, MIDDLE)

    assert found.compared > 50_000
    assert found.mismatches == 0, found.examples


def test_customers_whose_mail_was_unseen_are_told_from_others(
    settings: Settings, built: BuildResult
) -> None:
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    files = DeltaTable(str(settings.feature_path(contract.CUSTOMER_PLACEMENT))).file_uris()
    con.from_parquet(files, hive_partitioning=False).create_view("placed")
    simulated = settings.home.parent / "sim"
    con.from_parquet(str(simulated / "truth.parquet")).create_view("truth")
    con.from_parquet(str(simulated / "events.parquet")).create_view("events")
    # Truth: of the last five mails before the middle, more than half were in spam.
    rows = con.execute(
        """
        WITH mails AS (
          SELECT events.customer_id, placement = 'spam' AS is_spam, row_number() OVER (
            PARTITION BY events.customer_id ORDER BY events.event_time DESC) AS back
          FROM events JOIN truth USING (event_id)
          WHERE events.type = 'sent' AND events.event_time < $at QUALIFY back <= 5
        ), truly AS (
          SELECT customer_id, avg(is_spam::INT) > 0.5 AS is_ghost FROM mails GROUP BY ALL
        ), said AS (
          SELECT customer_id, arg_max(ghost, event_timestamp) > 0.5 AS is_said
          FROM placed WHERE event_timestamp <= $at GROUP BY ALL
        )
        SELECT is_ghost, coalesce(is_said, false), count(*)
        FROM truly LEFT JOIN said USING (customer_id) GROUP BY ALL
        """,
        {"at": MIDDLE},
    ).fetchall()

    count = {(ghost, said): number for ghost, said, number in rows}
    hit, missed, wrong = count[True, True], count[True, False], count.get((False, True), 0)
    assert hit / (hit + missed) >= 0.8
    assert hit / (hit + wrong) >= 0.8


def test_feast_joins_the_placement_of_a_cell_as_of_each_moment(
    settings: Settings, built: BuildResult
) -> None:
    feast_store = store.open_store(settings)
    moments = [START + timedelta(days=day, hours=12) for day in (40, 50, 64)]
    entities = pd.DataFrame(
        {
            "sending_domain": "news.shop.example",
            "mailbox_provider": "google",
            contract.EVENT_TIMESTAMP: pd.to_datetime(moments),
        }
    )
    names = ("p_inbox", "is_impaired", "delivered_1d")

    frame = feast_store.get_historical_features(
        entities, [f"{contract.PLACEMENT}:{name}" for name in names]
    ).to_df()

    frame = frame.sort_values(contract.EVENT_TIMESTAMP)
    assert frame["is_impaired"].tolist() == [0.0, 1.0, 0.0]
    assert frame["p_inbox"].iloc[1] < 0.3 < 0.9 < frame["p_inbox"].iloc[0]
    assert frame["delivered_1d"].gt(0).all()


def test_standings_say_since_when_a_cell_is_impaired(
    settings: Settings, built: BuildResult
) -> None:
    found = standings(settings)

    assert len(found) == 10
    assert all(one.impaired_since is None for one in found)
    assert all(one.staleness["events"] == 1.0 for one in found)
    assert all(one.staleness["seed_list"] is None for one in found)
