"""From the event log and the feature store to a dataset."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from feast import FeatureStore

from feature_repo import contract, transforms
from feature_repo.errors import NotReady, UnusableInput
from feature_repo.history import build, duck
from feature_repo.history.log import EventLog, Snapshot
from feature_repo.history.sql_functions import epoch_us
from feature_repo.settings import Settings
from feature_repo.stores.blocks import BLOCK_ROWS, Block, read_blocks
from feature_repo.targets import Spine, Target
from training.dataset import Columns, Dataset
from training.exposure import make_weights
from training.labels import grace_of, make_labels
from training.reading import Reading, newest_received, to_us
from training.spine import SpineCounts, make_spine

AT_ONCE: Final = 65_536
"""Rows whose send-time features are computed together."""


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
        customer=_texts(rows.column("customer_id")),
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


def with_features(
    store: FeatureStore,
    decided: Decided,
    *,
    block_rows: int = BLOCK_ROWS,
    progress: Callable[[str], None] = lambda step: None,
) -> Dataset:
    """The decisions with the model's features, each as known at its own time.

    What `get_historical_features` gives for the feature service, value by value; but values go
    from the join into place once, a block of decisions at a time.
    """
    rows = len(decided.at_us)
    held = _empty((*contract.MODEL_FEATURES, *contract.CONTEXT_FEATURES), rows)
    done = 0
    for block in read_blocks(
        store, stored_columns(), decided.customer, decided.at_us, block_rows=block_rows
    ):
        _fill(held, block, decided.at_us[block.rows] / 1e6)
        done += len(block.rows)
        progress(f"features of {done:,} of {rows:,} decisions")
    return Dataset(
        columns={name: held[name] for name in contract.MODEL_FEATURES},
        context={name: held[name] for name in contract.CONTEXT_FEATURES},
        label=decided.label,
        at_us=decided.at_us,
        customer=decided.customer,
        weight=decided.weight,
    )


def stored_columns() -> dict[str, list[str]]:
    """What a dataset needs of each stored view."""
    needed = {
        *contract.MODEL_FEATURES,
        *contract.CONTEXT_FEATURES,
        *transforms.SEND_TIME_INPUTS,
    }
    return {
        view: [name for name in columns if name in needed]
        for view, columns in contract.ONLINE_COLUMNS.items()
    }


def _empty(names: Sequence[str], rows: int) -> Columns:
    """A column per name, its values not set yet."""
    return {
        name: np.empty(rows, dtype=object if name in contract.TEXT_FEATURES else np.float64)
        for name in names
    }


def _fill(held: Columns, block: Block, send_at: npt.NDArray[np.float64]) -> None:
    """Put a block's values in place: the stored ones, and those read at the send."""
    inputs: Columns = {}
    for name, values in block.columns.items():
        found = _texts(values) if name in contract.TEXT_FEATURES else _numbers(values)
        if name in held:
            held[name][block.rows] = found
        if name in transforms.SEND_TIME_INPUTS:
            inputs[name] = found
    # Even parts: the arithmetic holds a dozen copies of what it is given.
    for part in np.array_split(np.arange(len(send_at)), len(send_at) // AT_ONCE + 1):
        made = transforms.send_time({name: of[part] for name, of in inputs.items()}, send_at[part])
        for name in made.keys() & held.keys():
            held[name][block.rows[part]] = made[name]


def _numbers(values: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """As float64, missing as NaN; no copy when none is missing and one chunk holds them."""
    return np.asarray(values.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _texts(values: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    """As objects, missing as None; equal texts are one object."""
    coded = values.cast(pa.string()).combine_chunks().dictionary_encode(null_encoding="encode")
    known = np.array(coded.dictionary.to_pylist(), dtype=object)
    found: npt.NDArray[np.object_] = known[coded.indices.to_numpy()]
    return found


def feature_tables(
    settings: Settings, snapshot: Snapshot, as_of: datetime | None = None
) -> Mapping[str, Any]:
    """What the last feature build left: per view its rows, digest and Delta version.

    Rows of the log received after `as_of` may be missing in them: no decision knows such a row.

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
    if missing > 0 and as_of is not None:
        missing = _missing(settings, snapshot, int(state["watermark"]), as_of)
    if missing > 0:
        message = (
            f"{missing} rows of the event log are in no feature yet. "
            "Run `foresend features build`, then train again."
        )
        raise NotReady(message)
    return state


def _missing(settings: Settings, snapshot: Snapshot, watermark: int, as_of: datetime) -> int:
    """Rows after a position that were received by a time."""
    with duck.connect(settings) as con:
        rows = snapshot.rows(con)
        late = rows.filter(
            rows.log_pos > watermark, epoch_us(rows.received_time) <= to_us(as_of)
        ).count()
        return int(late.to_pyarrow().as_py())
