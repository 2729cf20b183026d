"""How a full feature build grows with the log: ten times the events, how many times the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, TypeVar

from deltalake import write_deltalake

from feature_repo.history import duck
from feature_repo.history.build import build
from feature_repo.history.schema import LOG
from feature_repo.settings import Settings
from infra.bench.memory import peak_mb

EVENTS: Final = 200_000
GROWTH: Final = 10
THROUGH: Final = datetime(2025, 1, 1, tzinfo=UTC)

_R = TypeVar("_R")


def run(settings_home: Path, events: int = EVENTS) -> dict[str, Any]:
    """Seconds and peak memory of a full build over `events` and over ten times as many.

    Every log is written and built by a process of its own, so that none inherits memory.
    """
    small, large = settings_home / "small", settings_home / "large"
    _apart(write_log, small, events)
    _apart(write_log, large, events * GROWTH)
    baseline, small_mb = _apart(_full_build, small)
    ours, large_mb = _apart(_full_build, large)
    return {
        "ours": ours,
        "baseline": baseline,
        "ratio": ours / baseline,
        "unit": "s",
        "events": [events, events * GROWTH],
        "rss_mb": [round(small_mb), round(large_mb)],
        "duckdb_limit": Settings(home=large).duckdb_memory_limit,
    }


def write_log(home: Path, events: int) -> None:
    """Write a log of made-up events: a hundred per customer over three years.

    One event in fifty arrives up to two days late, one in two hundred is corrected or withdrawn
    three days later.
    """
    settings = Settings(home=home)
    query = _LOG_SQL.format(events=events, customers=max(events // 100, 1))
    with duck.connect(settings) as con:
        rows = con.sql(query).to_arrow_reader(100_000).cast(LOG)
        write_deltalake(str(settings.log_path), rows, partition_by=["event_month"])


def _full_build(home: Path) -> tuple[float, float]:
    """Seconds of a full build and the peak memory of this process in megabytes."""
    started = time.perf_counter()
    build(Settings(home=home), full=True, through=THROUGH)
    seconds = time.perf_counter() - started
    return seconds, peak_mb()


def _apart(function: Callable[..., _R], *arguments: Any) -> _R:
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


_LOG_SQL: Final = """
WITH numbered AS (
  SELECT i, hash(i) AS who, hash(i * 7 + 1) AS dice,
         TIMESTAMPTZ '2022-01-01'
           + to_microseconds(i * (1095 * 86400000000 // {events})) AS event_time
  FROM range({events}) AS numbers(i)
), happened AS (
  SELECT 'e' || lpad(i::VARCHAR, 12, '0') AS event_id,
         'c' || lpad((who % {customers})::VARCHAR, 9, '0') AS customer_id,
         event_time,
         event_time + to_seconds((dice // 50) % CASE WHEN dice % 50 = 0 THEN 172800 ELSE 60 END)
           AS received_time,
         CASE WHEN dice % 100 < 45 THEN 'sent' WHEN dice % 100 < 70 THEN 'opened'
              WHEN dice % 100 < 80 THEN 'clicked' WHEN dice % 100 < 88 THEN 'browsed'
              WHEN dice % 100 < 93 THEN 'purchased' WHEN dice % 100 < 98 THEN 'delivered'
              WHEN dice % 100 < 99 THEN 'bounced' ELSE 'unsubscribed' END AS type,
         'upsert' AS op, who, dice
  FROM numbered
), told AS (
  FROM happened
  UNION ALL BY NAME
  SELECT * REPLACE (received_time + INTERVAL 3 DAY AS received_time,
                    CASE WHEN dice % 3 = 0 THEN 'retract' ELSE 'upsert' END AS op)
  FROM happened WHERE who % 200 = 0
)
SELECT row_number() OVER (ORDER BY received_time) - 1 AS log_pos,
       event_id, received_time, event_time, customer_id, type, op,
       'bench' AS provider, NULL::VARCHAR AS provider_event,
       NULL::TIMESTAMPTZ AS provider_emitted_time, NULL::VARCHAR AS campaign_id,
       NULL::VARCHAR AS message_id, NULL::VARCHAR AS sending_domain,
       CASE who % {customers} % 3 WHEN 0 THEN 'google' WHEN 1 THEN 'microsoft' ELSE 'yahoo' END
         AS mailbox_provider,
       'GB' AS country,
       CASE WHEN month(event_time) BETWEEN 4 AND 10 THEN 60 ELSE 0 END AS utc_offset_minutes,
       NULL::VARCHAR AS url, NULL::VARCHAR AS link_id, NULL::VARCHAR AS user_agent,
       NULL::VARCHAR AS ip, CASE WHEN dice % 20 = 0 THEN 'apple_mpp' ELSE 'none' END AS machine,
       NULL::VARCHAR AS machine_source, NULL::DOUBLE AS machine_score,
       NULL::VARCHAR AS bounce_class, NULL::VARCHAR AS smtp_code, NULL::VARCHAR AS reason,
       CASE WHEN type = 'purchased' THEN (dice % 20000) / 100.0 END AS amount,
       CASE WHEN type = 'purchased' THEN 'GBP' END AS currency, false AS backfilled,
       NULL::VARCHAR AS raw_ref, NULL::VARCHAR AS mapping_version,
       NULL::VARCHAR AS schema_fingerprint, md5(event_id || op) AS content_hash,
       strftime(event_time, '%Y-%m') AS event_month
FROM told
"""
