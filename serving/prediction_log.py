"""Every answer as one row, written off the request path: {predictions}/date=YYYY-MM-DD/part-*.

A file holds rows of one day (UTC, of `scored_at`), one target and one model version, so its
feature names are said once, in its metadata. Files appear whole, and are never changed.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.settings import Settings
from serving.answers import DegradedAnswer
from serving.arrow_columns import TIME, doubles, lists, strings, times
from serving.asks import AskedCustomer

Floats = npt.NDArray[np.float64]

_METADATA: Final = b"foresend"

SCHEMA: Final = pa.schema(
    [
        pa.field("scored_at", TIME, nullable=False),
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("send_at", TIME, nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("as_of", TIME),
        pa.field("age_s", pa.float64()),
        # The cause, null for a full answer.
        pa.field("degraded", pa.string()),
        # A Role; null in files of before there were roles, of which all rows were the champion's.
        pa.field("role", pa.string()),
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


_PIECE_ROWS: Final = 1_000
"""Rows made into Arrow at once: longer, and requests would wait for the interpreter's lock."""


class Role(StrEnum):
    """What a row is."""

    #: Answered by the champion, or by what is said in its place.
    CHAMPION = "champion"
    #: Answered by the challenger.
    CANARY = "canary"
    #: Computed by the challenger beside the champion, and answered to nobody.
    SHADOW = "shadow"


ANSWERED: Final = (Role.CHAMPION, Role.CANARY)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionBatch:
    """Answers of one moment by one model version, as references to what they were made of.

    Everything but the names holds one value per customer. It is made into Arrow only when it is
    written, so nothing of it may change afterwards.
    """

    scored_at: datetime
    target: str
    model_version: str
    feature_service: str
    feature_names: tuple[str, ...]
    text_names: tuple[str, ...]
    role: Role = Role.CHAMPION
    customers: Sequence[AskedCustomer]
    request_ids: Sequence[str]
    #: Epoch seconds.
    send_at: Floats
    scores: Floats
    #: Epoch seconds, NaN for none.
    as_of: Floats
    degraded: Sequence[DegradedAnswer | None]
    #: (customers, features) as the model read them; None: nothing was read.
    features: Floats | None = None
    #: One array of customers per text name.
    texts: Sequence[npt.NDArray[Any]] = ()
    #: Rows the model scored; None: it scored none.
    modelled: npt.NDArray[np.bool_] | None = None
    #: None: no tiers were approved.
    tiers: Sequence[str | None] | None = None
    tier_policy: str | None = None
    #: NaN where it is not known; None: nothing was read.
    p_inbox_28d: Floats | None = None
    ghost: Floats | None = None

    def __len__(self) -> int:
        return len(self.customers)


def write_batches(folder: Path, batches: Sequence[PredictionBatch]) -> Path:
    """One file of batches of one `file_key`; it appears whole."""
    first = batches[0]
    names = {
        "target": first.target,
        "model_version": first.model_version,
        "feature_service": first.feature_service,
        "feature_names": first.feature_names,
        "text_names": first.text_names,
    }
    table = pa.concat_tables([_table(piece) for piece in _pieces(batches)])
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


def file_key(batch: PredictionBatch) -> tuple[object, ...]:
    """Batches of the same key go into the same file: of one day, target and model version."""
    day = batch.scored_at.astimezone(UTC).date()
    version = (batch.target, batch.model_version, batch.feature_service)
    return (day, *version, batch.feature_names, batch.text_names)


def _pieces(batches: Sequence[PredictionBatch]) -> Iterator[list[PredictionBatch]]:
    piece: list[PredictionBatch] = []
    rows = 0
    for batch in batches:
        if piece and rows + len(batch) > _PIECE_ROWS:
            yield piece
            piece, rows = [], 0
        piece.append(batch)
        rows += len(batch)
    yield piece


def _table(batches: Sequence[PredictionBatch]) -> pa.Table:
    rows = [len(batch) for batch in batches]
    customers = [customer for batch in batches for customer in batch.customers]
    send_at = np.concatenate([batch.send_at for batch in batches])
    as_of = np.concatenate([batch.as_of for batch in batches])
    degraded = [one for batch in batches for one in batch.degraded]
    columns = {
        "scored_at": times(np.repeat([batch.scored_at.timestamp() for batch in batches], rows)),
        "request_id": strings([one for batch in batches for one in batch.request_ids]),
        "target": _each([batch.target for batch in batches], rows),
        "model_version": _each([batch.model_version for batch in batches], rows),
        "customer_id": strings([customer.customer_id for customer in customers]),
        "send_at": times(send_at),
        "score": doubles(np.concatenate([batch.scores for batch in batches])),
        "as_of": times(as_of),
        "age_s": doubles(send_at - as_of, nan_is_null=True),
        "degraded": strings([None if one is None else one.cause for one in degraded]),
        "role": _each([batch.role.value for batch in batches], rows),
        "tier": strings([t for b in batches for t in b.tiers or [None] * len(b)]),
        "tier_policy": _each([batch.tier_policy for batch in batches], rows),
        "p_inbox_28d": _known([batch.p_inbox_28d for batch in batches], rows),
        "ghost": _known([batch.ghost for batch in batches], rows),
        "campaign_id": strings([customer.campaign_id for customer in customers]),
        "message_id": strings([customer.message_id for customer in customers]),
        "feature_service": _each([batch.feature_service for batch in batches], rows),
        **_features(batches),
    }
    return pa.Table.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _each(values: Sequence[str | None], rows: Sequence[int]) -> pa.Array:
    """What a batch says once, once per row."""
    pairs = zip(values, rows, strict=True)
    return strings([value for value, count in pairs for _ in range(count)])


def _known(values: Sequence[Floats | None], rows: Sequence[int]) -> pa.Array:
    """The numbers with null where they are NaN."""
    columns = [
        np.full(count, np.nan) if column is None else column
        for column, count in zip(values, rows, strict=True)
    ]
    return doubles(np.concatenate(columns), nan_is_null=True)


def _features(batches: Sequence[PredictionBatch]) -> dict[str, pa.Array]:
    names, texts = batches[0].feature_names, batches[0].text_names
    matrix = np.concatenate(
        [
            np.full((len(batch), len(names)), np.nan) if batch.features is None else batch.features
            for batch in batches
        ]
    )
    if texts:
        # The model reads texts as codes, which say nothing without it.
        matrix[:, [names.index(name) for name in texts]] = np.nan
    is_null = np.concatenate(
        [
            np.ones(len(batch), dtype=np.bool_) if batch.modelled is None else ~batch.modelled
            for batch in batches
        ]
    )
    words: list[str | None] = []
    for batch in batches:
        told: list[list[str | None]] = [column.tolist() for column in batch.texts]
        columns = told or [[None] * len(batch)] * len(texts)
        words += [word for row in zip(*columns, strict=True) for word in row]
    return {
        "features": lists(doubles(matrix.ravel()), len(names), is_null),
        "feature_texts": lists(strings(words), len(texts), is_null),
    }


def read_predictions(
    settings: Settings,
    target: str,
    start: datetime,
    end: datetime,
    *,
    roles: Sequence[str] = ANSWERED,
) -> pa.Table:
    """Rows of a target in these roles with `start <= scored_at < end`, oldest first.

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
            pc.greater_equal(at, pa.scalar(start, TIME)), pc.less(at, pa.scalar(end, TIME))
        )
        role = pc.fill_null(table["role"], Role.CHAMPION.value)
        wanted = pc.is_in(role, pa.array([str(role) for role in roles], pa.string()))
        tables.append(_wide(table.filter(pc.and_(inside, wanted)), names))
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
