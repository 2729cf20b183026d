"""What a simulated programme promises: the same bytes, true truth, the faults asked for."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.event import HUMAN_MACHINES
from feature_repo.history.schema import EVENTS
from infra.simulator.history import write_history
from infra.simulator.options import DOMAINS, Options, collapse_from
from infra.simulator.world import World

SMALL = Options(customers=150, days=24, sends_per_week=6.0)
HUMAN = {machine.value for machine in HUMAN_MACHINES}


def written(tmp_path: Path, name: str, options: Options, **how: Any) -> dict[str, bytes]:
    write_history(options, tmp_path / name, **how)
    return {path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())}


@cache
def world(options: Options) -> tuple[pa.Table, pa.Table]:
    """Events and truth of a programme."""
    days = [day for day in World(options).days() if day is not None]
    return pa.concat_tables([d.events for d in days]), pa.concat_tables([d.truth for d in days])


def ask(sql: str, options: Options = SMALL) -> Any:
    """The rows of a query over `events` and `truth`."""
    events, truth = world(options)
    with duckdb.connect(":memory:") as con:
        con.execute("SET TimeZone = 'UTC'")
        con.register("events", events)
        con.register("truth", truth)
        return con.execute(sql).fetchall()


def test_the_same_seed_and_options_write_the_same_bytes(tmp_path: Path) -> None:
    one = written(tmp_path, "one", SMALL)
    two = written(tmp_path, "two", SMALL)
    other = written(tmp_path, "other", Options(customers=150, days=24, seed=2))

    assert one == two
    assert sorted(one) == [
        "events.parquet",
        "placement.csv",
        "postmaster.json",
        "seed_list.csv",
        "simulation.json",
        "truth.parquet",
    ]
    assert one["events.parquet"] != other["events.parquet"]


def test_jsonl_holds_what_parquet_holds(tmp_path: Path) -> None:
    few = Options(customers=20, days=6)
    write_history(few, tmp_path)
    write_history(few, tmp_path, file_format="jsonl")

    rows = pq.read_table(tmp_path / "events.parquet").to_pylist()
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert len(lines) == len(rows)
    assert [line["event_id"] for line in lines] == [row["event_id"] for row in rows]
    assert all(None not in line.values() for line in lines)


def test_the_days_of_a_longer_simulation_begin_with_those_of_a_shorter() -> None:
    longer = Options(customers=150, days=25, sends_per_week=6.0)

    events, _ = world(SMALL)
    more, _ = world(longer)

    assert more.slice(0, events.num_rows).equals(events)


def test_what_arrives_before_and_after_a_moment_is_all_there_is() -> None:
    moment = SMALL.start + timedelta(days=20, hours=9)
    before = Options(customers=150, days=24, sends_per_week=6.0, until=moment)
    after = Options(customers=150, days=24, sends_per_week=6.0, since=moment)

    def rows(options: Options) -> Counter[str]:
        return Counter(
            f"{row['event_id']} {row['received_time']}" for row in world(options)[0].to_pylist()
        )

    assert rows(before) + rows(after) == rows(SMALL)
    assert world(after)[0].num_rows > 100


def test_truth_has_each_event_once_and_says_the_same_of_it() -> None:
    assert ask("SELECT count(*) FROM (SELECT event_id FROM truth GROUP BY 1 HAVING count(*) > 1)")[
        0
    ] == (0,)
    mismatch = ask(
        """SELECT count(*) FROM events ANTI JOIN truth
           ON events.event_id = truth.event_id AND events.customer_id = truth.customer_id
          AND events.type = truth.type AND events.event_time = truth.event_time
          AND events.message_id IS NOT DISTINCT FROM truth.message_id
          AND events.url IS NOT DISTINCT FROM truth.url"""
    )
    assert mismatch == [(0,)]
    unseen = ask("SELECT count(*) FROM truth ANTI JOIN events USING (event_id)")
    assert unseen == [(0,)]


def test_truth_is_not_in_the_events() -> None:
    labels = ask(
        """SELECT made_by, machine, count(*) FROM events JOIN truth USING (event_id)
           WHERE events.type IN ('opened', 'clicked') GROUP BY ALL"""
    )

    # Scanners that look like browsers get through a label that sees one event alone.
    counts = {(made_by, machine): count for made_by, machine, count in labels}
    assert counts["scanner", "none"] > 0
    assert counts["apple_mpp", "apple_mpp"] > 0
    assert not {"made_by", "placement", "click_probability"} & set(EVENTS.names)


def test_events_follow_from_a_message_in_the_order_of_life() -> None:
    broken = ask(
        """SELECT count(*) FROM events AS e JOIN events AS s USING (message_id, customer_id)
           WHERE s.type = 'sent' AND e.event_time < s.event_time"""
    )
    orphans = ask(
        """SELECT count(*) FROM (SELECT * FROM events WHERE type = 'opened') AS e
           ANTI JOIN (SELECT * FROM events WHERE type = 'delivered') AS d
             USING (message_id, customer_id)
           SEMI JOIN (SELECT * FROM events WHERE type = 'sent') AS s USING (message_id)"""
    )

    assert broken == [(0,)]
    assert orphans == [(0,)]


def test_nobody_is_written_to_after_leaving() -> None:
    options = Options(customers=400, days=60, sends_per_week=14.0)

    wrong = ask(
        """SELECT count(*) FROM events AS s JOIN events AS u USING (customer_id)
           WHERE s.type = 'sent' AND u.type IN ('unsubscribed', 'complained')
             AND s.event_time > u.event_time + INTERVAL 1 DAY""",
        options,
    )
    left = ask("SELECT count(*) FROM events WHERE type = 'unsubscribed'", options)

    assert wrong == [(0,)]
    assert left[0][0] > 0


def test_the_truth_predicts_clicks_and_positives_are_a_few_percent() -> None:
    options = Options(customers=400, days=60, sends_per_week=14.0)

    (mean, predicted), (top,), (bottom,) = (
        ask(sql, options)[0]
        for sql in (
            """WITH s AS (SELECT * FROM truth WHERE type = 'sent'),
                    k AS (SELECT DISTINCT message_id FROM truth
                          WHERE type = 'clicked' AND made_by = 'none')
               SELECT avg((k.message_id IS NOT NULL)::INT), avg(click_probability)
               FROM s LEFT JOIN k USING (message_id)""",
            """WITH k AS (SELECT DISTINCT message_id FROM truth
                          WHERE type = 'clicked' AND made_by = 'none')
               SELECT count(k.message_id) / count(*) FROM truth AS s LEFT JOIN k USING (message_id)
               WHERE type = 'sent' AND click_probability > 0.05""",
            """WITH k AS (SELECT DISTINCT message_id FROM truth
                          WHERE type = 'clicked' AND made_by = 'none')
               SELECT count(k.message_id) / count(*) FROM truth AS s LEFT JOIN k USING (message_id)
               WHERE type = 'sent' AND click_probability < 0.01""",
        )
    )

    assert 0.01 < mean < 0.08
    assert abs(mean - predicted) < 0.01
    assert top > 5 * bottom


def test_lateness_is_as_asked() -> None:
    options = Options(
        customers=300, days=20, sends_per_week=10.0, late_median_s=600.0, late_share=0.05,
        late_days=10.0, duplicates=0.0,
    )  # fmt: skip

    ((median, share, latest),) = ask(
        """SELECT median(lag), avg((lag >= 3600)::INT), max(lag) FROM
             (SELECT date_diff('second', event_time, received_time) AS lag FROM events)""",
        options,
    )
    early = ask("SELECT count(*) FROM events WHERE received_time < event_time", options)

    assert 500 < median < 750
    assert 0.05 < share < 0.15
    assert 7 * 86_400 < latest <= 11 * 86_400
    assert early == [(0,)]


def test_duplicates_are_as_asked_and_repeat_word_for_word() -> None:
    options = Options(customers=300, days=20, sends_per_week=10.0, duplicates=0.1)

    ((rows, ids, contents),) = ask(
        """SELECT count(*), count(DISTINCT event_id),
                  count(DISTINCT (event_id, type, event_time, amount)) FROM events""",
        options,
    )

    assert 0.08 < rows / ids - 1 < 0.12
    assert contents == ids


def test_a_wrong_day_is_put_right_three_days_later() -> None:
    options = Options(
        customers=600, days=20, sends_per_week=10.0, corrected_days=(9,), duplicates=0.0
    )
    day = options.start + timedelta(days=9)

    amounts = ask(
        """SELECT list(amount ORDER BY received_time), list(event_time)[1], max(received_time)
            FROM events WHERE type = 'purchased' GROUP BY event_id HAVING count(*) > 1""",
        options,
    )
    withdrawn = ask(
        """SELECT event_time, received_time, type FROM events WHERE op = 'retract'""", options
    )

    assert len(amounts) > 3
    for (wrong, right), at, received in amounts:
        assert wrong == pytest.approx(100 * right)
        assert day <= at < day + timedelta(days=1)
        assert received >= day + timedelta(days=4)
    assert len(withdrawn) > 3
    assert {kind for _, _, kind in withdrawn} == {"opened"}
    assert all(day <= at < day + timedelta(days=1) < received for at, received, _ in withdrawn)


def test_a_collapse_shows_in_the_truth_the_seeds_and_the_engagement(tmp_path: Path) -> None:
    options = Options(
        customers=600, days=30, sends_per_week=10.0,
        collapses=(collapse_from(f"google@{DOMAINS[0]}:15:15:0.02"),),
    )  # fmt: skip

    write_history(options, tmp_path)
    rates = ask(
        f"""SELECT e.event_time >= TIMESTAMPTZ '{options.start + timedelta(days=15)}' AS later,
                   mailbox_provider = 'google' AS google, avg((placement = 'inbox')::INT)
            FROM events AS e JOIN truth USING (event_id)
            WHERE e.type = 'delivered' AND sending_domain = '{DOMAINS[0]}' GROUP BY ALL""",
        options,
    )
    seeds = list(csv.DictReader((tmp_path / "seed_list.csv").read_text().splitlines()))

    share = {(later, google): rate for later, google, rate in rates}
    assert share[True, True] < 0.1
    assert min(share[False, True], share[True, False], share[False, False]) > 0.85
    later = [
        row["placement"]
        for row in seeds
        if row["provider"] == "google"
        and row["sending_domain"] == DOMAINS[0]
        and datetime.fromisoformat(row["sent_at"]) >= options.start + timedelta(days=15)
    ]
    assert later.count("spam") > 0.9 * len(later)
    assert json.loads((tmp_path / "postmaster.json").read_text())


def test_readings_have_the_form_of_postmaster_version_two(tmp_path: Path) -> None:
    write_history(Options(customers=600, days=8, sends_per_week=14.0), tmp_path)

    answers = json.loads((tmp_path / "postmaster.json").read_text())

    assert set(answers) == {f"domains/{domain}" for domain in DOMAINS}
    stats = [stat for answer in answers.values() for stat in answer["domainStats"]]
    assert {stat["metric"] for stat in stats} >= {"SPAM_RATE", "DELIVERY_ERROR_RATE"}
    assert all(set(stat["date"]) == {"year", "month", "day"} for stat in stats)
    assert all(isinstance(stat["value"]["doubleValue"], float) for stat in stats)


def test_without_machines_only_people_open_and_click() -> None:
    options = Options(customers=150, days=24, sends_per_week=6.0, machines=False)

    makers = {
        made_by
        for (made_by,) in ask(
            "SELECT DISTINCT made_by FROM truth WHERE type IN ('opened', 'clicked')", options
        )
    }

    assert makers <= HUMAN


def test_swept_history_holds_the_corrections_a_sweep_would_make(tmp_path: Path) -> None:
    swept = written(tmp_path, "swept", SMALL)
    plain = written(
        tmp_path, "plain", Options(customers=150, days=24, sends_per_week=6.0, swept=False)
    )

    assert swept["truth.parquet"] == plain["truth.parquet"]
    with duckdb.connect(":memory:") as con:
        con.execute("SET TimeZone = 'UTC'")
        added = con.execute(
            f"""SELECT DISTINCT machine, type, op FROM
                  (SELECT event_id, received_time, machine, type, op
                   FROM '{tmp_path}/swept/events.parquet'
                   EXCEPT ALL
                   SELECT event_id, received_time, machine, type, op
                   FROM '{tmp_path}/plain/events.parquet')"""
        ).fetchall()
    assert {row[0] for row in added} == {"scanner"}
    assert {row[2] for row in added} == {"upsert"}


def test_times_of_an_aware_clock_are_utc() -> None:
    first = ask("SELECT min(event_time) FROM events")[0][0]

    assert first.astimezone(UTC) >= SMALL.start


def test_with_perfect_placement_only_a_collapse_keeps_mail_from_the_inbox(tmp_path: Path) -> None:
    options = Options(
        customers=300, days=12, sends_per_week=10.0, placement="perfect",
        collapses=(collapse_from("google:6:6:0.05"),),
    )  # fmt: skip

    write_history(options, tmp_path)
    placed = ask(
        f"""SELECT DISTINCT e.event_time >= TIMESTAMPTZ '{options.start + timedelta(days=6)}'
                     AND mailbox_provider = 'google' AS hidden, placement = 'spam' AS spam
            FROM events AS e JOIN truth USING (event_id) WHERE e.type = 'delivered'""",
        options,
    )

    assert set(placed) == {(False, False), (True, False), (True, True)}
