"""From the body of a submit to a table of customer ids: JSON, CSV or Parquet."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Annotated, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from serving.audience.jobs import CUSTOMER
from serving.errors import InvalidRequest, NotJson, NotJsonContent
from serving.schemas import SendAt

JSON: Final = "application/json"
CSV: Final = "text/csv"
PARQUET: Final = "application/vnd.apache.parquet"
FORMS: Final = (JSON, CSV, PARQUET)

MOST_CUSTOMERS: Final = 20_000_000

MOST_BYTES: Final = 1 << 29
"""Of all ids of a file together: a small file can say one long id a million times."""

_SEND_AT: Final[TypeAdapter[datetime]] = TypeAdapter(SendAt)


class AudienceRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON body: whom to score for what."""

    target: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    customer_ids: Annotated[list[str], msgspec.Meta(min_length=1)]
    send_at: str | None = None


class Intake(msgspec.Struct, frozen=True):
    """A submit that was understood."""

    target: str
    customers: pa.Table
    send_at: datetime | None


def read_json(body: bytes) -> Intake:
    """The submit of a JSON body.

    Raises:
        NotJson: it is none.
        InvalidRequest: it is not as `AudienceRequest` says.
    """
    try:
        asked = msgspec.json.decode(body, type=AudienceRequest)
    except msgspec.ValidationError as exc:
        message = f"The body is not valid: {exc}."
        raise InvalidRequest(message) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        message = f"The body cannot be read as JSON: {exc}."
        raise NotJson(message) from exc
    return _intake(asked.target, pa.table({CUSTOMER: asked.customer_ids}), asked.send_at)


def read_file(body: bytes, form: str, target: str | None, send_at: str | None) -> Intake:
    """The submit of an uploaded file; what is no column of it comes with the query.

    Raises:
        InvalidRequest: the file cannot be read as its type, has no ids, or no target is named.
    """
    if not target:
        message = "Name the target in the query: POST /v1/audience?target=purchase_30d."
        raise InvalidRequest(message)
    try:
        table = _csv(body) if form == CSV else _parquet(body)
        column = table.column(CUSTOMER).cast(pa.string())
        # Bytes that are no UTF-8 are found here and not by whoever scores them.
        column.validate(full=True)
    # A damaged file is an OSError to pyarrow, though it is read from memory.
    except (pa.ArrowException, KeyError, OSError, ValueError) as exc:
        reason = str(exc).splitlines()[0][:200]
        message = f"The file cannot be read as {form} with a column {CUSTOMER}: {reason}."
        raise InvalidRequest(message) from exc
    return _intake(target, pa.table({CUSTOMER: column}), send_at)


def form_of(content_type: str | None) -> str:
    """Which of FORMS a body says it is.

    Raises:
        NotJsonContent: none of them.
    """
    form = (content_type or "").partition(";")[0].strip().lower()
    if form not in FORMS:
        message = f"Content-Type is {form!r}; send one of {', '.join(FORMS)}."
        raise NotJsonContent(message)
    return form


def _csv(body: bytes) -> pa.Table:
    options = pyarrow.csv.ConvertOptions(
        include_columns=[CUSTOMER], column_types={CUSTOMER: pa.string()}
    )
    return pyarrow.csv.read_csv(io.BytesIO(body), convert_options=options)


def _parquet(body: bytes) -> pa.Table:
    with pq.ParquetFile(io.BytesIO(body)) as file:
        # A few kilobytes can hold more equal ids than there is memory for.
        _check_rows(file.metadata.num_rows)
    # Each different id once: what it comes to is known before it is written out.
    with pq.ParquetFile(io.BytesIO(body), read_dictionary=[CUSTOMER]) as file:
        table = file.read(columns=[CUSTOMER])
    _check_bytes(table.column(CUSTOMER))
    return table


def _check_bytes(column: pa.ChunkedArray) -> None:
    size = 0
    for chunk in column.chunks:
        if isinstance(chunk, pa.DictionaryArray):
            lengths = pc.binary_length(chunk.dictionary.cast(pa.binary()))
            size += pc.sum(lengths.take(chunk.indices)).as_py() or 0
        else:
            size += chunk.nbytes
    if size > MOST_BYTES:
        message = f"The ids come to {size:,} bytes; send at most {MOST_BYTES:,} in one job."
        raise InvalidRequest(message)


def _check_rows(rows: int) -> None:
    if not 1 <= rows <= MOST_CUSTOMERS:
        message = f"{rows:,} customers were given; send 1 to {MOST_CUSTOMERS:,} in one job."
        raise InvalidRequest(message)


def _intake(target: str, customers: pa.Table, send_at: str | None) -> Intake:
    _check_rows(customers.num_rows)
    return Intake(target, customers, None if send_at is None else _moment(send_at))


def _moment(text: str) -> datetime:
    try:
        return _SEND_AT.validate_python(text)
    except ValidationError as exc:
        message = f"send_at has value {text[:64]!r}: {exc.errors()[0]['msg']}."
        raise InvalidRequest(message) from exc
