"""Online equals offline, counted: what Redis serves at T against the point-in-time rows at T."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from feast import FeatureStore

from feature_repo import addresses, contract, online, point_in_time
from feature_repo.history import duck
from feature_repo.history.feature_table import FeatureTable
from feature_repo.online_codec import model_columns
from feature_repo.settings import Settings
from feature_repo.store import open_store
from feature_repo.transforms import send_time

TOLERANCE: Final = 1e-9
"""Greatest relative difference of two equal numbers."""

_SERVED: Final = (*contract.MODEL_FEATURES, *contract.CONTEXT_FEATURES)
_CHUNK: Final = 20_000
_EXAMPLES: Final = 10

Column = npt.NDArray[np.float64] | npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One value that differs."""

    feature: str
    online: float | str | None
    offline: float | str | None
    #: Not shown, so that no identity reaches a log.
    customer_id: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many values were compared and how many differ, with the first few of these."""

    customers: int
    compared: int
    mismatches: int
    examples: tuple[Mismatch, ...]


def verify(settings: Settings, as_of: datetime) -> Agreement:
    """Compare all that is served of every customer who has any feature row at `as_of`.

    The online store must have been loaded as of the same time.

    Raises:
        StoreUnavailable: Redis does not answer.
        NotReady: a feature table was never built.
    """
    store = open_store(settings)
    customers = compared = mismatches = 0
    examples: list[Mismatch] = []
    with online.connect(addresses.redis_url(settings)) as client:
        reader = online.OnlineReader(client, model_columns(settings.project))
        for ids in _customers(settings, as_of):
            with online.answers():
                served = _served(reader, ids, as_of)
            known = _known(store, ids, as_of)
            for name in _SERVED:
                wrong = np.flatnonzero(~_equal(name, served[name], known[name]))
                mismatches += len(wrong)
                examples += [
                    Mismatch(name, served[name][i], known[name][i], ids[i])
                    for i in wrong[: _EXAMPLES - len(examples)]
                ]
            customers += len(ids)
            compared += len(ids) * len(_SERVED)
    return Agreement(customers, compared, mismatches, tuple(examples))


def _customers(settings: Settings, as_of: datetime) -> Iterator[list[str]]:
    """Ids of all customers with a row of any view at `as_of`, in chunks."""
    tables = [FeatureTable(view, settings.feature_path(view)) for view in contract.VIEWS]
    entity, moment = map(point_in_time.quoted, (contract.ENTITY, contract.EVENT_TIMESTAMP))
    selects = [
        f"SELECT {entity} FROM {point_in_time.parquet(files)} WHERE {moment} <= $as_of"
        for files in (table.files() for table in tables)
        if files
    ]
    if not selects:
        return
    with duck.connect(settings) as con:
        rows = con.sql(" UNION ".join(selects), params={"as_of": as_of})
        ids = iter([customer for (customer,) in rows.fetchall()])
    while chunk := list(islice(ids, _CHUNK)):
        yield chunk


def _served(reader: online.OnlineReader, ids: list[str], at: datetime) -> Mapping[str, Column]:
    columns = reader.read(ids, at).columns
    send_at = np.full(len(ids), at.timestamp())
    computed = send_time(columns, send_at)
    return {**columns, **computed}


def _known(store: FeatureStore, ids: list[str], at: datetime) -> Mapping[str, Column]:
    entities = pd.DataFrame(
        {
            contract.ENTITY: ids,
            contract.EVENT_TIMESTAMP: pd.Timestamp(at),
            contract.REQUEST_COLUMN: at.timestamp(),
        }
    )
    service = store.get_feature_service(contract.FEATURE_SERVICE)
    frame = store.get_historical_features(entities, service).to_df()
    return {name: frame[name].to_numpy() for name in _SERVED}


def _equal(name: str, left: Column, right: Column) -> npt.NDArray[np.bool_]:
    """Which values are equal; missing equals missing."""
    if name in contract.TEXT_FEATURES:
        absent = pd.isna(left) & pd.isna(right)
        return np.asarray((left == right) | absent, dtype=np.bool_)
    close = np.isclose(
        left.astype(np.float64), right.astype(np.float64), rtol=TOLERANCE, atol=0.0, equal_nan=True
    )
    return np.asarray(close, dtype=np.bool_)
