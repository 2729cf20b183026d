"""`foresend import`: files of events into the log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    files: Annotated[
        list[Path], typer.Argument(help="Parquet, JSONL or CSV files; .gz too.", show_default=False)
    ],
    mapping: Annotated[
        str | None,
        typer.Option(
            help="Translate a foreign table: a YAML file, or a shipped name (online_retail, "
            "mailchimp, klaviyo, iterable, sendgrid ...; docs/exports.md)."
        ),
    ] = None,
    known_at: Annotated[
        str | None,
        typer.Option(
            help="When the rows were known: received_time (a column of the file, the default), "
            "now, or event_time+DELAY for history, e.g. event_time+2h."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one last line of JSON.")
    ] = False,
) -> None:
    """Append the events of FILES to the log: all of them or, on an unusable file, none.

    Rows that cannot become events are kept in a quarantine file with the reason. Importing the
    same events again changes nothing.
    """
    # Here, not above: DuckDB and Delta are slow to load and `foresend --help` needs neither.
    from datetime import UTC, datetime

    from feature_repo.ingest.importer import import_files
    from feature_repo.ingest.known_at import parse_known_at
    from feature_repo.ingest.mapping import load_mapping
    from feature_repo.ingest.settings import load_ingest_settings
    from feature_repo.settings import load_settings
    from infra.import_view import print_json, print_summary, progress_bar

    settings = load_settings()
    declared = None if mapping is None else load_mapping(mapping)
    knowledge = None if known_at is None else parse_known_at(known_at)
    with progress_bar() as progress:
        summary = import_files(
            settings,
            files,
            mapping=declared,
            known_at=knowledge,
            identities=load_ingest_settings().identities,
            clock=lambda: datetime.now(UTC),
            progress=progress,
        )
    print_summary(summary)
    if as_json:
        print_json(summary)
