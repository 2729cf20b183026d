"""Collects the evidence of an installation and audits it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import duckdb
import numpy as np
from deltalake import DeltaTable
from feast import FeatureStore
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

from feature_repo import contract
from feature_repo.history import duck
from feature_repo.settings import Settings
from feature_repo.store import open_store
from feature_repo.targets import Spine, Target
from training import folds
from training.audit.area import codes_of
from training.audit.evidence import ByEventTime, Evidence, Ints, Replay
from training.audit.ledger import limits, make_logged, timing
from training.audit.scratch import (
    BY_EVENT_TIME,
    FUTURE_CHANGED,
    features,
    make_cuts,
    replayed,
)
from training.audit.sources import sources
from training.audit.tables import Files, ask
from training.dataset import Dataset
from training.folds import Split
from training.leakage import AuditReport, audit
from training.retrieval import Decided, decide, feature_tables, with_features

CUSTOMERS: Final = 600
"""Customers whose history is replayed, one row of each."""

MOST_JOINED: Final = 30_000
"""Rows of those customers that are joined by event time."""

_US: Final = timedelta(microseconds=1)

Progress = Callable[[str], None]


def audit_as_of(
    settings: Settings,
    target: Target,
    as_of: datetime | None,
    *,
    seed: int = 0,
    progress: Progress = lambda step: None,
) -> AuditReport:
    """Make the rows a target would be trained on, as known at `as_of`, and audit them.

    Raises:
        NotReady: nothing was imported, or the features are not built up to the log.
        UnusableInput: `as_of` is later than anything in the log.
        TooFewRows: not enough mature decisions.
    """
    progress("decisions and labels")
    decided = decide(settings, target, as_of)
    feature_tables(settings, decided.snapshot)
    parts = folds.split(decided.at_us, decided.label, target.horizon + decided.grace)
    progress(f"features of {len(decided.label):,} decisions")
    dataset = with_features(store := open_store(settings), decided)
    return audit_target(settings, store, decided, dataset, parts, seed=seed, progress=progress)


def audit_target(
    settings: Settings,
    store: FeatureStore,
    decided: Decided,
    dataset: Dataset,
    split: Split,
    *,
    seed: int,
    progress: Progress = lambda step: None,
) -> AuditReport:
    """Audit the training rows of a target against the log and the feature tables they came from.

    Raises:
        StoreUnavailable: out of disk or memory for the replays.
    """
    target, snapshot = decided.target, decided.snapshot
    with duck.connect(settings) as con:
        progress("leakage audit: what was known when")
        make_logged(con, snapshot)
        bounded = limits(con, dataset)
        stored = sources(con, _files(store), dataset)
        when = timing(con, snapshot, target, dataset, as_of=decided.as_of, grace=decided.grace)
        replays, careless, notes = _replays(settings, con, decided, dataset, seed, progress)
    evidence = Evidence(
        target=target.name,
        dataset=dataset,
        split=split,
        horizon_us=target.horizon // _US,
        grace_us=decided.grace // _US,
        seed=seed,
        texts=tuple(name for name in contract.TEXT_FEATURES if name in dataset.columns),
        is_grid=target.spine is Spine.WEEKLY,
        sources=stored,
        limits=bounded,
        replays=replays,
        by_event_time=careless,
        timing=when,
        notes=notes,
    )
    # One BLAS thread: sums come out in one order whatever the machine.
    with threadpool_limits(1, user_api="blas"):
        return audit(evidence, as_of=decided.as_of.isoformat(), progress=progress)


def _files(store: FeatureStore) -> Files:
    """The files Feast reads for each stored view."""
    paths = {view: store.get_feature_view(view).batch_source.path for view in contract.VIEWS}
    return {
        view: DeltaTable(path).file_uris()
        for view, path in paths.items()
        if DeltaTable.is_deltatable(path)
    }


def _replays(
    settings: Settings,
    con: duckdb.DuckDBPyConnection,
    decided: Decided,
    dataset: Dataset,
    seed: int,
    progress: Progress,
) -> tuple[tuple[Replay, ...], ByEventTime, tuple[str, ...]]:
    """Features of sampled customers with the future deleted, poisoned, and told early."""
    chosen = _choose(con, dataset, seed)
    kept = make_cuts(con, decided.snapshot, dataset, chosen)
    rows = chosen[kept]
    until = int(dataset.at_us.max())
    kinds = decided.target.events
    progress("leakage audit: the future deleted, and made up")
    with replayed(settings, con, FUTURE_CHANGED, kinds, until) as scratch:
        replays = [
            Replay(kind=kind, rows=part, columns=features(scratch, dataset, part))
            for kind, part in (
                ("truncated", rows[kept % 2 == 0]),
                ("poisoned", rows[kept % 2 == 1]),
            )
        ]
    progress("leakage audit: by event time")
    theirs = np.flatnonzero(
        np.isin(dataset.customer.astype(str), dataset.customer[rows].astype(str))
    )
    joined = theirs[:: -(-len(theirs) // MOST_JOINED)] if len(theirs) else theirs
    with replayed(settings, con, BY_EVENT_TIME, kinds, until) as scratch:
        careless = ByEventTime(rows=joined, columns=features(scratch, dataset, joined))
    customers = len(np.unique(codes_of(dataset.customer)))
    note = (
        f"Replays: {len(rows):,} of {customers:,} customers by a hash, one row of each, every "
        f"other one the row soonest followed by news of them; {len(chosen) - len(rows):,} set "
        f"aside because events moved between them. By event time: {len(joined):,} of their "
        f"{len(theirs):,} rows."
    )
    return tuple(replays), careless, (note,)


def _choose(con: duckdb.DuckDBPyConnection, dataset: Dataset, seed: int) -> Ints:
    """One row of each sampled customer: any, or the one soonest followed by news of them."""
    code = codes_of(dataset.customer)
    first = np.unique(code, return_index=True)[1]
    digests = [
        hashlib.sha256(f"{seed}:{customer}".encode()).digest()[:8]
        for customer in dataset.customer[first]
    ]
    lot = np.array([int.from_bytes(digest) for digest in digests], dtype=np.uint64)
    ask(con, dataset.customer, dataset.at_us)
    soon = con.sql(_NEWS_SQL).to_arrow_table().column("wait_us").to_numpy()
    random = np.random.default_rng(seed)
    any_row = random.random(len(code))
    by_news = (lot & np.uint64(1) == 1)[code]
    order = np.lexsort((any_row, np.where(by_news, soon, 0.0), code))
    row = order[np.unique(code[order], return_index=True)[1]]
    drawn = np.argsort(lot, kind="stable")[:CUSTOMERS]
    return np.sort(row[drawn]).astype(np.int64)


_NEWS_SQL: Final = """
SELECT coalesce(received_us - asked.at_us, 9e18)::DOUBLE AS wait_us
FROM asked ASOF LEFT JOIN (SELECT DISTINCT customer_id, received_us FROM logged) AS news
  ON asked.customer_id = news.customer_id AND asked.at_us < news.received_us
ORDER BY position
"""
