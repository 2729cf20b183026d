"""The rows a model learns from: decisions, labels and the features as known at each decision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from feast import FeatureStore

from feature_repo import contract
from feature_repo.errors import NotReady
from feature_repo.history import build, duck
from feature_repo.history.log import EventLog, Snapshot
from feature_repo.settings import Settings
from feature_repo.targets import Target
from training.labels import grace_of, make_labels
from training.reading import Reading, newest_received
from training.spine import SpineCounts, make_spine

Columns = dict[str, npt.NDArray[Any]]

_NAN_BITS: Final = np.float64("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Rows in order of decision time. All arrays are equally long."""

    #: Features by name: numbers as float64 with NaN, texts as objects with None.
    columns: Columns
    #: 0 or 1.
    label: npt.NDArray[np.int8]
    #: Decision time, microseconds since the Unix epoch.
    at_us: npt.NDArray[np.int64]
    customer: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def positives(self) -> int:
        """Rows whose label is 1."""
        return int(self.label.sum())

    def take(self, rows: npt.NDArray[Any]) -> Dataset:
        """The rows chosen by a mask or by positions."""
        return Dataset(
            columns={name: values[rows] for name, values in self.columns.items()},
            label=self.label[rows],
            at_us=self.at_us[rows],
            customer=self.customer[rows],
        )

    def sha256(self) -> str:
        """Digest of every value of every row, in order."""
        digest = hashlib.sha256()
        parts: Columns = {
            "": self.customer,
            "at_us": self.at_us,
            "label": self.label,
            **self.columns,
        }
        for name, values in parts.items():
            digest.update(f"{name}:{len(values)};".encode())
            if values.dtype == object:
                digest.update(json.dumps(values.tolist(), default=str).encode())
            else:
                # A missing number has many bit patterns and one meaning.
                plain = np.where(np.isnan(values), _NAN_BITS, values)
                digest.update(np.ascontiguousarray(plain).tobytes())
        return digest.hexdigest()


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


def decide(settings: Settings, target: Target, as_of: datetime | None) -> Decided:
    """The decisions of a target and their labels, as known at `as_of` (default: the newest row).

    Raises:
        NotReady: nothing was imported yet.
    """
    snapshot = EventLog(settings.log_path).snapshot()
    with duck.connect(settings) as con:
        at = as_of or newest_received(con, snapshot)
        if at is None:
            message = (
                f"The event log {settings.log_path} is empty. Import events first: "
                "`foresend import FILE`."
            )
            raise NotReady(message)
        reading = Reading(con, snapshot, target, at)
        grace = grace_of(reading)
        counts = make_spine(reading, grace)
        make_labels(reading)
        rows = con.sql(
            "SELECT customer_id, at_us, label FROM spine JOIN labels USING (position) "
            "ORDER BY position"
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
