"""A programme as files of requests, to be posted by other means or kept as fixtures."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import IO

import orjson
import pyarrow.parquet as pq

from infra.simulator.deliveries import Deliveries, body_text
from infra.simulator.options import Options, checked


def write_payloads(
    options: Options,
    folder: Path,
    *,
    batch: int | None = None,
    secrets: Mapping[str, str] | None = None,
    signed_at: datetime | None = None,
) -> dict[str, int]:
    """Write `<service>.jsonl`, one request per line, and the truth; events by service.

    Requests are signed as of `signed_at`, by default the end of the programme, so that the same
    options write the same bytes (where the signature has no chance in it, as ECDSA has).

    Raises:
        ConfigError: an option cannot be used.
    """
    deliveries = Deliveries(checked(options), most=batch)
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, int] = {}
    with ExitStack() as stack:
        files: dict[str, IO[bytes]] = {}
        for delivery in deliveries:
            name = delivery.service
            if name not in files:
                files[name] = stack.enter_context((folder / f"{name}.jsonl").open("wb"))
            line = body_text(delivery, secrets or {}, signed_at or options.end)
            files[name].write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            written[name] = written.get(name, 0) + len(delivery.payloads)
    pq.write_table(deliveries.truth_table(), folder / "truth.parquet")
    return written
