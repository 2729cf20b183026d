"""From the event log and the feature store to a dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
from feast import FeatureStore

from feature_repo import contract
from feature_repo.errors import NotReady, UnusableInput
from feature_repo.history import build, duck
from feature_repo.history.log import EventLog, Snapshot
from feature_repo.settings import Settings
from feature_repo.targets import Spine, Target
from training.dataset import Dataset
from training.exposure import make_weights
from training.labels import grace_of, make_labels
from training.reading import Reading, newest_received
from training.spine import SpineCounts, make_spine


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The mature decisions of a target and where they were read."""

    target: Target
    as_of: datetime
    grace: timedelta
    counts: SpineCounts
    snapshot: Snapshot
    label: npt.NDArray[np.int8]
    at_us: npt.NDArray[np.int64]
    customer: npt.NDArray[Any]
    weight: npt.NDArray[np.float64]
    #: Mature decisions left out because hardly any mail of theirs was seen.
    unseen: int


def decide(settings: Settings, target: Target, as_of: datetime | None) -> Decided:
    """The decisions of a target and their labels, as known at `as_of` (default: the newest row).

    Raises:
        NotReady: nothing was imported yet.
        UnusableInput: `as_of` is later than anything in the log.
    """
    snapshot = EventLog(settings.log_path).snapshot()
    with duck.connect(settings) as con:
        at = _knowledge_time(con, snapshot, as_of)
        reading = Reading(con, snapshot, target, at)
        grace = grace_of(reading)
        counts = make_spine(reading, grace)
        if not counts.decisions:
            raise NotReady(_no_decisions(target, at))
        make_labels(reading)
        unseen = make_weights(settings, reading)
        rows = con.sql(
            "SELECT customer_id, at_us, label, weight FROM spine JOIN labels USING (position) "
            "JOIN weights USING (position) ORDER BY position"
        ).to_arrow_table()
    return Decided(
        target=target,
        as_of=at,
        grace=grace,
        counts=counts,
        snapshot=snapshot,
        label=rows.column("label").to_numpy().astype(np.int8),
        at_us=rows.column("at_us").to_numpy().astype(np.int64),
        customer=rows.column("customer_id").to_numpy(zero_copy_only=False),
        weight=rows.column("weight").to_numpy().astype(np.float64),
        unseen=unseen,
    )


def _knowledge_time(
    con: duckdb.DuckDBPyConnection, snapshot: Snapshot, as_of: datetime | None
) -> datetime:
    newest = newest_received(con, snapshot)
    if newest is None:
        message = "The event log is empty. Import events first: `foresend import FILE`."
        raise NotReady(message)
    at = as_of or newest
    if at > newest:
        message = (
            f"Nothing in the log was received after {newest.isoformat()}; as of "
            f"{at.isoformat()} what did not happen and what did not arrive look alike. "
            "Leave --as-of out, or give an earlier time."
        )
        raise UnusableInput(message)
    return at


def _no_decisions(target: Target, at: datetime) -> str:
    missing = (
        "no message was sent"
        if target.spine is Spine.SENT
        else "no customer was known to be active on any Monday after the first weeks"
    )
    return (
        f"Target {target.name!r} has nothing to decide: {missing} as known at {at.isoformat()}. "
        "Import such events; history needs `--known-at event_time+DELAY`, because rows imported "
        "as known now were known at no earlier decision."
    )


def with_features(store: FeatureStore, decided: Decided) -> Dataset:
    """The decisions with the model's features, each as known at its own time."""
    at = pd.to_datetime(decided.at_us, unit="us", utc=True).as_unit("us")
    entities = pd.DataFrame(
        {
            contract.ENTITY: decided.customer,
            contract.EVENT_TIMESTAMP: at,
            contract.REQUEST_COLUMN: decided.at_us / 1e6,
            "position": np.arange(len(decided.at_us)),
        }
    )
    service = store.get_feature_service(contract.FEATURE_SERVICE)
    found = store.get_historical_features(entity_df=entities, features=service).to_df()
    if len(found) != len(entities):
        message = f"{len(entities)} decisions came back as {len(found)} rows of features"
        raise ValueError(message)
    found = found.sort_values("position", ignore_index=True)
    return Dataset(
        columns={name: _column(name, found[name]) for name in contract.MODEL_FEATURES},
        label=decided.label,
        at_us=decided.at_us,
        customer=decided.customer,
        weight=decided.weight,
    )


def _column(name: str, values: pd.Series[Any]) -> npt.NDArray[Any]:
    if name in contract.TEXT_FEATURES:
        return values.astype(object).where(values.notna(), None).to_numpy(dtype=object)
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def feature_tables(settings: Settings, snapshot: Snapshot) -> Mapping[str, Any]:
    """What the last feature build left: per view its rows, digest and Delta version.

    Raises:
        NotReady: no build was made, or the log has rows that are in no feature yet.
    """
    path = settings.state_path / build.STATE_FILE
    try:
        state: Mapping[str, Any] = json.loads(path.read_text())
    except FileNotFoundError as exc:
        message = f"No features are built in {settings.home}. Run `foresend features build`."
        raise NotReady(message) from exc
    missing = snapshot.last_position - int(state["watermark"])
    if missing > 0:
        message = (
            f"{missing} rows of the event log are in no feature yet. "
            "Run `foresend features build`, then train again."
        )
        raise NotReady(message)
    return state
