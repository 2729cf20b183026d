"""Every answer as one row, written off the request path: {predictions}/date=YYYY-MM-DD/part-*.

A file holds rows of one day (UTC, of `scored_at`), one target and one model version, so its
feature names are said once, in its metadata. Files appear whole, and are never changed.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.settings import Settings

_TIME: Final = pa.timestamp("us", tz="UTC")
_METADATA: Final = b"foresend"

SCHEMA: Final = pa.schema(
    [
        pa.field("scored_at", _TIME, nullable=False),
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("send_at", _TIME, nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("as_of", _TIME),
        pa.field("age_s", pa.float64()),
        # The cause, null for a full answer.
        pa.field("degraded", pa.string()),
        # The tier answered, and the model version whose approved policy said so.
        pa.field("tier", pa.string()),
        pa.field("tier_policy", pa.string()),
        # The placement answered, null where none is known.
        pa.field("p_inbox_28d", pa.float64()),
        pa.field("ghost", pa.float64()),
        pa.field("campaign_id", pa.string()),
        pa.field("message_id", pa.string()),
        pa.field("feature_service", pa.string(), nullable=False),
        # What the model saw, in its order: NaN where a value is missing or a text. Null when the
        # model was not asked (unknown customer, store unavailable).
        pa.field("features", pa.list_(pa.float64())),
        pa.field("feature_texts", pa.list_(pa.string())),
    ]
)
ANSWER: Final = tuple(name for name in SCHEMA.names if not name.startswith("feature"))


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionBatch:
    """The answers to one request."""

    scored_at: datetime
    request_id: str
    target: str
    model_version: str
    feature_service: str
    feature_names: tuple[str, ...]
    text_names: tuple[str, ...]
    customer_ids: Sequence[str]
    send_at: datetime
    scores: npt.NDArray[np.float64]
    #: Epoch seconds, NaN for none.
    as_of: npt.NDArray[np.float64]
    degraded: Sequence[str | None]
    campaign_ids: Sequence[str | None]
    message_ids: Sequence[str | None]
    features: npt.NDArray[np.float64] | None
    texts: Sequence[npt.NDArray[Any]]
    #: Rows the model scored; None: it scored none.
    modelled: npt.NDArray[np.bool_] | None
    #: One per customer; None: no tiers were approved.
    tiers: Sequence[str | None] | None = None
    tier_policy: str | None = None
    #: NaN where it is not known; None: nothing was read.
    p_inbox_28d: npt.NDArray[np.float64] | None = None
    ghost: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.customer_ids)


def write_batches(folder: Path, batches: Sequence[PredictionBatch]) -> Path:
    """One file of batches of one day, target and model version; it appears whole."""
    first = batches[0]
    names = {
        "target": first.target,
        "model_version": first.model_version,
        "feature_service": first.feature_service,
        "feature_names": first.feature_names,
        "text_names": first.text_names,
    }
    table = pa.concat_tables([_table(batch) for batch in batches])
    table = table.replace_schema_metadata({_METADATA: json.dumps(names).encode()})
    day = folder / f"date={first.scored_at.astimezone(UTC):%Y-%m-%d}"
    day.mkdir(parents=True, exist_ok=True)
    name = f"part-{uuid.uuid4().hex}.parquet"
    fresh = day / f".{name}.new"
    try:
        pq.write_table(table, fresh, compression="zstd")
        fresh.rename(day / name)
    finally:
        fresh.unlink(missing_ok=True)
    return day / name


def file_key(batch: PredictionBatch) -> tuple[str, str, str, str, tuple[str, ...]]:
    """Batches of the same key go into the same file; the day comes first."""
    day = f"{batch.scored_at.astimezone(UTC):%Y-%m-%d}"
    features = (*batch.feature_names, *batch.text_names)
    return (day, batch.target, batch.model_version, batch.feature_service, features)


def _table(batch: PredictionBatch) -> pa.Table:
    rows = len(batch)
    send_at = batch.send_at.timestamp()
    as_of = batch.as_of
    columns = {
        "scored_at": pa.array([batch.scored_at] * rows, _TIME),
        "request_id": pa.array([batch.request_id] * rows),
        "target": pa.array([batch.target] * rows),
        "model_version": pa.array([batch.model_version] * rows),
        "customer_id": pa.array(batch.customer_ids, pa.string()),
        "send_at": pa.array([batch.send_at] * rows, _TIME),
        "score": pa.array(batch.scores, pa.float64()),
        "as_of": _times(as_of),
        "age_s": pa.array(send_at - as_of, pa.float64(), from_pandas=True),
        "degraded": pa.array(batch.degraded, pa.string()),
        "tier": pa.array(batch.tiers or [None] * rows, pa.string()),
        "tier_policy": pa.array([batch.tier_policy] * rows, pa.string()),
        "p_inbox_28d": _known(batch.p_inbox_28d, rows),
        "ghost": _known(batch.ghost, rows),
        "campaign_id": pa.array(batch.campaign_ids, pa.string()),
        "message_id": pa.array(batch.message_ids, pa.string()),
        "feature_service": pa.array([batch.feature_service] * rows),
        "features": _numbers(batch),
        "feature_texts": _texts(batch),
    }
    return pa.table(columns, schema=SCHEMA)


def _known(values: npt.NDArray[np.float64] | None, rows: int) -> pa.Array:
    """The numbers with null where they are NaN."""
    return pa.array([None] * rows if values is None else values, pa.float64(), from_pandas=True)


def _times(seconds: npt.NDArray[np.float64]) -> pa.Array:
    none = np.isnan(seconds)
    micros = np.round(np.where(none, 0.0, seconds) * 1e6).astype(np.int64)
    return pa.array(micros, pa.int64(), mask=none).cast(_TIME)


def _numbers(batch: PredictionBatch) -> pa.Array:
    rows = len(batch)
    if batch.features is None or batch.modelled is None:
        return pa.nulls(rows, SCHEMA.field("features").type)
    width = batch.features.shape[1]
    offsets = pa.array(np.arange(rows + 1) * width, pa.int32())
    return pa.ListArray.from_arrays(
        offsets, pa.array(batch.features.ravel()), mask=pa.array(~batch.modelled)
    )


def _texts(batch: PredictionBatch) -> pa.Array:
    kind = SCHEMA.field("feature_texts").type
    if batch.modelled is None:
        return pa.nulls(len(batch), kind)
    lists = [
        [column[row] for column in batch.texts] if batch.modelled[row] else None
        for row in range(len(batch))
    ]
    return pa.array(lists, kind)


def read_predictions(settings: Settings, target: str, start: datetime, end: datetime) -> pa.Table:
    """Answers of a target with `start <= scored_at < end`, oldest first.

    The columns of ANSWER and `feature_service`, then one column per feature under its own name:
    Float64, or string for texts. A feature is null where the model did not see it, NaN where it
    saw it missing.
    """
    tables = []
    for path in prediction_files(settings, start, end):
        names = json.loads(pq.read_schema(path).metadata[_METADATA])
        if names["target"] != target:
            continue
        table = pq.read_table(path, schema=SCHEMA, partitioning=None)
        at = table["scored_at"]
        inside = pc.and_(
            pc.greater_equal(at, pa.scalar(start, _TIME)), pc.less(at, pa.scalar(end, _TIME))
        )
        tables.append(_wide(table.filter(inside), names))
    if not tables:
        return SCHEMA.empty_table().select([*ANSWER, "feature_service"])
    joined = pa.concat_tables(tables, promote_options="default")
    return joined.sort_by([("scored_at", "ascending")])


def prediction_files(settings: Settings, start: datetime, end: datetime) -> list[Path]:
    """Files of the days that `start <= scored_at < end` touches, in order."""
    day, files = start.astimezone(UTC).date(), []
    while datetime(day.year, day.month, day.day, tzinfo=UTC) < end:
        folder = settings.predictions_path / f"date={day:%Y-%m-%d}"
        files += sorted(folder.glob("part-*.parquet"))
        day += timedelta(days=1)
    return files


def _wide(table: pa.Table, names: dict[str, Any]) -> pa.Table:
    features = table["features"].combine_chunks()
    texts = table["feature_texts"].combine_chunks()
    wide = table.select([*ANSWER, "feature_service"])
    for position, name in enumerate(names["feature_names"]):
        if name in names["text_names"]:
            column = pc.list_element(texts, names["text_names"].index(name))
        else:
            column = pc.list_element(features, position)
        wide = wide.append_column(name, column)
    return wide
