"""Files: a batch as CSV or Parquet, and beside it a manifest that is written last.

Each appears under its name as a whole, on the disk, or not at all; a file without a manifest is
not finished. The name comes from the ids of the messages, so the same batch is the same file.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.errors import ConfigError
from serving.routing.connectors.port import DELIVERED, Outcome, retry
from serving.routing.message import Routed

FORMATS: Final = ("csv", "parquet")

SCHEMA: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "type", "time", "expires_at")),
        *((name, pa.string()) for name in ("target", "customer_id")),
        ("score", pa.float64()),
        *((name, pa.string()) for name in ("tier", "model_version", "tier_policy", "degraded")),
        *((name, pa.string()) for name in ("as_of", "action", "until", "reason", "rule")),
        ("holdout", pa.bool_()),
        ("seq", pa.int64()),
        *((name, pa.string()) for name in ("request_id", "campaign_id", "message_id")),
        ("tier_before", pa.string()),
        ("score_before", pa.float64()),
    ]
)
"""Columns of a file; new ones come at the end."""

_AGAIN_S: Final = 30.0


class Files:
    """Writes into one folder."""

    def __init__(
        self, folder: Path, kind: str, name: str, most: int, *, clock: Callable[[], datetime]
    ) -> None:
        self._folder = folder
        self._kind = kind
        self._name = name
        self._clock = clock
        self.most = most

    def deliver(self, batch: Sequence[Routed]) -> list[Outcome]:
        """A file and its manifest; a full disk is waited for."""
        try:
            self._write(batch)
        except OSError as exc:
            return [retry(f"cannot write ({exc.strerror})", _AGAIN_S)] * len(batch)
        return [DELIVERED] * len(batch)

    def preview(self, message: Routed) -> Mapping[str, object]:
        """A row."""
        return row_of(message)

    def check(self) -> str:
        """Write something and remove it.

        Raises:
            ConfigError: the folder cannot be written to.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            probe = self._folder / f".{self._name}.check"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as exc:
            message = f"The folder {self._folder} cannot be written to: {exc.strerror}."
            raise ConfigError(message) from exc
        return f"{self._folder} can be written to"

    def close(self) -> None:
        """Nothing is held."""

    def _write(self, batch: Sequence[Routed]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        ids = hashlib.sha256("\n".join(message.id for message in batch).encode()).hexdigest()
        day = datetime.fromisoformat(batch[0].time).astimezone(UTC)
        stem = f"{self._name}-{day:%Y%m%dT%H%M%SZ}-{ids[:16]}"
        rows = [row_of(message) for message in batch]
        content = csv_of(rows) if self._kind == "csv" else parquet_of(rows)
        manifest = {
            "file": f"{stem}.{self._kind}",
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "rows": len(rows),
            "columns": SCHEMA.names,
            "written_at": self._clock().astimezone(UTC).isoformat(timespec="seconds"),
        }
        write_durably(self._folder / f"{stem}.{self._kind}", content)
        write_durably(self._folder / f"{stem}.json", json.dumps(manifest, indent=1).encode())


def row_of(message: Routed) -> dict[str, object]:
    """A message as columns."""
    row: dict[str, object] = {}
    for name in SCHEMA.names:
        if name == "action":
            row[name] = str(message.action.kind)
        elif name in {"until", "reason", "rule"}:
            row[name] = getattr(message.action, name)
        else:
            row[name] = getattr(message, name)
    return row


def csv_of(rows: Sequence[Mapping[str, object]]) -> bytes:
    """CSV by RFC 4180 in UTF-8; nothing is an empty field, truth is true or false."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(SCHEMA.names)
    for row in rows:
        writer.writerow([str(v).lower() if isinstance(v, bool) else v for v in row.values()])
    return text.getvalue().encode()


def parquet_of(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Parquet with the types of `SCHEMA`."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def write_durably(path: Path, content: bytes) -> None:
    """Make the file appear as a whole and stay after a power cut.

    Raises:
        OSError: it cannot be written; nothing is left of it then.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
