"""`foresend backfill`: state history anew, from the raw store or from files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Origin = Annotated[
    list[str],
    typer.Option(
        "--from",
        help="RAW: the raw store, with today's mappings. Or a file as for `foresend import`; "
        "may be repeated.",
        show_default=False,
    ),
]
KnownAt = Annotated[
    str | None,
    typer.Option(
        help="When events were known that the log never heard of: now (the default), "
        "received_time, or event_time+DELAY. Corrections are known from now on."
    ),
]
Since = Annotated[str | None, typer.Option(help="RAW: only what came from this time on (ISO).")]
Until = Annotated[str | None, typer.Option(help="RAW: only what came before this time (ISO).")]


def command(
    origin: Origin,
    mapping: Annotated[
        str | None, typer.Option(help="Mapping of the files: a YAML file, or a shipped name.")
    ] = None,
    known_at: KnownAt = None,
    since: Since = None,
    until: Until = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
    no_build: Annotated[
        bool, typer.Option("--no-build", help="Leave the feature tables to the next build.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one last line of JSON.")
    ] = False,
) -> None:
    """Append what is new or different, as known from now on. What was known before stays so.

    Running it again, also after it was killed, appends only what is still missing.
    """
    from datetime import UTC, datetime

    import orjson

    from feature_repo.deliverability.mailbox_cache import use_known_mailboxes
    from feature_repo.history.backfill import backfill
    from feature_repo.ingest.machines.rules import load_rules
    from feature_repo.ingest.settings import load_ingest_settings
    from feature_repo.settings import load_settings
    from infra.backfill_view import as_content, print_backfill
    from infra.import_view import progress_bar

    source = _source(origin, mapping, known_at, since, until)
    rules = load_rules(load_ingest_settings().machines_path)
    settings = load_settings()
    # As ingestion does, or events would lose what it knew of their mailboxes.
    use_known_mailboxes(settings)
    with progress_bar() as progress:
        done = backfill(
            settings,
            source,
            clock=lambda: datetime.now(UTC),
            dry_run=dry_run,
            rebuild=not no_build,
            contextual=tuple(rule.name for rule in rules.contextual),
            progress=progress,
        )
    print_backfill(done, dry_run=dry_run)
    if as_json:
        typer.echo(orjson.dumps(as_content(done, dry_run=dry_run)).decode())


def _source(
    origin: list[str],
    mapping: str | None,
    known_at: str | None,
    since: str | None,
    until: str | None,
) -> Any:  # a Source; its module is slow to load
    from feature_repo.errors import ConfigError
    from feature_repo.history.backfill_sources import FileSource, RawSource
    from feature_repo.ingest.known_at import parse_known_at
    from feature_repo.ingest.mapping import load_mapping
    from feature_repo.ingest.settings import load_ingest_settings
    from infra.moment import parse_moment

    known = parse_known_at(known_at or "now")
    if origin == ["RAW"]:
        if mapping is not None:
            message = "--mapping is for files; the raw store is mapped by its providers' mappings."
            raise ConfigError(message)
        return RawSource(
            ingest=load_ingest_settings(),
            since=None if since is None else parse_moment("--since", since),
            until=None if until is None else parse_moment("--until", until),
            known_at=known,
        )
    if since is not None or until is not None:
        message = "--since and --until are for --from RAW; leave them out."
        raise ConfigError(message)
    declared = None if mapping is None else load_mapping(mapping)
    return FileSource(files=[Path(name) for name in origin], mapping=declared, known_at=known)
